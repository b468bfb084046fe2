"""Counting what exceeds a threshold: against the values themselves, and on bucket edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.records import FLEET, SegmentKey
from detectors.sketches.buckets import SMALLEST, bucket_of, edge_of
from detectors.sketches.build import Columns, Segmentation, build
from detectors.sketches.window import WindowBlock
from streams.signals import LAYOUT

VALUES = st.floats(0.0, 8e7, allow_nan=False)


def window(values: list[float], tenants: list[int]) -> WindowBlock:
    """Durations of the fleet and of tenants 0, 1, 2 …; the segments in that order."""
    ids = [f"e{at}" for at in range(len(values))]
    columns = Columns(ids, True, {}, {"duration_ms": np.array(values)}, {})
    fleet = Segmentation(np.ones(len(values), np.int32), [FLEET])
    names = [SegmentKey(("tenant",), (str(n),)) for n in range(max(tenants) + 1)]
    return WindowBlock(
        0,
        10_000,
        build(columns, [fleet, Segmentation(np.array(tenants, np.int32) + 1, names)], LAYOUT),
        LAYOUT,
    )


@given(st.lists(st.tuples(VALUES, st.integers(0, 3)), min_size=1, max_size=60), VALUES)
def test_counts_are_those_of_the_values_from_the_edge_on(data: list[tuple[float, int]], t: float) -> None:
    values, tenants = [value for value, _ in data], [tenant for _, tenant in data]
    block = window(values, tenants)
    thresholds = t * (1.0 + np.arange(len(block.segments)))
    held, known = block.above("duration_ms", thresholds)
    edges = edge_of(thresholds)
    for row, segment in enumerate(block.segments):
        of = [v for v, tenant in data if not segment.dimensions or segment.values == (str(tenant),)]
        assert known[row] == len(of)
        assert held[row] == sum((v if v >= SMALLEST else 0.0) >= edges[row] for v in of)


@given(VALUES)
def test_an_edge_is_the_next_one_up_and_its_own(value: float) -> None:
    [edge] = edge_of(np.array([value]))
    assert value <= edge <= max(value * (1 + 1 / 64), SMALLEST)
    assert edge_of(np.array([edge])) == edge
    assert bucket_of(np.array([edge])) == bucket_of(np.array([np.nextafter(edge, np.inf)]))


@given(VALUES.filter(lambda value: value > 1.0), st.integers(-60, 60))
def test_steps_go_bucket_by_bucket_and_back(value: float, steps: int) -> None:
    there = edge_of(np.array([value]), steps)
    assert bucket_of(there) == bucket_of(edge_of(np.array([value]))) + steps
    assert edge_of(there, -steps) == edge_of(np.array([value]))


def test_the_ends_of_the_scale() -> None:
    assert edge_of(np.array([0.0]), 1) == SMALLEST
    assert edge_of(np.array([SMALLEST]), -1) == 0.0
    assert edge_of(np.array([0.0, -5.0]), -3).tolist() == [0.0, 0.0]
    assert edge_of(np.array([np.inf]), 3).tolist() == [np.inf]
    assert np.isnan(edge_of(np.array([np.nan]), 1)).all()


def test_thresholds_that_ask_nothing_or_nothing_reaches() -> None:
    block = window([0.0, 100.0, 200.0], [0, 1, 2])
    held, known = block.above("duration_ms", np.array([0.0, np.nan, np.inf, 200.0]))
    assert (held.tolist(), known.tolist()) == ([3, 0, 0, 1], [3, 0, 1, 1])


def test_only_values_with_a_histogram_can_be_asked() -> None:
    with pytest.raises(KeyError):
        window([1.0], [0]).above("tokens_in", np.array([1.0, 1.0]))
