"""Whatever an incident of the catalogue changes, some signal of its segment shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from detectors.records import SegmentKey
from detectors.sketches.readings import read_one
from detectors.sketches.window import WindowBlock
from streams.config import SegmentsConfig
from streams.signals import LAYOUT, READINGS, SIGNALS
from streams.simulate.effects import Effect
from streams.simulate.incidents import INCIDENTS, Incident
from streams.simulate.traffic import TrafficSpec, generate
from tests.support import measures

START_MS = 1_790_000_000_000
SECS = 600.0
FROM_MS, TO_MS = START_MS - 3_600_000, START_MS + 3_600_000
EVERYTHING_JUDGED = Effect(FROM_MS, TO_MS, ratios={"judged": 1.0, "grounded": 1.0, "feedback": 1.0})
"""So that few interactions are enough."""
SEVERE = 2

SHOWN_BY: dict[str, tuple[str, ...]] = {
    "attributes.customer_tier": ("attributes_mix",),
    "attributes.doc_locale": ("attributes_mix",),
    "cache_hit": ("cache_hit_ratio",),
    "cost": ("cost_typical_usd", "spend_usd"),
    "duration_ms": ("latency_typical_ms", "latency_p99_ms"),
    "error_type": ("error_ratio",),
    "evaluator_version": ("evaluator_version_mix",),
    "idk": ("idk_ratio",),
    "index_updated_at": ("index_age_typical_days",),
    "judge_fail": ("judge_fail_ratio",),
    "judge_score": ("judge_score_mean",),
    "out_of_scope": ("out_of_scope_ratio",),
    "prompt_version": ("prompt_version_mix",),
    "refusal": ("refusal_ratio",),
    "retries": ("retry_ratio",),
    "retrieval_score": ("retrieval_score_mean",),
    "retrieved_chunks": ("retrieved_chunks_mean",),
    "safety_flag": ("safety_flag_ratio",),
    "schema_valid": ("schema_valid_ratio",),
    "status": ("error_ratio",),
    "steps": ("steps_mean", "steps_typical"),
    "thumbs_down": ("thumbs_down_ratio",),
    "tokens_in": ("tokens_in_typical",),
    "tokens_out": ("tokens_out_typical",),
    "topic": ("topic_mix",),
    "ttft_ms": ("ttft_typical_ms",),
    "unsupported_claim": ("unsupported_claim_ratio",),
    "user_correction": ("user_corrected_ratio",),
}
"""Field of the catalogue -> signals of which one at least must move."""


def window(effects: Sequence[Effect], by: Sequence[tuple[str, ...]]) -> WindowBlock:
    spec = TrafficSpec(START_MS, SECS, 10.0, seed=5, effects=(EVERYTHING_JUDGED, *effects), burst_cv=0.0)
    events = [event for batch in generate(spec) for event in batch]
    interactions, feedback = (
        [event.value for event in events if event.kind == kind] for kind in ("interaction", "feedback")
    )
    return measures.window(START_MS, interactions, feedback, SegmentsConfig(by=tuple(by)))


def effects_of(incident: Incident) -> list[Effect]:
    return [
        Effect(FROM_MS, TO_MS, **({"segment": incident.segment} | does)) for does in incident.does(SEVERE)
    ]


@pytest.fixture(scope="module")
def calm() -> WindowBlock:
    by = {tuple(incident.segment) for incident in INCIDENTS.values() if incident.segment}
    return window((), sorted(by))


def row_of(window: WindowBlock, incident: Incident) -> int:
    return window.segments.index(SegmentKey(tuple(incident.segment), tuple(incident.segment.values())))


def moved(signal: str, field: str, before: tuple[WindowBlock, int], after: tuple[WindowBlock, int]) -> bool:
    if SIGNALS[signal].kind == "mix":
        prefix = field.removeprefix("attributes.") + "=" if field.startswith("attributes.") else ""
        was, became = (
            shares(window.mixes().get((row, signal), {}), prefix) for window, row in (before, after)
        )
        return sum(abs(was.get(label, 0.0) - became.get(label, 0.0)) for label in {*was, *became}) / 2 > 0.1
    at = before[0].signals.index(signal)
    was_value, became_value = (float(window.values[row, at]) for window, row in (before, after))
    assert not math.isnan(was_value), "the calm segment shows it"
    if math.isnan(became_value):
        return True
    # Both windows are drawn from the same random numbers: without the incident they would be equal.
    return abs(became_value - was_value) > max(0.05 * was_value, 0.01 * (SIGNALS[signal].unit == "ratio"))


def shares(mix: dict[str, int], prefix: str) -> dict[str, float]:
    chosen = {label: count for label, count in mix.items() if label.startswith(prefix)}
    return {label: count / sum(chosen.values()) for label, count in chosen.items()}


@pytest.mark.parametrize("name", [name for name, incident in INCIDENTS.items() if incident.fields])
def test_every_field_that_an_incident_changes_moves_a_signal(name: str, calm: WindowBlock) -> None:
    incident = INCIDENTS[name]
    struck = window(effects_of(incident), [tuple(incident.segment)] if incident.segment else [])
    before, after = (calm, row_of(calm, incident)), (struck, row_of(struck, incident))
    for field in incident.fields:
        assert any(moved(signal, field, before, after) for signal in SHOWN_BY[field]), field


def test_a_silent_segment_has_no_rate(calm: WindowBlock) -> None:
    incident = INCIDENTS["S16"]
    struck = window(effects_of(incident), [tuple(incident.segment)])
    assert calm.values[row_of(calm, incident), calm.signals.index("request_rate")] > 0
    assert SegmentKey(tuple(incident.segment), tuple(incident.segment.values())) not in struck.segments


def test_every_signal_is_seen_in_calm_traffic(calm: WindowBlock) -> None:
    """What no record of the simulator carries would never be tried."""
    seen = {name for name, value in zip(calm.signals, calm.values[0].tolist(), strict=True) if value == value}
    seen |= {signal for row, signal in calm.mixes() if row == 0}
    learned = {name for name, signal in SIGNALS.items() if signal.tail_of is not None}
    # DETECT reads over ten minutes who the amounts came from; of the fleet there may be too many to count.
    people = {name for name, reading in READINGS.items() if reading.who}
    seen |= {name for name in people if (read_one(calm.block, LAYOUT, READINGS[name], 600_000)[0] > 0).any()}
    assert seen == set(SIGNALS) - learned, "where a tail begins DETECT has to learn first"
