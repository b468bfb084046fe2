"""docs/detection.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from detectors.incidents.severity import CRITICAL_EFFECT, CRITICAL_MIN_EVENTS
from detectors.incidents.triage import TriageParams
from detectors.monitor import DetectParams
from detectors.registry import DETECTORS
from detectors.rules.defaults import DEFAULT_RULES

DOC = re.sub(r"\s+", " ", (Path(__file__).parents[3] / "docs" / "detection.md").read_text(encoding="utf-8"))


def test_every_detector_and_every_rule_has_its_row() -> None:
    for name in DETECTORS:
        assert f"| `{name}` |" in DOC
    for rule in DEFAULT_RULES:
        sign = ">" if rule.worse == "up" else "<"
        span = "UTC day" if rule.per_day else f"{rule.span_secs} s"
        if rule.versus == "week":
            sign, span = "+" if rule.worse == "up" else "-", "week on week"
        warning, critical = (
            "–" if bound is None else f"{sign}{bound:.0%}".replace("%", " %") if rule.relative else
            f"{sign}{bound:g}" if rule.versus == "week" else f"{sign} {bound:g}"
            for bound in (rule.warning, rule.critical)
        )  # fmt: skip
        bounds = f"{warning} | {critical}"
        row = f"| `{rule.name}` | `{rule.signal}` | {bounds} | {span} | {rule.min_events} |"
        assert row in DOC


def test_the_numbers_in_the_text_are_the_defaults() -> None:
    params, triage = DetectParams(), TriageParams()
    d = params.detectors
    for sentence in (
        f"until it has {params.panes.events} observations",
        f"half-life {params.baseline.half_life_panes} panes",
        f"has had {params.baseline.min_panes} panes and {params.baseline.min_events} observations",
        f"clipped to {params.baseline.clip_sigmas:g} sigmas",
        f"at most {d.glr.max_suspect_panes} panes in a row",
        f"stands at {d.glr.suspect_nats:g} nats or more",
        f"{d.glr.report_nats:g} nats or more, and the budget has room",
        f"one pane clipped at {d.glr.clip_sigmas:g} sigmas",
        f"beyond {d.page_hinkley.delta:g} σ reaches {d.page_hinkley.threshold:g} σ",
        f"(input clipped at {d.page_hinkley.clip_sigmas:g} σ)",
        f"beyond {d.robust_z.threshold:g} robust σ",
        f"δ = {d.adwin.delta:.0e}".replace("e-06", "e-6"),
        f"is {d.ddm.drift_sigmas:g} s above its lowest",
        f"Hoeffding's bound, δ = {d.hddm.delta:.0e}".replace("e-09", "e-9"),
        f"newest {d.kswin.recent} of {d.kswin.window} panes",
        f"the {d.kswin.window - d.kswin.recent} before, chance {d.kswin.alpha:.0e}".replace("e-08", "e-8"),
        f"back for {params.frozen.back_panes} panes ({params.frozen.back_nats:g} nats speak",
        f"({triage.warnings_per_week:g} false warnings and {triage.criticals_per_week:g} false critical alert",
        f"at least {CRITICAL_MIN_EVENTS} observations",
    ):
        assert sentence in DOC, sentence
    assert {name: effect for name, effect in CRITICAL_EFFECT.items() if effect == 0.25}.keys() == {
        "error_ratio", "refusal_ratio", "schema_valid_ratio", "thumbs_down_ratio",
    }  # fmt: skip
