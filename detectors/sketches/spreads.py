"""Who an amount came from, without names: sums over cells of a hash, and what they say about people.

Each user falls into one of m cells (``Spread``), and each cell sums what its users cost. Sums of integers are exact
and merge in any order; a cell is no name, and which users share one nobody can tell from it. Of the u cells that
were used,

    users    = m ln(m / (m - u))                       linear counting: how many leave m - u cells empty
    heaviest = (top - k rest / (m - k)) / whole        top: the k largest cells, k a hundredth of the users or 1

where ``rest`` is what the other cells hold: as much of it falls into a cell of the heaviest as into any other. With
u = m / 2 users are right within 4 % nine times in ten; beyond 99 % of the cells (4.7 users a cell) their number is
unknown.

Source: Whang, Vander-Zanden, Taylor, A linear-time probabilistic counting algorithm for database applications, ACM
TODS 15, 1990.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.sketches.entries import EMPTY, Entries, Int32s, Int64s, changes

Floats = NDArray[np.float64]

_HEAVY_SHARE: Final = 0.01
"""Of the users."""
_LEAST_FREE: Final = 0.01
"""Of the cells: with fewer free ones nobody can tell how many users there were."""

_DENSE_FACTOR: Final = 8
"""Sum in a dense table while it has at most this many cells per record, else sort."""


class Spreads(NamedTuple):
    """What the cells of some rows say; aligned arrays."""

    row: Int32s
    users: Floats
    """NaN where they are too many for the cells."""
    whole: Int64s
    """The sum of all cells."""
    heaviest: Floats
    """Share of the heaviest hundredth of the users in it."""
    cells: int

    @property
    def observations(self) -> Int64s:
        """Users; as many as there are cells where they are too many."""
        return np.rint(np.nan_to_num(self.users, nan=self.cells)).astype(np.int64)

    def read(self, who: str, known: Int64s, quantum: float) -> Floats:
        """A signal (``Reading.who``); ``known``: observations of the value in each row, ``quantum``: its unit."""
        if who == "number":
            return self.users
        value = self.whole * quantum / self.users if who == "mean" else self.heaviest
        return np.where(known > 0, value, np.nan)


def spreads(entries: Entries, cells: int) -> Spreads:
    """Of every row; ``entries`` are those of one slot."""
    row, count = entries.row, entries.count
    if not len(row):
        return Spreads(row, np.empty(0), count, np.empty(0), cells)
    begins = np.flatnonzero(changes(row))
    used = np.diff(begins, append=len(row))
    free = cells - used
    users = cells * np.log(cells / np.maximum(free, _LEAST_FREE * cells))
    heavy = np.maximum(np.rint(users * _HEAVY_SHARE), 1.0)
    group = np.repeat(np.arange(len(begins)), used)
    order = np.lexsort((-count, group))
    standing = np.arange(len(row)) - begins[group]
    whole = np.add.reduceat(count, begins)
    top = np.add.reduceat(np.where(standing < heavy[group], count[order], 0), begins)
    heaviest = (top - heavy * (whole - top) / (cells - heavy)) / whole
    told = np.where(free >= _LEAST_FREE * cells, users, np.nan)
    return Spreads(row[begins], told, whole, np.maximum(heaviest, 0.0), cells)


def spread_by(codes: Int32s, rows: Int32s, cell: Int32s, units: Floats, cells: int, slot: int) -> Entries:
    """The sums of the ``units`` of records by row and cell.

    ``codes``: 0 for records without a row, else 1 + index into ``rows``; ``cell``: below 0 for nobody.
    """
    keys = (codes.astype(np.int64) - 1) * cells + cell
    known = (codes > 0) & (cell >= 0)
    if not known.all():
        keys, units = keys[known], units[known]
    if not len(keys):
        return EMPTY
    if len(rows) * cells <= _DENSE_FACTOR * len(keys) + 4096:
        sums = np.bincount(keys, units)
        distinct = np.flatnonzero(sums)
        sums = sums[distinct]
    else:
        distinct, inverse = np.unique(keys, return_inverse=True)
        sums = np.bincount(inverse, units)
    return Entries(
        rows[distinct // cells],
        np.full(len(distinct), slot, np.int32),
        (distinct % cells).astype(np.int32),
        sums.astype(np.int64),
    )
