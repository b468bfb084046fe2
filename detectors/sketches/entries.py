"""Sparse counts as columns: histogram buckets and categories of many segments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]


class Entries(NamedTuple):
    """Sparse counts: ``count[i]`` observations of (row, slot, item); sorted by that triple, no repeats.

    For histograms slot is the histogram and item the bucket; for categories slot is the category measure and
    item the index into the block's ``labels``.
    """

    row: Int32s
    slot: Int32s
    item: Int32s
    count: Int64s  # type: ignore[assignment]  # tuple.count is not used


EMPTY: Final = Entries(
    np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64)
)


_ITEM_BITS: Final = 32
_SLOT_BITS: Final = 4
MAX_SLOTS: Final = 1 << _SLOT_BITS


def only(entries: Entries, keep: NDArray[np.bool_]) -> Entries:
    """Those that are to be kept; ``keep`` is aligned with them."""
    return Entries._make(column[keep] for column in entries)


def sum_entries(parts: Iterable[Entries]) -> Entries:
    """Add sparse counts: one entry per (row, slot, item), in that order; slots are below ``MAX_SLOTS``."""
    parts = [part for part in parts if len(part.row)]
    if not parts:
        return EMPTY
    row, slot, item, count = (
        parts[0] if len(parts) == 1 else (np.concatenate(column) for column in zip(*parts, strict=True))
    )
    # One integer that sorts like (row, slot, item): sorting it costs a third of sorting by three columns.
    key = row.astype(np.int64)
    key <<= _SLOT_BITS
    key += slot
    key <<= _ITEM_BITS
    key += item
    order = np.argsort(key, kind="stable")
    differs = changes(key[order])
    if differs.all():
        return Entries(row[order], slot[order], item[order], count[order])
    starts = np.flatnonzero(differs)
    first = order[starts]
    return Entries(row[first], slot[first], item[first], np.add.reduceat(count[order], starts))


def changes(first: NDArray[np.generic], *more: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Where the tuple of the columns differs from the one before it; true at the beginning."""
    differs = np.empty(len(first), np.bool_)
    differs[:1] = True
    np.not_equal(first[1:], first[:-1], out=differs[1:])
    for column in more:
        differs[1:] |= column[1:] != column[:-1]
    return differs


def select_entries(entries: Entries, new_row: Int32s) -> Entries:
    """The entries of the rows that have a new row (none: -1), which must ascend with the old one."""
    kept = np.flatnonzero(new_row >= 0)
    if not len(kept):
        return EMPTY
    # Rows are mostly selected in one piece, and entries are sorted by row.
    ends = np.array([kept[0], kept[-1] + 1], np.int32)
    part = slice(*np.searchsorted(entries.row, ends).tolist())
    row = new_row[entries.row[part]]
    keep = row >= 0
    return Entries(row[keep], entries.slot[part][keep], entries.item[part][keep], entries.count[part][keep])
