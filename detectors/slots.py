"""Rows of arrays for the series that need one: most series of a fleeting segment never do.

A series has row 0 until it takes one of its own. Row 0 is never written, so what is read there is what a new
series would have. Which row a series has depends on its past and means nothing: states are written by series.
"""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Ints, State

_LEAST_ROOM: Final = 64
_MORE: Final = 4
"""Arrays grow by a quarter: seldom, and little of them is idle."""


class Slots:
    """Which row each series has."""

    def __init__(self) -> None:
        self._row: NDArray[np.int32] = np.empty(0, np.int32)
        self._free: list[int] = []
        self._used = 1
        self.room = 1
        """Rows that the arrays must have."""

    def grow(self, size: int) -> None:
        """Make room for series ``0 … size-1``."""
        if size > len(self._row):
            self._row = np.concatenate([self._row, np.zeros(size - len(self._row), np.int32)])

    def of(self, index: Ints) -> Ints:
        """The row of each series, 0 for those without."""
        result: Ints = self._row[index].astype(np.int64)
        return result

    def take(self, index: Ints) -> Ints:
        """The row of each series (no repeats); who has none gets one."""
        rows = self.of(index)
        without = np.flatnonzero(rows == 0)
        if len(without):
            again = [heapq.heappop(self._free) for _ in range(min(len(self._free), len(without)))]
            more = len(without) - len(again)
            rows[without] = again + list(range(self._used, self._used + more))
            self._used += more
            if self._used > self.room:
                self.room = self._used + max(_LEAST_ROOM, self._used // _MORE)
            self._row[index] = rows
        return rows

    def give_back(self, index: Ints) -> Ints:
        """Series need none any more; returns the rows that became free, for the arrays to be reset."""
        rows = self.of(index)
        rows = rows[rows > 0]
        self._row[index] = 0
        for row in rows.tolist():
            heapq.heappush(self._free, row)
        return rows

    def begin(self, size: int, taken: Ints) -> None:
        """Start over with ``size`` series, of which ``taken`` have rows."""
        self.__init__()  # type: ignore[misc]
        self.grow(size)
        self.take(taken)

    def by_series(self, state: State) -> State:
        """The state of a ``Grid`` with these rows, as that of one with a row per series."""
        rows = np.frombuffer(state["index"], "<i8")
        owner = np.zeros(self.room, np.int64)
        owner[self._row] = np.arange(len(self._row))
        series = owner[rows]
        order = np.argsort(series, kind="stable")
        width = len(state["rows"]) // max(1, len(rows))
        stored = np.frombuffer(state["rows"], np.uint8).reshape(len(rows), width)
        return {
            "size": len(self._row),
            "index": series[order].astype("<i8").tobytes(),
            "rows": stored[order].tobytes(),
        }

    def by_row(self, state: State) -> State:
        """The inverse of ``by_series``."""
        series = np.frombuffer(state["index"], "<i8").astype(np.int64)
        return state | {"size": self.room, "index": self.of(series).astype("<i8").tobytes()}
