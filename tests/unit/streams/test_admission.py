"""Segments keep their place; a flood goes to __other__ and nothing is lost."""

from __future__ import annotations

import numpy as np

from detectors.records import FLEET, OVERFLOW_VALUE, SegmentKey
from detectors.sketches.block import Block
from detectors.sketches.entries import EMPTY
from detectors.sketches.exemplars import NO_EXEMPLARS
from streams.admission import DAY_MS, Admission
from streams.config import SegmentsConfig
from streams.signals import LAYOUT


def tenant(name: str) -> SegmentKey:
    return SegmentKey(("tenant",), (name,))


def block(*names: str) -> Block:
    segments = sorted([FLEET, *map(tenant, names)])
    counters = np.zeros((len(segments), LAYOUT.width), np.int64)
    counters[:, 0] = [len(names) if s == FLEET else 1 for s in segments]
    return Block(segments, counters, EMPTY, EMPTY, [], NO_EXEMPLARS)


def test_known_segments_keep_their_place_in_a_flood() -> None:
    admission = Admission(SegmentsConfig(max_per_segmentation=3))
    admission.admit(block("a", "b"), 10_000, LAYOUT)
    flood = [f"x{n}" for n in range(500)]
    admitted = admission.admit(block("a", "b", *flood), 20_000, LAYOUT)
    assert {tenant("a"), tenant("b"), FLEET} <= set(admitted.segments)
    other = admitted.segments.index(tenant(OVERFLOW_VALUE))
    assert len(admitted) == 5
    assert admitted.counters[other, 0] == 499
    assert admission.state.refused == 499


def test_who_gets_the_last_place_does_not_depend_on_the_order() -> None:
    names = [f"x{n}" for n in range(50)]
    winners = []
    for order in (names, names[::-1]):
        admission = Admission(SegmentsConfig(max_per_segmentation=5))
        admission.admit(block(*order), 10_000, LAYOUT)
        winners.append(sorted(admission.state.last_seen_ms))
    assert winners[0] == winners[1]


def test_a_segment_that_is_gone_gives_its_place_back() -> None:
    admission = Admission(SegmentsConfig(max_per_segmentation=1, retire_after_days=2))
    admission.admit(block("old"), 10_000, LAYOUT)
    assert tenant("new") not in admission.admit(block("new"), DAY_MS, LAYOUT).segments
    assert tenant("new") in admission.admit(block("new"), 4 * DAY_MS, LAYOUT).segments


def test_the_fleet_is_always_watched() -> None:
    admission = Admission(SegmentsConfig(max_total=1))
    admission.admit(block("a", "b"), 10_000, LAYOUT)
    assert FLEET in admission.admit(block("c"), 20_000, LAYOUT).segments


def test_a_flood_is_one_incident_that_ends_when_calm_returns() -> None:
    admission = Admission(SegmentsConfig(max_per_segmentation=3))
    seen = []
    for minute in range(90):
        names = [f"x{minute}-{n}" for n in range(20)] if 10 <= minute < 20 else ["a", "b"]
        end_ms = (minute + 1) * 60_000
        admission.admit(block(*names), end_ms, LAYOUT)
        seen += [(minute, e.firing) for e in admission.evidence(end_ms - 60_000, end_ms)]
    assert seen == [*((minute, True) for minute in range(10, 20)), (79, False)]
