"""Figures of hand-made results, and the pages that show them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.backtest.branch import Plain, PlainVerdict, Result
from streams.backtest.figures import WEEK_MS, Figures, Row, figures_of, rate
from streams.backtest.plain import METHODS
from streams.backtest.report import Made, Report, markdown, page, summary, write
from streams.backtest.scoring import FalseAlarm, Label, Notice, Verdict
from tests.support.backtest import record, table

HOUR_MS = 3_600_000
NOTICE = Notice(
    at_ms=2 * HOUR_MS, incident_id="i", firing=True, told=True, severity="critical", type="latency",
    origin="external API", segment={"region": "eu"}, signal="latency_p95_ms", detector="glr", started_at_ms=0,
)  # fmt: skip
FOUND = Verdict(
    label=Label("x", HOUR_MS, 3 * HOUR_MS, {"region": "eu"}, "latency", "critical", "model", target_events=100),
    detected=True, noticed=True, by=NOTICE, delay_secs=60.0, delay_events=100, target_events=100,
    allowance_events=25, severity_said="critical", severity_right=True, origin_right=False, segment_right=True,
    alerts=1, critical=True, target_passed_ms=2 * HOUR_MS, cleared=True, grace_end_ms=4 * HOUR_MS,
)  # fmt: skip
MISSED: dict[str, Any] = {
    "detected": False, "noticed": False, "by": None, "delay_secs": None, "delay_events": None, "alerts": 0,
    "severity_said": "none", "severity_right": False, "segment_right": False, "critical": False, "cleared": None,
}  # fmt: skip


def result(
    scenario: str, variant: str, seed: int, alarms: int = 0, capped: bool = False, **changes: Any
) -> Result:
    quiet = scenario == "quiet"
    alarm = FalseAlarm(NOTICE, "warning")
    plain = PlainVerdict(noticed=seed == 0, in_target=seed == 0, delay_events=50, delay_secs=1.0, alarms=2)
    return Result(
        scenario=scenario, variant=variant, seed=seed, start_ms=0, until_ms=WEEK_MS,
        verdicts=[] if quiet else [msgspec.structs.replace(FOUND, **changes)], false_alarms=[alarm] * alarms,
        unlabelled_ms=WEEK_MS, notices=[], plain=[Plain(m, [] if quiet else [plain], 10, WEEK_MS) for m in METHODS],
        events=700_000, took_secs=70.0, capped=capped, gave_up=False,
    )  # fmt: skip


def row(*results: Result) -> Row:
    [found] = figures_of(results).rows
    return found


def test_a_target_is_met() -> None:
    found = row(
        *(result("S08", "mild", seed, delay_events=delay) for seed, delay in enumerate((10, 125, 900)))
    )
    assert found.met
    assert (found.delay_events_median, found.detected, found.alerts) == (125, 1.0, 1)
    assert found.why == ""
    assert (found.severity_right, found.origin_right, found.segment_right, found.cleared) == (
        1.0,
        0.0,
        1.0,
        1.0,
    )
    assert [found.plain[method].met for method in METHODS] == [False] * 3


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ([result("S08", "mild", 0, delay_events=250)], "late: 2.0 times the target"),
        ([result("S08", "mild", 0, **MISSED)], "not noticed"),
        ([result("S08", "mild", 0), result("S08", "mild", 1, **MISSED)], "not noticed in 1 of 2"),
        ([result("S08", "mild", 0, capped=True, **MISSED)], "not noticed, cut off after 7 days"),
        ([result("S08", "mild", 0, detected=False)], "noticed as latency"),
    ],
)
def test_why_a_target_is_missed(results: list[Result], why: str) -> None:
    found = row(*results)
    assert not found.met
    assert found.why == why


def test_the_interval_of_the_median() -> None:
    found = row(
        *(result("S08", "mild", seed, delay_events=delay) for seed, delay in enumerate(range(0, 200, 10)))
    )
    assert found.delay_events_interval is not None
    low, high = found.delay_events_interval
    assert 40 < low < 95 < high < 150
    assert row(result("S08", "mild", 0)).delay_events_interval is None


def test_exact_bounds_of_a_count() -> None:
    """The table of Garwood 1936."""
    for count, lower, upper in (
        (0, 0.0, 3.689),
        (1, 0.0253, 5.572),
        (5, 1.623, 11.668),
        (20, 12.217, 30.888),
    ):
        found = rate(count, 1.0)
        assert found.lower == pytest.approx(lower, abs=2e-3)
        assert found.upper == pytest.approx(upper, abs=2e-3)
    assert rate(2, 4.0).per_week == 0.5
    assert rate(0, 0.0).upper is None


def all_figures() -> Figures:
    return figures_of(
        [
            result("S08", "mild", 0),
            result("S08", "severe", 0, **MISSED),
            result("S09", "medium", 0, detected=False),
            result("S08", "benign", 0, alarms=1),
            result("S09", "benign", 0, critical=False),
            result("T2", "medium", 0),
            result("quiet", "quiet", 0, alarms=3),
        ]
    )


def test_the_suite_in_numbers() -> None:
    found = all_figures()
    assert (found.targets_met, found.targets, found.twins_quiet) == (1, 3, 0.5)
    assert (found.quiet["warning"].count, found.quiet["critical"].count, found.beside["warning"].count) == (
        3,
        0,
        1,
    )
    assert [traps.name for traps in found.traps] == ["T2"]
    assert [one.method for one in found.compared] == ["tidewatch", *METHODS]
    ours, adwin, *_ = found.compared
    assert (ours.targets_met, ours.noticed, ours.false_alarms.count) == (2, 2 / 3, 3)
    assert (adwin.targets_met, adwin.false_alarms.count, adwin.beside.count) == (3, 10, 60)
    assert found.fleet_days == 49
    assert found.secs_per_fleet_day == 10.0


def test_pages(tmp_path: Path) -> None:
    report = Report(1, Made("1.0", [4, 5], 28, 100_000, 60, 10, 15), all_figures())
    text = markdown(report)
    assert "1 of 3 targets met." in text
    assert "| S08/severe | 1 | 0% |" in text
    assert "2 seeds from 4" in text
    shown = page(report)
    assert shown == page(report)
    for part in shown.split("<svg")[1:]:
        drawn = ET.fromstring("<svg" + part[: part.index("</svg>") + 6])  # noqa: S314
        assert drawn.tag.endswith("svg")
    assert shown.count("<svg") == 2
    assert 'href="http' not in shown
    assert "src=" not in shown
    write(report, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == shown
    with pytest.raises(ValueError, match="html"):
        write(report, tmp_path / "a.pdf")


def test_the_recorded_run(tmp_path: Path) -> None:
    """What a run's JSON file says is what the docs show, without the branches."""
    report = Report(1, Made("1.0", [4, 5], 28, 100_000, 60, 10, 15), all_figures())
    run, kept = tmp_path / "run.json", tmp_path / "kept.json"
    run.write_bytes(
        msgspec.json.encode(msgspec.structs.asdict(report) | {"branches": [result("S08", "mild", 0)]})
    )
    assert record(run, kept) == report
    assert "branches" not in kept.read_text()
    assert set(table(kept)) <= {
        *markdown(report).splitlines(),
        " ".join(summary(report)),
        "|---|--:|--:|--:|--:|",
    }
    assert any(line.startswith("| S08/mild | 1 | 100% |") for line in table(kept))
    assert list(table(tmp_path / "none.json")) == [
        "No run of this version is recorded; `make backtest` makes one."
    ]
