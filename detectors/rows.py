"""Which row of the state each segment has; bounded, and forgotten after long absence.

A new segment takes the lowest free row. When all ``max_segments`` rows are taken, the segments absent longest make
room (ties: the smallest key); segments of the present window always have a row. Rows that became free are reported,
so that their state is cleared before anyone else moves in.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from detectors.base import Bools, Columns, Ints, State
from detectors.records import FLEET, OVERFLOW_VALUE, SegmentKey

_RETIRE_EVERY_MS = 3_600_000
_KNOWN_MS: Final = 3_600_000
_KNOWN_SHARE: Final = 0.5
"""Of the time that anything is known, while that is short."""


class Rows:
    """Segments and their rows."""

    def __init__(self, max_segments: int, retire_after_days: float) -> None:
        self._max = max_segments
        self._retire_ms = retire_after_days * 86_400_000
        self._row: dict[SegmentKey, int] = {}
        self._segment: list[SegmentKey | None] = []
        self._times = Columns(seen_ms=(np.int64, -1), born_ms=(np.int64, -1))
        self._named = Columns(named=(np.bool_, 0), kin=(np.int64, -1))
        """Whether it is neither the whole fleet nor what is folded together; and if so, its group of siblings."""
        self._groups: dict[tuple[str, ...], int] = {}
        self._free: list[int] = []
        self._retired_ms = -1

    def __len__(self) -> int:
        return len(self._row)

    @property
    def size(self) -> int:
        """Rows in use or once used: the length that state arrays need."""
        return len(self._segment)

    def place(self, segments: Sequence[SegmentKey], now_ms: int) -> tuple[Ints, Ints]:
        """(row of each segment, rows that were given up before)."""
        row = self._row
        new = [segment for segment in segments if segment not in row]
        freed = self._make_room(segments, len(new), now_ms)
        for segment in new:
            self._admit(segment, now_ms)
        rows = np.fromiter((row[segment] for segment in segments), np.int64, len(segments))
        self._times["seen_ms"][rows] = now_ms
        return rows, np.array(sorted(freed), np.int64)

    def _make_room(self, present: Sequence[SegmentKey], newcomers: int, now_ms: int) -> list[int]:
        if now_ms - self._retired_ms >= _RETIRE_EVERY_MS:
            self._retired_ms = now_ms
            seen = self._times["seen_ms"]
            leaving = np.flatnonzero((seen >= 0) & (now_ms - seen > self._retire_ms)).tolist()
        else:
            leaving = []
        here = {self._row[segment] for segment in present if segment in self._row}
        leaving = [row for row in leaving if row not in here]
        excess = len(self._row) - len(leaving) + newcomers - self._max
        if newcomers and excess > 0:
            gone = {*leaving, *here}
            absent = [row for row in self._row.values() if row not in gone]
            seen = self._times["seen_ms"]
            leaving += heapq.nsmallest(excess, absent, key=lambda row: (int(seen[row]), self._segment[row]))
        for row in leaving:
            del self._row[self.segment(row)]
            self._segment[row] = None
            self._name(row)
            heapq.heappush(self._free, row)
        self._times.reset(np.array(leaving, np.int64))
        return leaving

    def _admit(self, segment: SegmentKey, now_ms: int) -> None:
        if self._free:
            row = heapq.heappop(self._free)
            self._segment[row] = segment
        else:
            row = len(self._segment)
            self._segment.append(segment)
            self._times.grow(row + 1)
        self._row[segment] = row
        self._times["born_ms"][row] = now_ms
        self._name(row)

    def _name(self, row: int) -> None:
        segment = self._segment[row]
        self._named.grow(len(self._segment))
        named = segment is not None and segment != FLEET and OVERFLOW_VALUE not in segment.values
        self._named["named"][row] = named
        self._named["kin"][row] = self.group_of(segment.dimensions) if segment is not None and named else -1

    def group_of(self, dimensions: tuple[str, ...]) -> int:
        """The group of siblings that segments of these dimensions are; numbers mean nothing."""
        return self._groups.setdefault(dimensions, len(self._groups))

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The dimensions of every group of siblings, by number; as many as there are segmentations."""
        return list(self._groups)

    def kin(self, rows: Ints) -> Ints:
        """The group of siblings of each row; -1: the whole fleet, what is folded together, a free row."""
        result: Ints = self._named["kin"][rows]
        return result

    def row(self, segment: SegmentKey) -> int | None:
        return self._row.get(segment)

    def segment(self, row: int) -> SegmentKey:
        found = self._segment[row]
        assert found is not None, f"row {row} is free"  # noqa: S101
        return found

    def known_well(self, rows: Ints) -> Bools:
        """Which rows are those of segments known for some time: from first to last record an hour or more.

        In the first two hours, half of the time that the fleet is known. Never the whole fleet and what is folded
        together: strangers are part of them.
        """
        span_ms = self._times["seen_ms"] - self._times["born_ms"]
        least_ms = min(_KNOWN_MS, _KNOWN_SHARE * int(span_ms.max(initial=0)))
        result: Bools = (span_ms[rows] >= least_ms) & self._named["named"][rows]
        return result

    @property
    def known(self) -> Iterable[SegmentKey]:
        """All segments, in no order that means anything."""
        return self._row

    @property
    def placed(self) -> list[tuple[SegmentKey, int]]:
        """Every segment and its row, in the order of rows."""
        return sorted(self._row.items(), key=lambda placed: placed[1])

    def born_ms(self, row: int) -> int:
        return int(self._times["born_ms"][row])

    def to_state(self) -> State:
        return {
            "segments": [
                None if segment is None else [list(segment.dimensions), list(segment.values)]
                for segment in self._segment
            ],
            "times": self._times.to_state(),
            "free": sorted(self._free),
            "retired_ms": self._retired_ms,
        }

    def from_state(self, state: State) -> None:
        self._segment = [
            None if stored is None else SegmentKey(tuple(stored[0]), tuple(stored[1]))
            for stored in state["segments"]
        ]
        self._row = {segment: row for row, segment in enumerate(self._segment) if segment is not None}
        self._times.from_state(state["times"])
        for row in range(len(self._segment)):
            self._name(row)
        self._free = [int(row) for row in state["free"]]
        self._retired_ms = int(state["retired_ms"])
