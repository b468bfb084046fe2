"""From columns of records to a block: vectorised over records, one pass per segmentation and measure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.records import SegmentKey
from detectors.sketches.block import Block, Entries, Exemplar, Int32s, empty_block, sum_entries
from detectors.sketches.buckets import bucket_of
from detectors.sketches.layout import Layout

MAX_ROWS = 65_536
"""Rows of one build: fixed-point sums of that many values are exact in float64."""

_DENSE_FACTOR = 8
"""Count in a dense table while it has at most this many cells per row, else sort."""


class Columns(NamedTuple):
    """``n`` records as columns. A measure that no record carries is absent."""

    event_ids: Sequence[str]
    are_interactions: bool
    """Whether the records count as events (feedback does not)."""
    flags: dict[str, NDArray[np.float64]]
    """Flag -> 1.0, 0.0 or NaN (unknown)."""
    values: dict[str, NDArray[np.float64]]
    """Value -> number or NaN (unknown)."""
    categories: dict[str, tuple[Int32s, list[str]]]
    """Category -> code per record (0 is unknown) and the label of each code."""


class Segmentation(NamedTuple):
    """Which segment of one segmentation each record belongs to."""

    codes: Int32s
    """Per record, 0 for records that lack a dimension, else 1 + index into ``segments``."""
    segments: list[SegmentKey]


def build(columns: Columns, segmentations: Sequence[Segmentation], layout: Layout) -> Block:
    """The block of the records; at most MAX_ROWS of them."""
    prepared = _Prepared(columns, layout)
    segments: list[SegmentKey] = []
    counters, histograms, categories = [], [], []
    exemplars: dict[tuple[int, int], Exemplar] = {}
    for segmentation in segmentations:
        offset, size = len(segments), len(segmentation.segments)
        if not size:
            continue
        segments += segmentation.segments
        counters.append(prepared.counters(segmentation.codes, size))
        histograms += prepared.histograms(segmentation.codes, size, offset)
        categories += prepared.category_counts(segmentation.codes, size, offset)
        exemplars.update(prepared.exemplars(segmentation.codes, size, offset))
    if not segments:
        return empty_block(layout)
    block = Block(
        segments,
        np.concatenate(counters),
        sum_entries(histograms),
        sum_entries(categories),
        prepared.labels,
        exemplars,
    )
    return _sorted(block)


class _Prepared:
    """What is the same for every segmentation: weights, buckets, label codes, the order of exemplars."""

    def __init__(self, columns: Columns, layout: Layout) -> None:
        self.layout = layout
        self.event_ids = columns.event_ids
        self.weights: list[tuple[int, NDArray[np.float64] | None]] = []
        """Counter column and what each record adds to it; None is one for every record."""
        self.buckets: list[tuple[int, Int32s, NDArray[np.bool_]]] = []
        self.ranks: list[tuple[int, NDArray[np.intp], Int32s | None]] = []
        self.counts_events = columns.are_interactions
        order = self._order_by_check(columns.event_ids)
        for flag in layout.flags:
            if (held := columns.flags.get(flag.name)) is not None:
                self._add_flag(flag.name, held, flag.bad, order)
        for value in layout.values:
            if (amount := columns.values.get(value.name)) is not None:
                self._add_value(value.name, amount, value.quantum, order)
        self.labels = sorted({label for _, labels in columns.categories.values() for label in labels})
        label_at = {label: at for at, label in enumerate(self.labels)}
        self.category_codes = [
            (layout.category[name], codes, np.array([label_at[label] for label in labels], np.int32))
            for name, (codes, labels) in columns.categories.items()
        ]

    def _order_by_check(self, event_ids: Sequence[str]) -> NDArray[np.intp]:
        check = np.fromiter(map(zlib.crc32, map(str.encode, event_ids)), np.uint32, len(event_ids))
        order = np.argsort(check, kind="stable")
        self.check = check
        ties = np.flatnonzero(check[order][1:] == check[order][:-1])
        if len(ties):  # equal checksums: fall back to the ids themselves, so that the order is total
            ranked = sorted(order.tolist(), key=lambda at: (int(check[at]), event_ids[at]))
            order = np.array(ranked, np.intp)
        return order

    def _add_flag(self, name: str, held: NDArray[np.float64], bad: bool, order: NDArray[np.intp]) -> None:
        column = self.layout.column[f"{name}.known"]
        self.weights.append((column, _weight(~np.isnan(held))))
        self.weights.append((column + 1, (held == 1.0).astype(np.float64)))
        is_bad = held == (1.0 if bad else 0.0)
        self.ranks.append((self.layout.exemplar[name], order[is_bad[order]], None))

    def _add_value(
        self, name: str, amount: NDArray[np.float64], quantum: float, order: NDArray[np.intp]
    ) -> None:
        known = ~np.isnan(amount)
        filled = np.where(known, amount, 0.0)
        column = self.layout.column[f"{name}.count"]
        self.weights.append((column, _weight(known)))
        self.weights.append((column + 1, np.rint(filled * (1.0 / quantum) if quantum != 1.0 else filled)))
        if (slot := self.layout.histogram.get(name)) is not None:
            buckets = bucket_of(filled)
            self.buckets.append((slot, buckets, known))
            ranked = order[known[order]]
            ranked = ranked[np.argsort(buckets[ranked].astype(np.int16), kind="stable")]
            self.ranks.append((self.layout.exemplar[name], ranked, buckets))

    def counters(self, codes: Int32s, size: int) -> NDArray[np.int64]:
        counters = np.zeros((size, self.layout.width), np.int64)
        records = np.bincount(codes, minlength=size + 1)[1:]
        if self.counts_events:
            counters[:, 0] = records
        for column, weight in self.weights:
            if weight is None:
                counters[:, column] = records
            else:
                counters[:, column] = np.bincount(codes, weight, minlength=size + 1)[1:]
        return counters

    def histograms(self, codes: Int32s, size: int, offset: int) -> list[Entries]:
        return [
            _count_pairs(codes, size, buckets, known, offset, slot) for slot, buckets, known in self.buckets
        ]

    def category_counts(self, codes: Int32s, size: int, offset: int) -> list[Entries]:
        found = []
        for slot, labels, label_at in self.category_codes:
            entries = _count_pairs(codes, size, labels, labels > 0, offset, slot)
            found.append(entries._replace(item=label_at[entries.item - 1]))
        return found

    def exemplars(self, codes: Int32s, size: int, offset: int) -> dict[tuple[int, int], Exemplar]:
        found: dict[tuple[int, int], Exemplar] = {}
        for measure, ranked, buckets in self.ranks:
            if not len(ranked):
                continue
            last = np.full(size + 1, -1, np.intp)
            last[codes[ranked]] = ranked  # ascending rank: the largest is written last and stays
            for row in np.flatnonzero(last[1:] >= 0).tolist():
                at = int(last[row + 1])
                rank = 1 if buckets is None else int(buckets[at])
                found[offset + row, measure] = Exemplar(rank, int(self.check[at]), self.event_ids[at])
        return found


def _weight(known: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    return None if known.all() else known.astype(np.float64)


def _count_pairs(
    codes: Int32s, size: int, items: Int32s, known: NDArray[np.bool_], offset: int, slot: int
) -> Entries:
    keep = known & (codes > 0)
    rows, items = codes[keep] - 1, items[keep]
    if not len(rows):
        return sum_entries([])
    lowest = int(items.min())
    span = int(items.max()) - lowest + 1
    pairs = rows.astype(np.int64) * span + (items - lowest)
    if size * span <= _DENSE_FACTOR * len(rows) + 4096:
        table = np.bincount(pairs)
        distinct = np.flatnonzero(table)
        counts = table[distinct].astype(np.int64)
    else:
        distinct, counts = np.unique(pairs, return_counts=True)
        counts = counts.astype(np.int64)
    return Entries(
        (distinct // span + offset).astype(np.int32),
        np.full(len(distinct), slot, np.int32),
        (distinct % span + lowest).astype(np.int32),
        counts,
    )


def _sorted(block: Block) -> Block:
    """The same block with its segments ascending."""
    order = sorted(range(len(block)), key=block.segments.__getitem__)
    new_row = np.empty(len(block), np.int32)
    new_row[order] = np.arange(len(block), dtype=np.int32)
    return Block(
        [block.segments[row] for row in order],
        block.counters[order],
        sum_entries([block.histograms._replace(row=new_row[block.histograms.row])]),
        sum_entries([block.categories._replace(row=new_row[block.categories.row])]),
        block.labels,
        {(int(new_row[r]), m): e for (r, m), e in block.exemplars.items()},
    )
