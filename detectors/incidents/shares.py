"""Mixes that moved only because the volume of a segment did.

The traffic of a feature that falls silent is missing in the mixes of every segment that it crosses: its prompt
version loses shares, all others gain them. A mix of the whole fleet, which counts everybody, often shows that long
before the traffic of the one feature does, but the cause is the volume: what the mixes of other segments show
belongs to it, never the other way round.

With X having the share s of P's interactions, and f times as many as expected, a label with the share e of P and m
of P within X (m <= s, m <= e) comes to

    (e - m (1 - f)) / (1 - s (1 - f))

How the labels of P lie in X is not known, so X explains what this can be at most. A label that was never there
cannot come from a volume (m <= e = 0), so a release explains itself, also when the old label is what moved most.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from detectors.incidents.effects import VOLUME, Effect, Effects
from detectors.incidents.findings import CLEAR_NATS, Finding, by_chance, near
from detectors.incidents.places import disjoint, within
from detectors.records import SegmentKey

LEAST: Final = 0.75
"""Share of the change of a mix that a volume must account for."""
NEW: Final = 0.25
"""What came new is no trifle beside what moved from this part of it on."""
_LEAST_WHOLE: Final = 1e-9


def displaces(volume: Finding, mix: Finding, effects: Effects) -> bool:
    """Whether the volume of one segment accounts for the mix of another one that it is a part of, or crosses."""
    if within(mix.segment, volume.segment) or disjoint(mix.segment, volume.segment):
        return False
    if not near(volume, mix):
        return False
    moved = mix.effect.observed - mix.effect.expected
    if moved == 0.0 or mix.effect.came >= NEW * abs(moved):
        return False
    whole = effects.effect(mix.segment, VOLUME)
    if whole is None or whole.expected <= 0.0 or volume.effect.expected <= 0.0:
        return False
    share = min(1.0, volume.effect.expected / whole.expected)
    exact = within(volume.segment, mix.segment)
    part = _reach(volume.effect, mix.effect.expected, share, falls=moved < 0.0, exact=exact) / moved
    return part >= LEAST or (part >= 0.5 * LEAST and by_chance(mix, 1.0 - part))


def _reach(volume: Effect, expected: float, share: float, *, falls: bool, exact: bool) -> float:
    """How far a volume can move the share of a label in the direction that it moved.

    ``exact``: ``share`` is that of the segment; else what it can be at most.
    """
    grown = volume.observed / volume.expected
    with_it = (grown < 1.0) == falls
    if not exact:
        share = min(share, expected if with_it else 1.0 - expected)
    held = min(share, expected) if with_it else max(0.0, expected + share - 1.0)
    whole = 1.0 - share * (1.0 - grown)
    if whole < _LEAST_WHOLE:
        return 0.0
    return (expected - held * (1.0 - grown)) / whole - expected


def volume_behind(mix: Finding, effects: Effects, taken: Container[tuple[SegmentKey, str]]) -> Finding | None:
    """The clearest change of a volume that accounts for that of a mix, if there is one that is not ``taken``."""
    found = []
    for segment in effects.changed(VOLUME, CLEAR_NATS):
        effect = effects.effect(segment, VOLUME)
        if effect is None or (segment, VOLUME) in taken:
            continue
        volume = Finding(segment, VOLUME, effect, mix.seen_ms)
        if displaces(volume, mix, effects):
            found.append(volume)
    return min(found, key=lambda v: (-v.effect.nats, len(v.segment.dimensions), v.segment), default=None)
