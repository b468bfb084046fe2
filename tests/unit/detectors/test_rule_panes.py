"""Measures over sliding spans."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.rules.panes import PANE_MS, SegmentPanes
from detectors.sketches.window import Measures
from tests.unit.detectors.builders import START_MS, window


@settings(max_examples=60)
@given(
    latencies=st.lists(st.lists(st.floats(1.0, 9e4), max_size=3), min_size=1, max_size=40),
    spans=st.lists(st.integers(1, 12), min_size=1, max_size=2, unique=True),
    windows_per_pane=st.integers(1, 3),
)
def test_a_sliding_span_is_the_merge_of_its_panes(
    latencies: list[list[float]], spans: Sequence[int], windows_per_pane: int
) -> None:
    step_ms = PANE_MS // windows_per_pane
    panes = SegmentPanes(max(spans) * PANE_MS, per_day=False, pane_ms=PANE_MS)
    all_of: list[tuple[int, Measures]] = []
    for at, values in enumerate(latencies):
        if values:
            all_of.append((at * step_ms, window(START_MS, {"duration_ms": values}).measures(0)))
            panes.add(*all_of[-1])
        end_ms = (at + 1) * step_ms
        panes.expire(end_ms)
        for minutes in spans:
            first = -((minutes * PANE_MS - end_ms) // PANE_MS)
            held = [measures for start_ms, measures in all_of if start_ms // PANE_MS >= first]
            found = panes.over(end_ms, minutes * PANE_MS)
            assert (found is None) == (not held)
            if found is not None:
                assert found.events == sum(one.events for one in held)
                whole = held[0].merge(*held[1:])
                assert found.read("latency_p95_ms", PANE_MS) == whole.read("latency_p95_ms", PANE_MS)
