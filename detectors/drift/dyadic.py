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
_BLOCKS: Final = 2 * LEVELS
_EACH: Final = _BLOCKS * np.arange(SUMS)
"""Where the blocks of each sum begin."""


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
        self._sums = Grid(SUMS * _BLOCKS)
        """Sum by sum, so that each is a row of blocks."""
        self._start = Grid(_BLOCKS, np.int64)
        self._held = Grid(LEVELS, np.int8)

    def grow(self, size: int) -> None:
        for grid in (self._sums, self._start, self._held):
            grid.grow(size)

    def reset(self, index: Ints) -> None:
        for grid in (self._sums, self._start, self._held):
            grid.reset(index)

    def push(self, index: Ints, sums: Floats, start_ms: Ints) -> list[Formed]:
        """Add a value, ``sums`` [series, SUMS], to each series; returns the blocks that formed, smallest first."""
        formed: list[Formed] = []
        at = np.arange(len(index))
        for level in range(LEVELS):
            new, old = 2 * level, 2 * level + 1
            held = self._held.rows[index, level]
            full = held == 2
            newest, newest_ms = self._sums.rows[index[:, None], new + _EACH], self._start.rows[index, new]
            up = index[full]
            carried = self._sums.rows[up[:, None], old + _EACH] + newest[full]
            carried_ms = self._start.rows[up, old]
            self._sums.rows[index[:, None], old + _EACH] = np.where(full[:, None], 0.0, newest)
            self._start.rows[index, old] = np.where(full, 0, newest_ms)
            self._sums.rows[index[:, None], new + _EACH] = sums
            self._start.rows[index, new] = start_ms
            self._held.rows[index, level] = np.where(full, 1, held + 1)
            if not len(up):
                break
            at, index, sums, start_ms = at[full], up, carried, carried_ms
            if level + 1 < LEVELS:  # beyond the top, the oldest are forgotten
                formed.append(Formed(at, level + 1, carried))
        return formed

    def suffixes(self, index: Ints) -> tuple[Floats, Ints]:
        """Each sum from every block's start until now, [sum, series, block]; and the starts in ms, 0: no block."""
        sums = self._sums.rows[index].reshape(len(index), SUMS, _BLOCKS).cumsum(axis=2)
        return sums.transpose(1, 0, 2), self._start.rows[index]

    def to_state(self) -> State:
        return {"grids": [grid.to_state() for grid in (*self._parted(), self._start, self._held)]}

    def from_state(self, state: State) -> None:
        parts = self._parted()
        for grid, stored in zip((*parts, self._start, self._held), state["grids"], strict=True):
            grid.from_state(stored)
        self._sums.rows = np.concatenate([part.rows for part in parts], axis=1)

    def _parted(self) -> list[Grid]:
        """A grid for each sum, as they are stored."""
        parts = []
        for at in range(SUMS):
            part = Grid(_BLOCKS)
            part.rows = self._sums.rows[:, at * _BLOCKS : (at + 1) * _BLOCKS]
            parts.append(part)
        return parts
