"""Findings: the change of one series, and what two of them have in common.

Onsets are estimates. They are near when they differ by at most ``NEAR_MS``, or by half of the time that it took to
see the change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from detectors.incidents.effects import Effect
from detectors.records import SegmentKey

NEAR_MS: Final = 900_000
"""Onsets that differ by no more are near: feedback comes up to five minutes late, rates are read by the minute."""
NEAR_SHARE: Final = 0.5
"""The candidates for an onset lie a factor of two apart, seen from now."""
CLEAR_NATS: Final = 8.0
"""From here on a segment can own a change."""
SURE_NATS: Final = 12.0
"""Chance hardly brings so much, whatever lies beside it."""
OUTSHONE: Final = 1.0 / 3.0
"""What has less than this share of the strongest evidence beside it, and is not sure, may be chance."""
RELEASED: Final = ("prompt_version_mix", "evaluator_version_mix")
"""They tell what was done, however clearly, and outshine nothing that may have come of it."""


class Finding(NamedTuple):
    """The change of one series."""

    segment: SegmentKey
    signal: str
    effect: Effect
    seen_ms: int
    """When it was seen: the close of the window."""

    @property
    def up(self) -> bool:
        """The direction; mixes have none and count as up."""
        return self.is_mix or self.effect.observed > self.effect.expected

    @property
    def is_mix(self) -> bool:
        """Only mixes name the label whose share moved."""
        return self.effect.label is not None


def near(one: Finding, other: Finding) -> bool:
    """Whether both began at about the same time."""
    took_ms = max(one.seen_ms - one.effect.since_ms, other.seen_ms - other.effect.since_ms)
    return abs(one.effect.since_ms - other.effect.since_ms) <= max(NEAR_MS, NEAR_SHARE * took_ms)


def by_chance(found: Finding, rest: float) -> bool:
    """Whether the share ``rest`` of a change, the other part of which is explained, is nothing to speak of.

    Of many small segments that share a change, those are seen first which chance makes look worst. Evidence grows
    with the square of a change.
    """
    return found.effect.nats * rest**2 < CLEAR_NATS


def strongest(findings: Iterable[Finding]) -> Finding | None:
    """The clearest of some findings that can outshine others."""
    able = [f for f in findings if f.signal not in RELEASED]
    return max(able, key=lambda f: (f.effect.nats, f.signal), default=None)


def outshone(effect: Effect, clearest: Effect) -> bool:
    """Whether a change is so much less clear than another that it must not say what happened, or where."""
    return effect.nats < min(SURE_NATS, OUTSHONE * clearest.nats)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Mixes last, for what moves beside them says better where it is, unless they outshine it; the clearest first.

    Ties by segment and signal, so that the order they came in does not matter.
    """
    given = list(findings)
    clearest = strongest(f for f in given if f.is_mix)

    def rank(found: Finding) -> int:
        if found.is_mix:
            return 1
        return 2 if clearest is not None and outshone(found.effect, clearest.effect) else 0

    return sorted(given, key=lambda f: (rank(f), -f.effect.nats, f.segment, f.signal))
