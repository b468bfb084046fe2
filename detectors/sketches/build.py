"""From columns of records to a block: vectorised over records, one pass per segmentation and measure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.records import SegmentKey
from detectors.sketches.block import Block, empty_block
from detectors.sketches.buckets import bucket_of
from detectors.sketches.entries import EMPTY, Entries, Int32s, changes, sum_entries
from detectors.sketches.exemplars import Exemplars
from detectors.sketches.layout import Flag, Layout, Value
from detectors.sketches.logs import log_units
from detectors.sketches.spreads import spread_by

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

MAX_ROWS = 65_536
"""Rows of one build: fixed-point sums of that many values are exact in float64."""

_DENSE_FACTOR = 8
"""Count in a dense table while it has at most this many cells per row, else sort."""

SMALL_CELLS = 4096
"""Up to so many records times segmentations, all segmentations are summed in one pass: then the number of calls
counts, and not the number of records."""

_NONE = np.zeros(1, np.int32)


class Columns(NamedTuple):
    """``n`` records as columns. A measure that no record carries is absent."""

    event_ids: Sequence[str]
    are_interactions: bool
    """Whether the records count as events (feedback does not)."""
    flags: dict[str, NDArray[np.float64]]
    """Flag -> 1.0, 0.0 or NaN (unknown)."""
    values: dict[str, NDArray[np.float64]]
    """Value or logarithm -> number or NaN (unknown)."""
    categories: dict[str, tuple[Int32s, Sequence[tuple[str, ...]]]]
    """Category -> code per record (0 is unknown) and the labels of each code from 1 on."""
    cells: Mapping[str, Int32s] = MappingProxyType({})
    """Spread -> cell of each record, -1 where nobody is known."""


class Segmentation(NamedTuple):
    """Which segment of one segmentation each record belongs to."""

    codes: Int32s
    """Per record, 0 for records that lack a dimension, else 1 + index into ``segments``."""
    segments: list[SegmentKey]
    spread: bool = False
    """Whether it is kept who the amounts came from."""


def build(columns: Columns, segmentations: Sequence[Segmentation], layout: Layout) -> Block:
    """The block of the records; at most MAX_ROWS of them."""
    segmentations = [segmentation for segmentation in segmentations if segmentation.segments]
    if not segmentations:
        return empty_block(layout)
    segments = [segment for segmentation in segmentations for segment in segmentation.segments]
    order = sorted(range(len(segments)), key=segments.__getitem__)
    row_of = np.empty(len(segments), np.int32)
    row_of[order] = np.arange(len(order), dtype=np.int32)
    prepared = _Prepared(columns, layout)
    counters = np.zeros((len(segments), layout.width), np.int64)
    histograms, categories, exemplars = [], [], []
    for group in _groups(segmentations, row_of):
        counters[group.rows] = prepared.counters(group)
        histograms += _counted(group, prepared.buckets)
        categories += [prepared.labels.expand(part) for part in _counted(group, prepared.labelled)]
        exemplars.append(prepared.candidates.worst(group, len(layout.exemplar_measures)))
    histograms += _spreads(columns, segmentations, row_of, layout)
    return Block(
        [segments[at] for at in order],
        counters,
        sum_entries(histograms),
        sum_entries(categories),
        prepared.labels.names,
        prepared.exemplars(exemplars),
    )


def _spreads(
    columns: Columns, segmentations: Sequence[Segmentation], row_of: Int32s, layout: Layout
) -> list[Entries]:
    """What each cell of the spreads sums up, where that is kept."""
    found = []
    for name, cell in columns.cells.items():
        spread, begin = layout.spreads[name], 0
        units = np.ones(len(cell))
        if (amounts := columns.values.get(spread.value)) is not None:
            quanta = np.rint(np.nan_to_num(amounts) * (1.0 / layout.quantum[spread.value]))
            np.maximum(quanta, 1.0, out=units)
        for codes, segments, kept in segmentations:
            rows = row_of[begin : begin + len(segments)]
            begin += len(segments)
            if kept:
                found.append(spread_by(codes, rows, cell, units, spread.cells, layout.spread[name]))
    return found


class _Group(NamedTuple):
    """Segmentations that are summed in one pass."""

    codes: Int32s
    """[segmentations, records]: 0 for records that lack a dimension, else 1 + index into ``rows``."""
    rows: Int32s
    """The row of the block of each segment."""


def _groups(segmentations: Sequence[Segmentation], row_of: Int32s) -> Iterator[_Group]:
    sizes = [len(segmentation.segments) for segmentation in segmentations]
    begins = np.cumsum([0, *sizes])
    if len(segmentations) * len(segmentations[0].codes) <= SMALL_CELLS:
        codes = np.stack([segmentation.codes for segmentation in segmentations])
        # The code of a record is that of its row; 0 stays 0.
        at = np.where(codes > 0, codes + begins[:-1, None], 0)
        yield _Group(np.append(_NONE, row_of + np.int32(1))[at], np.arange(len(row_of), dtype=np.int32))
    else:
        for segmentation, lo, size in zip(segmentations, begins.tolist(), sizes, strict=False):
            yield _Group(segmentation.codes[None], row_of[lo : lo + size])


class _Labelled(NamedTuple):
    """What each record adds to sparse counts: one row a histogram or category."""

    slots: Int32s
    items: NDArray[np.int32]
    """[slots, records]."""
    known: Bools


class _Candidates(NamedTuple):
    """Records that may be exemplars, those of one measure together, the worst of each last."""

    record: NDArray[np.intp]
    measure: Int32s
    rank: Int32s

    def worst(self, group: _Group, measures: int) -> tuple[Int32s, Int32s]:
        """The worst candidate of each (segment, measure): row of the block, and which candidate."""
        found = np.full((len(group.rows) + 1) * measures, -1, np.int32)
        # Ascending: what is written last into a cell is the worst, and stays.
        found[group.codes[:, self.record] * measures + self.measure] = np.arange(
            len(self.record), dtype=np.int32
        )
        found = found[measures:]
        cells = np.flatnonzero(found >= 0)
        return group.rows[cells // measures], found[cells]


class _Prepared:
    """What is the same for every segmentation: weights, buckets, label codes, the order of exemplars."""

    def __init__(self, columns: Columns, layout: Layout) -> None:
        self._layout = layout
        self._event_ids = columns.event_ids
        self._counts_events = columns.are_interactions
        self._check = np.fromiter(
            map(zlib.crc32, map(str.encode, columns.event_ids)), np.uint32, len(columns.event_ids)
        )
        flags = [flag for flag in layout.flags if flag.name in columns.flags]
        values = [value for value in layout.values if value.name in columns.values]
        logs = [log.name for log in layout.logs if log.name in columns.values]
        # What has a logarithm only comes last.
        rows = {name: at for at, name in enumerate(dict.fromkeys([*(v.name for v in values), *logs]))}
        given = [columns.flags[flag.name] for flag in flags]
        given += [columns.values[name] for name in rows]
        numbers = np.array(given).reshape(-1, len(columns.event_ids))
        known = ~np.isnan(numbers)
        answers, amounts = numbers[: len(flags)], numbers[len(flags) :]
        np.copyto(amounts, 0.0, where=~known[len(flags) :])
        known = known[: len(flags) + len(values)]
        positive = amounts[[rows[name] for name in logs]]
        names = [*(f"{flag.name}.known" for flag in flags), *(f"{value.name}.count" for value in values)]
        names += [f"{name}.positive" for name in logs]
        self._counting = np.array([layout.column[name] for name in names], np.intp)
        self._count(np.concatenate([known, positive > 0.0]))
        self._sum(answers == 1.0, _in_quanta(amounts, values), _logs_of_positive(positive))
        order = self._order_by_check()
        candidates = [self._bad(flags, answers, order)]
        histograms = [at for at, value in enumerate(values) if value.histogram]
        buckets = bucket_of(amounts[histograms])
        known = known[len(flags) :][histograms]
        for number, at in enumerate(histograms):
            ranked = order[known[number, order]]
            ranked = ranked[np.argsort(buckets[number, ranked].astype(np.int16), kind="stable")]
            measure = np.full(len(ranked), layout.exemplar[values[at].name], np.int32)
            candidates.append(_Candidates(ranked, measure, buckets[number, ranked]))
        self.candidates = _Candidates(*map(np.concatenate, zip(*candidates, strict=True)))
        slots = np.array([layout.histogram[values[at].name] for at in histograms], np.int32)
        self.buckets = _Labelled(slots, buckets, known)
        self.labels, self.labelled = _labels(columns, layout)

    def _count(self, known: Bools) -> None:
        """What each record adds to the counts. Many of them are the same: each pattern is counted once."""
        patterns: dict[bytes, int] = {}
        self._pattern = [patterns.setdefault(row.tobytes(), len(patterns)) for row in known]
        first = [self._pattern.index(number) for number in range(len(patterns))]
        self._known = known[first].astype(np.float64)
        self._complete = [bool(known[at].all()) for at in first]

    def _sum(self, *weights: NDArray[Any]) -> None:
        """What each record adds to the sums, each one column after its count; without those of nothing but 0."""
        added = np.concatenate(weights, dtype=np.float64)
        self._summed = np.flatnonzero(added.any(axis=1))
        self._sums = added[self._summed]

    def _order_by_check(self) -> NDArray[np.intp]:
        check = self._check
        order = np.argsort(check, kind="stable")
        if not changes(check[order]).all():
            # Equal checksums: fall back to the ids themselves, so that the order is total.
            ranked = sorted(order.tolist(), key=lambda at: (int(check[at]), self._event_ids[at]))
            order = np.array(ranked, np.intp)
        return order

    def _bad(self, flags: list[Flag], answers: Floats, order: NDArray[np.intp]) -> _Candidates:
        """The records with the bad answer, flag by flag."""
        bad = np.array([1.0 if flag.bad else 0.0 for flag in flags])
        which, place = np.nonzero((answers == bad[:, None])[:, order])
        measures = np.array([self._layout.exemplar[flag.name] for flag in flags], np.int32)
        return _Candidates(order[place], measures[which], np.ones(len(place), np.int32))

    def counters(self, group: _Group) -> NDArray[np.int64]:
        codes, size = group.codes, len(group.rows)
        counters = np.zeros((size, self._layout.width), np.int64)
        records = np.bincount(codes.ravel(), minlength=size + 1)[1:]
        if self._counts_events:
            counters[:, 0] = records
        columns = self._counting + 1
        if len(codes) > 1 and len(self._known):
            # All sums of all segmentations as one count over (segment, counter) cells.
            added = np.concatenate([self._known, self._sums])
            width = len(added)
            cells = codes[:, None] * width + np.arange(width)[:, None]
            weights = np.broadcast_to(added, cells.shape)
            sums = np.bincount(cells.ravel(), weights.ravel(), (size + 1) * width).reshape(-1, width)[1:]
            counters[:, self._counting] = sums[:, self._pattern]
            counters[:, columns[self._summed]] = sums[:, len(self._known) :]
            return counters
        at = codes[0].astype(np.intp)
        # Known of every record: a count of the records.
        known = [
            records if complete else np.bincount(at, known, size + 1)[1:]
            for known, complete in zip(self._known, self._complete, strict=True)
        ]
        for column, pattern in zip(self._counting.tolist(), self._pattern, strict=True):
            counters[:, column] = known[pattern]
        for column, added in zip(columns[self._summed].tolist(), self._sums, strict=True):
            counters[:, column] = np.bincount(at, added, size + 1)[1:]
        return counters

    def exemplars(self, parts: Sequence[tuple[Int32s, Int32s]]) -> Exemplars:
        record, measure, rank = self.candidates
        row, which = parts[0]
        if len(parts) > 1:
            row, which = (np.concatenate(column) for column in zip(*parts, strict=True))
            order = np.lexsort((measure[which], row))
            row, which = row[order], which[order]
        at = record[which]
        ids = [self._event_ids[i] for i in at.tolist()]
        event_ids = sorted(set(ids))
        place = {event_id: i for i, event_id in enumerate(event_ids)}
        item = np.fromiter(map(place.__getitem__, ids), np.int32, len(ids))
        return Exemplars(row, measure[which], rank[which], self._check[at].astype(np.int64), item, event_ids)


def _in_quanta(amounts: Floats, values: Sequence[Value]) -> Floats:
    quanta = np.array([1.0 / value.quantum for value in values])
    weighed: Floats = np.rint(amounts[: len(values)] * quanta[:, None])
    return weighed


def _logs_of_positive(amounts: Floats) -> NDArray[np.int64]:
    units = log_units(amounts)
    units[amounts <= 0.0] = 0
    return units


class _Labels:
    """The labels of all categories, and which of them each code of ``_Labelled`` stands for."""

    def __init__(self, coded: Sequence[tuple[str, ...]]) -> None:
        self.names = sorted(set().union(*coded))
        item_of = {label: at for at, label in enumerate(self.names)}
        self._sizes = np.fromiter(map(len, coded), np.intp, len(coded))
        self._begins = np.cumsum(self._sizes) - self._sizes
        self._items = np.array([item_of[label] for labels in coded for label in labels], np.int32)

    def expand(self, entries: Entries) -> Entries:
        """Counts of codes as counts of labels."""
        row, slot, code, count = entries
        sizes = self._sizes[code]
        if (sizes == 1).all():
            return entries._replace(item=self._items[self._begins[code]])
        each = np.repeat(np.arange(len(code)), sizes)
        within = np.arange(len(each)) - (np.cumsum(sizes) - sizes)[each]
        return Entries(row[each], slot[each], self._items[self._begins[code][each] + within], count[each])


def _labels(columns: Columns, layout: Layout) -> tuple[_Labels, _Labelled]:
    """The labels of all categories, and the code of each record in each category."""
    given = columns.categories
    codes = np.zeros((len(given), len(columns.event_ids)), np.int32)
    coded: list[tuple[str, ...]] = []
    for at, (own, labels) in enumerate(given.values()):
        np.add(own, len(coded) - 1, out=codes[at])
        coded += labels
    known = np.array([own > 0 for own, _ in given.values()], np.bool_).reshape(codes.shape)
    slots = np.array([layout.category[name] for name in given], np.int32)
    return _Labels(coded), _Labelled(slots, codes, known)


def _counted(group: _Group, labelled: _Labelled) -> list[Entries]:
    """Counts of (row, slot, item); what is left apart here is added up by ``sum_entries``."""
    codes, rows = group
    if len(codes) > 1:
        at, slot, record = np.nonzero((codes > 0)[:, None] & labelled.known)
        places = rows[codes[at, record] - 1]
        ones = np.ones(len(places), np.int64)
        return [Entries(places, labelled.slots[slot], labelled.items[slot, record], ones)]
    found = []
    for slot, items, known in zip(*labelled, strict=True):
        keep = known & (codes[0] > 0)
        found.append(_count_pairs(codes[0][keep] - 1, rows, items[keep], slot))
    return found


def _count_pairs(places: Int32s, rows: Int32s, items: Int32s, slot: np.int32) -> Entries:
    if not len(places):
        return EMPTY
    lowest = int(items.min())
    span = int(items.max()) - lowest + 1
    pairs = places.astype(np.int64) * span + (items - lowest)
    if len(rows) * span <= _DENSE_FACTOR * len(places) + 4096:
        table = np.bincount(pairs)
        distinct = np.flatnonzero(table)
        counts = table[distinct].astype(np.int64)
    else:
        distinct, counts = np.unique(pairs, return_counts=True)
        counts = counts.astype(np.int64)
    return Entries(
        rows[distinct // span],
        np.full(len(distinct), slot, np.int32),
        (distinct % span + lowest).astype(np.int32),
        counts,
    )
