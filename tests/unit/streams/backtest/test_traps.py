"""What traps expect, on hand-made cases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streams.backtest.scoring import Label, Notice, Verdict
from streams.backtest.traps import unmet

HOUR_MS = 3_600_000


def notice(at_hours: float, incident: str = "i", **changes: Any) -> Notice:
    plain = Notice(
        at_ms=round(at_hours * HOUR_MS), incident_id=incident, firing=True, told=True, severity="critical",
        type="latency", origin="", segment={}, signal="latency_p95_ms", detector="glr", started_at_ms=0,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def verdict(incident: str = "i", **changes: Any) -> Verdict:
    plain = Verdict(
        label=Label("x", HOUR_MS, 3 * HOUR_MS, {}), detected=True, noticed=True, by=notice(2, incident),
        delay_secs=60.0, delay_events=100, target_events=100, allowance_events=25, severity_said="critical",
        severity_right=True, origin_right=True, segment_right=True, alerts=2, critical=True,
        target_passed_ms=2 * HOUR_MS, cleared=True, grace_end_ms=4 * HOUR_MS,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize("trap", ["T1", "T2", "T3", "T4", "T5", "T6", "T8"])
def test_found_as_expected(trap: str) -> None:
    assert unmet(trap, [verdict("i"), verdict("j")], [notice(2)], []) == ""
    assert unmet(trap, [verdict(), verdict(detected=False)], [], []) == "1 of 2 not found in the right type"
    assert unmet(trap, [verdict(detected=False, noticed=False)], [], []) == "1 of 1 not found"


def test_what_each_expects_besides() -> None:
    assert unmet("T1", [verdict(), verdict()], [], []) == "one incident for both"
    assert unmet("T2", [verdict(alerts=3)], [], []) == "3 alerts"
    later = [notice(2), notice(2.5, "j"), notice(3.5, "k"), notice(3.6, "j"), notice(5, "l", told=False)]
    assert unmet("T4", [verdict()], later, []) == "1 incidents after the end"
    assert unmet("T8", [verdict(delay_events=126)], [], []) == "late"
    new = {"tenant": "tenant-new"}
    assert unmet("T6", [verdict()], [notice(0.5, segment=new), notice(2)], []).startswith("alerts about")
    assert unmet("T6", [verdict()], [notice(0.5), notice(0.6, segment=new, told=False)], []) == ""


def test_a_fallback_is_a_mix_change() -> None:
    mix = notice(1.5, type="mix_change", told=False, severity="info")
    missed = verdict(detected=False)
    assert unmet("T7", [missed], [mix], []) == ""
    assert unmet("T7", [missed], [mix, notice(2, type="model_drift")], []) == "an alert of model drift"
    assert unmet("T7", [missed], [notice(4, type="mix_change")], []) == "no mix change recorded"
