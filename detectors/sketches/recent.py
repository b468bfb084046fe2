"""The interactions of the last windows that show each measure worst: what an alert points to."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np

from detectors.records import SegmentKey
from detectors.sketches.block import Block
from detectors.sketches.exemplars import Exemplar, Exemplars

WINDOWS: Final = 6
"""Windows that are looked back on: a minute at the default length, which is when evidence gathers."""
MOST: Final = 5
"""Exemplars of one answer."""


class RecentExemplars:
    """Exemplars of the last windows (one a window, segment and measure); part of DECIDE's checkpoint."""

    def __init__(self) -> None:
        self._windows: deque[tuple[list[SegmentKey], Exemplars]] = deque(maxlen=WINDOWS)

    def add(self, block: Block) -> None:
        """Take in the next closed window."""
        self._windows.append((block.segments, block.exemplars))

    def find(self, segment: SegmentKey, measure: int) -> tuple[str, ...]:
        """Event ids, worst first, without repeats."""
        found: list[Exemplar] = []
        for segments, exemplars in self._windows:
            row = bisect_left(segments, segment)
            if row < len(segments) and segments[row] == segment:
                exemplar = exemplars.find(row, measure)
                if exemplar is not None:
                    found.append(exemplar)
        found.sort(reverse=True)
        return tuple(dict.fromkeys(exemplar.event_id for exemplar in found))[:MOST]

    def to_state(self) -> list[Any]:
        """Window by window: [segment, [(measure, exemplar) ...]] of the segments that have any."""
        return [[*_window_to_state(segments, exemplars)] for segments, exemplars in self._windows]

    def from_state(self, state: list[Any], places: Sequence[int]) -> None:
        """``places`` says where each measure of the state is now (-1: nowhere): ``exemplar_places``."""
        self._windows.clear()
        self._windows.extend(_window_from_state(window, places) for window in state)


def _window_to_state(segments: list[SegmentKey], exemplars: Exemplars) -> Any:
    rows = zip(*(column.tolist() for column in exemplars[:5]), strict=True)
    for row, entries in groupby(rows, key=lambda entry: entry[0]):
        yield (
            tuple(segments[row]),
            [
                (measure, (rank, check, exemplars.event_ids[item]))
                for _, measure, rank, check, item in entries
            ],
        )


def _window_from_state(window: list[Any], places: Sequence[int]) -> tuple[list[SegmentKey], Exemplars]:
    segments = [SegmentKey(tuple(dimensions), tuple(values)) for (dimensions, values), _ in window]
    entries = sorted(
        (row, places[m], *e)
        for row, (_, exemplars) in enumerate(window)
        for m, e in exemplars
        if places[m] >= 0
    )
    event_ids = sorted({entry[4] for entry in entries})
    at = {event_id: i for i, event_id in enumerate(event_ids)}
    row, measure, rank, check, item = (
        np.array([(r, m, rank, check, at[i]) for r, m, rank, check, i in entries], np.int64).reshape(-1, 5).T
    )
    columns = (row.astype(np.int32), measure.astype(np.int32), rank.astype(np.int32), check)
    return segments, Exemplars(*columns, item.astype(np.int32), event_ids)
