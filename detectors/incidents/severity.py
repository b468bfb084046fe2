"""How urgent it is: from what the change means and whom it hits, not from how surprising it is.

Evidence of one series warns if the change is notable, else informs (``severity_of``). An incident is judged by its
type (``severity_of_incident``): for each signal that shows the type there is a size that warns and one that pages,
the latter only if a large enough part of the fleet is hit. What was announced as planned never pages, and neither
does what nobody could name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from detectors.incidents.classification import LATENCY
from detectors.incidents.scene import Scene
from detectors.records import FLEET, IncidentType, SegmentKey, Severity, Signal
from detectors.scales import Scale

CRITICAL_EFFECT: Final = {
    "error_ratio": 0.25,
    "refusal_ratio": 0.25,
    "schema_valid_ratio": 0.25,
    "safety_flag_ratio": 0.05,
    "judge_score_mean": 0.20,
    "thumbs_down_ratio": 0.25,
}
"""Signal -> change in its own unit that pages."""
CRITICAL_MIN_EVENTS: Final = 200
SILENCE_SHARE: Final = 0.1
"""A rate below this share of the expected one is a stop, not a dip."""
DIP_SHARE: Final = 0.65
"""A dip to this share is worth a warning where the course of the week is known."""
SILENCE_MIN_EXPECTED: Final = 100.0
"""Interactions that should have come since the onset before a stop is called one."""
SILENCE_OF_STRANGERS: Final = 500.0
"""The same where the course of the week is not known yet: busy hours end, and bursts do."""
SILENCE_MIN_AGE_MS: Final = 86_400_000
"""Segments known for less than a day may just be used in office hours."""


class Extent(NamedTuple):
    """How large a change is and how long it has lasted, as severity sees it."""

    observed: float
    """Since the onset; of a rate, its last pane."""
    expected: float
    distance: float
    """|T(observed) - T(expected)|, comparable with ``Scale.notable``."""
    events: int
    span_ms: int
    """From the onset to the end of the evaluated window."""
    segment_age_ms: int
    season_known: bool = False
    """Whether the expectation knows this hour of the week."""


def severity_of(signal: Signal, scale: Scale, segment: SegmentKey, extent: Extent) -> Severity:
    """The severity of statistical evidence."""
    if signal.kind == "rate":
        return _of_rate(signal, scale, segment, extent)
    limit = CRITICAL_EFFECT.get(signal.name)
    change = abs(extent.observed - extent.expected)
    if limit is not None and change >= limit and extent.events >= CRITICAL_MIN_EVENTS:
        return Severity.CRITICAL
    return Severity.WARNING if extent.distance >= scale.notable else Severity.INFO


def _of_rate(signal: Signal, scale: Scale, segment: SegmentKey, extent: Extent) -> Severity:
    if signal.name != "request_rate":
        return Severity.WARNING if extent.distance >= scale.notable else Severity.INFO
    missing = extent.expected * extent.span_ms / 1000
    least = DIP_SHARE if extent.season_known else SILENCE_SHARE
    stopped = extent.observed <= least * extent.expected and missing >= (
        SILENCE_MIN_EXPECTED if extent.season_known else SILENCE_OF_STRANGERS
    )
    known = segment == FLEET or extent.segment_age_ms >= SILENCE_MIN_AGE_MS
    return Severity.WARNING if stopped and known else Severity.INFO


class Bound(NamedTuple):
    """From which size of a signal's change an incident of some type warns, and from which it pages."""

    warning: float
    """A difference of ratios, scores and shares; a natural logarithm of everything else. Without sign."""
    critical: float
    share: float = 0.0
    """Least share of the interactions of the fleet's known segments that the segment must have for a page."""
    impact: float = 0.0
    """Least size times share of the fleet for a page: interactions that are hit, of all."""


DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
VOLUMES: Final = ("request_rate", "spend_usd")
NEVER: Final = float("inf")
_LATENCY: Final = Bound(0.11, 0.33, 0.1)
_COST: Final = Bound(0.14, 0.33, 0.3)
_OUTCOME: Final = Bound(0.03, 0.10, impact=0.02)
_PRICE: Final = Bound(0.07, 0.30, 0.1)
BOUNDS: Final[Mapping[IncidentType, Mapping[str, Bound]]] = {
    "input_drift": {
        "topic_mix": Bound(0.05, NEVER),
        "attributes_mix": Bound(0.08, NEVER),
        "out_of_scope_ratio": Bound(0.04, NEVER),
    },
    "model_drift": {
        "judge_fail_ratio": Bound(0.03, 0.10, impact=0.02),
        "judge_score_mean": Bound(0.03, 0.10, impact=0.02),
        "schema_valid_ratio": Bound(0.01, 0.06, impact=0.002),
        "refusal_ratio": Bound(0.01, 0.05, impact=0.02),
        "tokens_out_mean": Bound(0.14, 0.55, 0.1),
        "tokens_out_typical": Bound(0.14, 0.55, 0.1),
        "finish_reason_mix": Bound(0.05, NEVER),
        "success_ratio": _OUTCOME,
        "abandoned_ratio": _OUTCOME,
        "escalated_ratio": _OUTCOME,
    },
    "refusal_surge": {"refusal_ratio": Bound(0.01, 0.05, impact=0.02)},
    "context_drift": {
        "idk_ratio": Bound(0.035, 0.12, impact=0.002),
        "user_corrected_ratio": Bound(0.007, 0.02, impact=0.0005),
        "index_age_typical_days": Bound(0.7, 1.6),
    },
    "data_incident": {
        "retrieved_chunks_mean": Bound(0.2, 0.9, 0.05),
        "retrieval_score_mean": Bound(0.03, 0.12, 0.05),
        "idk_ratio": Bound(0.03, 0.12, 0.05),
    },
    "schema_change": {"attributes_mix": Bound(0.002, 0.01, impact=0.008)},
    "latency": dict.fromkeys(LATENCY, _LATENCY),
    "latency_tail": {
        "latency_tail_ratio": Bound(0.005, 0.06, 0.1),
        "latency_p999_ratio": Bound(0.002, 0.024, 0.1),
        "latency_p99_ms": Bound(0.3, NEVER),
    },
    "context_growth": {"tokens_in_typical": Bound(0.2, 0.5, 0.1), "tokens_in_mean": Bound(0.2, 0.5, 0.1)},
    "cost_drift": dict.fromkeys(
        (
            "cost_typical_usd",
            "cost_per_request_usd",
            "cost_per_1k_typical_usd",
            "cost_per_1k_tokens_usd",
            "cost_per_success_usd",
        ),
        _COST,
    ),
    "cost_spike": {
        "request_rate": Bound(0.45, 1.35, impact=0.05),
        "spend_usd": Bound(0.45, 1.35, impact=0.05),
        "heavy_user_cost_share": Bound(0.10, NEVER),
        "cost_per_user_usd": Bound(0.20, NEVER),
    },
    "cost_per_token": dict.fromkeys(("cost_per_1k_typical_usd", "cost_per_1k_tokens_usd"), _PRICE),
    "provider_outage": {
        "error_ratio": Bound(0.007, 0.03, impact=0.02),
        "retry_ratio": Bound(0.02, 0.10, 0.1),
    },
    "no_data": {"request_rate": Bound(0.43, 1.2, 0.1)},
    "hallucination_cluster": {"unsupported_claim_ratio": Bound(0.02, 0.08, impact=0.002)},
    "prompt_regression": {
        "schema_valid_ratio": Bound(0.01, 0.06, impact=0.002),
        "success_ratio": _OUTCOME,
        "abandoned_ratio": _OUTCOME,
        "escalated_ratio": _OUTCOME,
    },
    "cache_degradation": {"cache_hit_ratio": Bound(0.03, 0.32, 0.1)},
    "eval_divergence": {
        "thumbs_down_ratio": Bound(0.03, 0.12, 0.3),  # as the rule "thumbs-down-week"
        "success_ratio": Bound(0.045, 0.12, 0.3),
        "abandoned_ratio": Bound(0.045, 0.12, 0.3),
        "escalated_ratio": Bound(0.045, 0.12, 0.3),
    },
    "tool_failure": {"tool_error_ratio": Bound(0.02, 0.10, impact=0.005)},
    "eval_baseline": {"judge_score_mean": Bound(0.0, NEVER), "judge_fail_ratio": Bound(0.0, NEVER)},
}
"""Signals that are not here do not speak for the severity of their type."""
STRANGER_SHARE: Final = 0.1
"""Of the fleet: what stops is missed from this size on before the course of its week is known."""
LONG_TASKS: Final = 0.7
"""Logarithm: when the typical agent of one tenant takes twice the steps, its tasks are long; loops are a tail."""


