"""Sums over the recent past at every scale: an exponential histogram for every series.

Level l holds the one or two newest blocks of 2^l values that smaller levels have given up; when a third comes the
two older ones merge and move up. So the beginnings of blocks are candidate change points whose distance from now
grows by at most a factor of two, and the state is O(log n).

Source: Datar, Gionis, Indyk, Motwani, Maintaining stream statistics over sliding windows, SODA 2002.
"""

from __future__ import annotations

import itertools
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import Floats, Grid, Ints, State

LEVELS: Final = 14
"""2^14 values: two days of 10 s windows, a year and a half of hours."""
SUMS: Final = 4
_BLOCKS: Final = 2 * LEVELS


class Formed(NamedTuple):
    """Blocks of one level that have just become complete."""

    at: Ints
    """Positions in the index that was pushed."""
    level: int
    sums: Floats
    """[SUMS, len(at)]."""


class Dyadic:
    """For every series: blocks of four sums each and when they begin; newest first.

    The series are the last axis of all arrays: what is done to a block is done to that of many series at once.
    """

    def __init__(self) -> None:
        self._sums: Floats = np.zeros((SUMS, _BLOCKS, 0))
        self._start: Ints = np.zeros((_BLOCKS, 0), np.int64)
        self._held: NDArray[np.int8] = np.zeros((LEVELS, 0), np.int8)

    def grow(self, size: int) -> None:
        more = size - self._held.shape[1]
        if more > 0:
            self._sums, self._start, self._held = (
                np.concatenate([array, np.zeros((*array.shape[:-1], more), array.dtype)], axis=-1)
                for array in (self._sums, self._start, self._held)
            )

    def reset(self, index: Ints) -> None:
        for array in (self._sums, self._start, self._held):
            array[..., index] = 0

    def push(self, index: Ints, sums: Floats, start_ms: Ints) -> list[Formed]:
        """Add a value, ``sums`` [SUMS, series], to each series; returns the blocks that formed, smallest first."""
        formed: list[Formed] = []
        at = np.arange(len(index))
        for level in range(LEVELS):
            new, old = 2 * level, 2 * level + 1
            held = self._held[level, index]
            full = held == 2
            newest, newest_ms = self._sums[:, new, index], self._start[new, index]
            up = index[full]
            carried = self._sums[:, old, up] + newest[:, full]
            carried_ms = self._start[old, up]
            self._sums[:, old, index] = np.where(full, 0.0, newest)
            self._start[old, index] = np.where(full, 0, newest_ms)
            self._sums[:, new, index] = sums
            self._start[new, index] = start_ms
            self._held[level, index] = np.where(full, 1, held + 1)
            if not len(up):
                break
            at, index, sums, start_ms = at[full], up, carried, carried_ms
            if level + 1 < LEVELS:  # beyond the top, the oldest are forgotten
                formed.append(Formed(at, level + 1, carried))
        return formed

    def suffixes(self, index: Ints) -> tuple[Floats, Ints]:
        """Each sum from every block's start until now, [sum, block, series]; and the starts in ms, 0: no block."""
        sums = self._sums.take(index, axis=2)
        for one in sums:  # block by block: ``cumsum`` goes series by series, which takes longer
            for newer, older in itertools.pairwise(one):
                older += newer
        return sums, self._start.take(index, axis=1)

    def to_state(self) -> State:
        return {"grids": [_as_grid(array).to_state() for array in (*self._sums, self._start, self._held)]}

    def from_state(self, state: State) -> None:
        read = []
        for array, stored in zip((*self._sums, self._start, self._held), state["grids"], strict=True):
            grid = _as_grid(array)
            grid.from_state(stored)
            read.append(np.ascontiguousarray(grid.rows.T))
        *sums, self._start, self._held = read
        self._sums = np.stack(sums)


def _as_grid(array: NDArray[Any]) -> Grid:
    """As it is stored: a row of blocks (or levels) per series."""
    grid = Grid(len(array), array.dtype.type)
    grid.rows = array.T
    return grid
