"""Sums over the recent past at every scale: an exponential histogram for every series.

Level l holds the one or two newest blocks of 2^l values that smaller levels have given up; when a third comes the
two older ones merge and move up. So the beginnings of blocks are candidate change points whose distance from now
grows by at most a factor of two, and the state is O(log n).

Source: Datar, Gionis, Indyk, Motwani, Maintaining stream statistics over sliding windows, SODA 2002.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.base import Floats, Grid, Ints, State

LEVELS: Final = 14
"""2^14 values: two days of 10 s windows, a year and a half of hours."""
SUMS: Final = 4


class Formed(NamedTuple):
    """Blocks of one level that have just become complete."""

    at: Ints
    """Positions in the index that was pushed."""
    level: int
    sums: Floats
    """[len(at), SUMS]."""


class Dyadic:
    """For every series: blocks of four sums each and when they begin; newest first."""

    def __init__(self) -> None:
        self._sums = [Grid(2 * LEVELS) for _ in range(SUMS)]
        self._start = Grid(2 * LEVELS, np.int64)
        self._held = Grid(LEVELS, np.int8)

    def grow(self, size: int) -> None:
        for grid in self._grids():
            grid.grow(size)

    def reset(self, index: Ints) -> None:
        for grid in self._grids():
            grid.reset(index)

    def push(self, index: Ints, sums: tuple[Floats, ...], start_ms: Ints) -> list[Formed]:
        """Add one value to each series; returns the blocks that formed, smallest first."""
        formed: list[Formed] = []
        at = np.arange(len(index))
        columns: list[tuple[Grid, Floats | Ints]] = [
            *zip(self._sums, sums, strict=True),
            (self._start, start_ms),
        ]
        for level in range(LEVELS):
            new, old = 2 * level, 2 * level + 1
            held = self._held.rows[index, level]
            full = held == 2
            up = index[full]
            carried: list[tuple[Grid, Floats | Ints]] = []
            for grid, value in columns:
                rows = grid.rows
                newest = rows[index, new]
                if grid is self._start:
                    carried.append((grid, rows[up, old]))
                else:
                    carried.append((grid, rows[up, old] + newest[full]))
                rows[index, old] = np.where(full, 0, newest)
                rows[index, new] = value
            self._held.rows[index, level] = np.where(full, 1, held + 1)
            if not len(up):
                break
            at, index, columns = at[full], up, carried
            if level + 1 < LEVELS:  # beyond the top, the oldest are forgotten
                formed.append(Formed(at, level + 1, np.stack([value for _, value in carried[:SUMS]], axis=1)))
        return formed

    def suffixes(self, index: Ints) -> tuple[list[Floats], Ints]:
        """Each sum from every block's start until now, [series, block]; and the starts in ms, 0 for no block."""
        sums: list[Floats] = [np.cumsum(grid.rows[index], axis=1) for grid in self._sums]
        return sums, self._start.rows[index]

    def _grids(self) -> tuple[Grid, ...]:
        return (*self._sums, self._start, self._held)

    def to_state(self) -> State:
        return {"grids": [grid.to_state() for grid in self._grids()]}

    def from_state(self, state: State) -> None:
        for grid, stored in zip(self._grids(), state["grids"], strict=True):
            grid.from_state(stored)
