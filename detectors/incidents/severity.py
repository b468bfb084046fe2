"""How urgent statistical evidence is: from what the change means, not from how surprising it is.

Statistics warn. They page (CRITICAL) only for a very large change of a signal that always hurts users, seen on
enough interactions; below what a person would call notable they inform. Volume and spend never page: marketing
campaigns and new customers look the same.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from detectors.records import FLEET, SegmentKey, Severity, Signal
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
SILENCE_MIN_EXPECTED: Final = 100.0
"""Interactions that should have come since the onset before a stop is called one."""
SILENCE_MIN_AGE_MS: Final = 86_400_000
"""Segments known for less than a day may just be used in office hours."""


class Effect(NamedTuple):
    """A change as severity sees it."""

    observed: float
    """Since the onset; of a rate, its last pane."""
    expected: float
    distance: float
    """|T(observed) - T(expected)|, comparable with ``Scale.notable``."""
    events: int
    span_ms: int
    """From the onset to the end of the evaluated window."""
    segment_age_ms: int


def severity_of(signal: Signal, scale: Scale, segment: SegmentKey, effect: Effect) -> Severity:
    """The severity of statistical evidence."""
    if signal.kind == "rate":
        return _of_rate(signal, scale, segment, effect)
    limit = CRITICAL_EFFECT.get(signal.name)
    change = abs(effect.observed - effect.expected)
    if limit is not None and change >= limit and effect.events >= CRITICAL_MIN_EVENTS:
        return Severity.CRITICAL
    return Severity.WARNING if effect.distance >= scale.notable else Severity.INFO


def _of_rate(signal: Signal, scale: Scale, segment: SegmentKey, effect: Effect) -> Severity:
    if signal.name != "request_rate":
        return Severity.WARNING if effect.distance >= scale.notable else Severity.INFO
    missing = effect.expected * effect.span_ms / 1000
    stopped = effect.observed <= SILENCE_SHARE * effect.expected and missing >= SILENCE_MIN_EXPECTED
    known = segment == FLEET or effect.segment_age_ms >= SILENCE_MIN_AGE_MS
    return Severity.WARNING if stopped and known else Severity.INFO