def severity_of_incident(
    kind: IncidentType, scene: Scene, share: float, known_for_ms: int, evidence: Severity
) -> Severity:
    """The severity of an incident of this type.

    ``share`` is the segment's share of the interactions of known segments, ``known_for_ms`` how long it has been
    watched, ``evidence`` the worst severity of its evidence.
    """
    if kind == "safety":
        return Severity.CRITICAL
    if kind == "agent_loop":
        long_tasks = "tenant" in scene.segment.dimensions and scene.size("steps_typical") >= LONG_TASKS
        return Severity.WARNING if long_tasks else Severity.CRITICAL
    if kind == "mix_change":
        return Severity.INFO
    if kind not in BOUNDS:
        strange = known_for_ms < WEEK_MS and all(name in VOLUMES for name in scene.moved)
        return Severity.INFO if strange else min(evidence, Severity.WARNING)
    found = [
        min(
            max(
                _of(bound, abs(scene.size(name)), share),
                min(_of(bound, abs(scene.size_ahead(name)), share), Severity.WARNING),
            ),
            _most(kind, name, scene.size(name), share, known_for_ms),
        )
        for name, bound in BOUNDS[kind].items()
        if name in scene.moved
    ]
    worst = max(found, default=min(evidence, Severity.WARNING))
    # A dip of a segment that nobody knows well is information, however deep.
    return min(worst, evidence) if kind == "no_data" and evidence == Severity.INFO else worst


def _most(kind: IncidentType, signal: str, size: float, share: float, known_for_ms: int) -> Severity:
    """What goes with the time of day and of the week urges nobody before these are known.

    A stop of something large is no such thing.
    """
    if signal in VOLUMES and known_for_ms < WEEK_MS:
        stopped = kind == "no_data" and size <= math.log(SILENCE_SHARE) and share >= STRANGER_SHARE
        return Severity.CRITICAL if stopped else Severity.INFO
    lengths = signal.startswith("tokens_out")
    return Severity.WARNING if lengths and known_for_ms < DAY_MS else Severity.CRITICAL


def _of(bound: Bound, size: float, share: float) -> Severity:
    if size >= bound.critical and share >= bound.share and size * share >= bound.impact:
        return Severity.CRITICAL
    return Severity.WARNING if size >= bound.warning else Severity.INFO


def reference() -> Iterator[str]:
    """The bounds as Markdown."""
    yield "| type | signal | warns from | pages from | and hits |"
    yield "|---|---|---|---|---|"
    for kind, bounds in BOUNDS.items():
        for name, bound in bounds.items():
            pages = "never" if bound.critical == NEVER else f"{bound.critical:g}"
            hits = f"{bound.share:.0%} of the fleet" if bound.share else ""
            hits = f"size times share of {bound.impact:g}" if bound.impact else hits
            yield f"| `{kind}` | `{name}` | {bound.warning:g} | {pages} | {hits} |"
