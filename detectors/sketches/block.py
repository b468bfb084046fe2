"""What many segments did over one span, as columns: the unit that AGGREGATE sends and DETECT merges.

Merging adds integers and takes maxima under a total order, so it is exactly associative and commutative: the
result does not depend on how the records were split between partitions, workers or chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.records import SegmentKey
from detectors.sketches.layout import Layout

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


class Exemplar(NamedTuple):
    """The interaction that shows a measure worst in a segment: the largest (rank, check, event_id)."""

    rank: int
    check: int
    """A stable checksum of the id, so that ties are not decided by the alphabet."""
    event_id: str


EMPTY = Entries(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))


class Block:
    """Counters, histograms, category counts and exemplars of ``segments`` (ascending, no repeats)."""

    __slots__ = ("categories", "counters", "exemplars", "histograms", "labels", "segments")

    def __init__(
        self,
        segments: list[SegmentKey],
        counters: Int64s,
        histograms: Entries,
        categories: Entries,
        labels: list[str],
        exemplars: dict[tuple[int, int], Exemplar],
    ) -> None:
        self.segments = segments
        self.counters = counters
        """int64 [len(segments), layout.width]."""
        self.histograms = histograms
        self.categories = categories
        self.labels = labels
        self.exemplars = exemplars
        """(row, exemplar measure) -> exemplar."""

    def __len__(self) -> int:
        return len(self.segments)


def empty_block(layout: Layout) -> Block:
    return Block([], np.zeros((0, layout.width), np.int64), EMPTY, EMPTY, [], {})


def merge(blocks: Sequence[Block], layout: Layout) -> Block:
    """The block of everything that any of ``blocks`` saw."""
    blocks = [block for block in blocks if len(block)]
    if not blocks:
        return empty_block(layout)
    if len(blocks) == 1:
        return blocks[0]
    segments = sorted(set().union(*(block.segments for block in blocks)))
    row_of = {segment: row for row, segment in enumerate(segments)}
    labels = sorted(set().union(*(block.labels for block in blocks)))
    label_of = {label: at for at, label in enumerate(labels)}
    counters = np.zeros((len(segments), layout.width), np.int64)
    histograms, categories = [], []
    exemplars: dict[tuple[int, int], Exemplar] = {}
    for block in blocks:
        rows = np.fromiter((row_of[s] for s in block.segments), np.int32, len(block))
        counters[rows] += block.counters
        histograms.append(block.histograms._replace(row=rows[block.histograms.row]))
        items = np.fromiter((label_of[label] for label in block.labels), np.int32, len(block.labels))
        entries = block.categories
        categories.append(entries._replace(row=rows[entries.row], item=items[entries.item]))
        _merge_exemplars(exemplars, ((int(rows[r]), m, e) for (r, m), e in block.exemplars.items()))
    return Block(segments, counters, sum_entries(histograms), sum_entries(categories), labels, exemplars)


def sum_entries(parts: Iterable[Entries]) -> Entries:
    """Add sparse counts: one entry per (row, slot, item), in that order."""
    parts = [part for part in parts if len(part.row)]
    if not parts:
        return EMPTY
    row, slot, item, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((item, slot, row))
    row, slot, item, count = row[order], slot[order], item[order], count[order]
    first = np.r_[True, (row[1:] != row[:-1]) | (slot[1:] != slot[:-1]) | (item[1:] != item[:-1])]
    starts = np.flatnonzero(first)
    return Entries(row[starts], slot[starts], item[starts], np.add.reduceat(count, starts))


def _merge_exemplars(
    into: dict[tuple[int, int], Exemplar], found: Iterable[tuple[int, int, Exemplar]]
) -> None:
    for row, measure, exemplar in found:
        known = into.get((row, measure))
        if known is None or exemplar > known:
            into[row, measure] = exemplar


class _Wire(msgspec.Struct, array_like=True):
    """A block as MessagePack: arrays as little-endian bytes, segments as (segmentation, values)."""

    segmentations: list[tuple[str, ...]]
    segments: list[tuple[int, tuple[str, ...]]]
    counters: bytes
    histograms: tuple[bytes, bytes, bytes, bytes]
    categories: tuple[bytes, bytes, bytes, bytes]
    labels: list[str]
    exemplars: list[tuple[int, int, int, int, int]]
    event_ids: list[str]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Wire)


def encode(block: Block) -> bytes:
    """The block as bytes; equal blocks give equal bytes."""
    segmentations = sorted({segment.dimensions for segment in block.segments})
    at = {dimensions: i for i, dimensions in enumerate(segmentations)}
    event_ids = sorted({exemplar.event_id for exemplar in block.exemplars.values()})
    id_at = {event_id: i for i, event_id in enumerate(event_ids)}
    wire = _Wire(
        segmentations,
        [(at[s.dimensions], s.values) for s in block.segments],
        block.counters.astype("<i8").tobytes(),
        _entries_to_wire(block.histograms),
        _entries_to_wire(block.categories),
        block.labels,
        [(r, m, e.rank, e.check, id_at[e.event_id]) for (r, m), e in sorted(block.exemplars.items())],
        event_ids,
    )
    return _ENCODER.encode(wire)


def decode(data: bytes, layout: Layout) -> Block:
    """The inverse of ``encode``. Raises msgspec.ValidationError or ValueError for anything else."""
    wire = _DECODER.decode(data)
    segments = [SegmentKey(wire.segmentations[at], values) for at, values in wire.segments]
    counters = np.frombuffer(wire.counters, "<i8").astype(np.int64).reshape(len(segments), layout.width)
    exemplars = {(r, m): Exemplar(rank, check, wire.event_ids[i]) for r, m, rank, check, i in wire.exemplars}
    return Block(
        segments,
        counters,
        _entries_from_wire(wire.histograms),
        _entries_from_wire(wire.categories),
        wire.labels,
        exemplars,
    )


def _entries_to_wire(entries: Entries) -> tuple[bytes, bytes, bytes, bytes]:
    row, slot, item, count = entries
    return (
        row.astype("<i4").tobytes(),
        slot.astype("<i4").tobytes(),
        item.astype("<i4").tobytes(),
        count.astype("<i8").tobytes(),
    )


def _entries_from_wire(wire: tuple[bytes, bytes, bytes, bytes]) -> Entries:
    row, slot, item = (np.frombuffer(data, "<i4").astype(np.int32) for data in wire[:3])
    return Entries(row, slot, item, np.frombuffer(wire[3], "<i8").astype(np.int64))


def split(block: Block, layout: Layout, max_bytes: int) -> list[bytes]:
    """The block as encoded pieces of at most ``max_bytes``, each with some of the segments.

    A single segment is never divided; its histograms and labels are bounded far below any sensible limit.
    """
    data = encode(block)
    if len(data) <= max_bytes or len(block) == 1:
        return [data]
    half = len(block) // 2
    return [
        piece
        for rows in (np.arange(half), np.arange(half, len(block)))
        for piece in split(select(block, rows), layout, max_bytes)
    ]


def select(block: Block, rows: NDArray[np.int64]) -> Block:
    """The block of the given rows (ascending), with only the labels they need."""
    new_row = np.full(len(block), -1, np.int32)
    new_row[rows] = np.arange(len(rows), dtype=np.int32)
    histograms = _select_entries(block.histograms, new_row)
    categories = _select_entries(block.categories, new_row)
    used = np.unique(categories.item)
    new_label = np.zeros(len(block.labels), np.int32)
    new_label[used] = np.arange(len(used), dtype=np.int32)
    return Block(
        [block.segments[row] for row in rows],
        block.counters[rows],
        histograms,
        categories._replace(item=new_label[categories.item]),
        [block.labels[at] for at in used],
        {(int(new_row[r]), m): e for (r, m), e in block.exemplars.items() if new_row[r] >= 0},
    )


def _select_entries(entries: Entries, new_row: Int32s) -> Entries:
    keep = new_row[entries.row] >= 0
    return Entries(new_row[entries.row[keep]], entries.slot[keep], entries.item[keep], entries.count[keep])
