"""What many segments did over one span, as columns: the unit that AGGREGATE sends and DETECT merges.

Merging adds integers and takes maxima under a total order, so it is exactly associative and commutative: the
result does not depend on how the records were split between partitions, workers or chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from detectors.records import SegmentKey
from detectors.sketches.entries import EMPTY, Entries, Int64s, select_entries, sum_entries
from detectors.sketches.exemplars import NO_EXEMPLARS, Exemplars, select_exemplars, worst
from detectors.sketches.layout import Layout


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
        exemplars: Exemplars,
    ) -> None:
        self.segments = segments
        self.counters = counters
        """int64 [len(segments), layout.width]."""
        self.histograms = histograms
        self.categories = categories
        self.labels = labels
        self.exemplars = exemplars

    def __len__(self) -> int:
        return len(self.segments)


def empty_block(layout: Layout) -> Block:
    return Block([], np.zeros((0, layout.width), np.int64), EMPTY, EMPTY, [], NO_EXEMPLARS)


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
    histograms, categories, exemplars = [], [], []
    for block in blocks:
        rows = np.fromiter(map(row_of.__getitem__, block.segments), np.int32, len(block))
        counters[rows] += block.counters
        histograms.append(block.histograms._replace(row=rows[block.histograms.row]))
        items = np.fromiter(map(label_of.__getitem__, block.labels), np.int32, len(block.labels))
        entries = block.categories
        categories.append(entries._replace(row=rows[entries.row], item=items[entries.item]))
        exemplars.append(block.exemplars._replace(row=rows[block.exemplars.row]))
    return Block(
        segments, counters, sum_entries(histograms), sum_entries(categories), labels, worst(exemplars)
    )


class _Wire(msgspec.Struct, array_like=True):
    """A block as MessagePack: arrays as little-endian bytes, segments as (segmentation, values)."""

    segmentations: list[tuple[str, ...]]
    segments: list[tuple[int, tuple[str, ...]]]
    counters: bytes
    histograms: tuple[bytes, bytes, bytes, bytes]
    categories: tuple[bytes, bytes, bytes, bytes]
    labels: list[str]
    exemplars: bytes | list[tuple[int, int, int, int, int]]
    """Row, measure, rank, check, event id: as columns; 0.1.0 wrote rows."""
    event_ids: list[str]


_ENTRY_BYTES: Final = 20
"""Of a count of (row, slot, item), or of an exemplar without its event id."""
_LEVEL: Final = 1
_MAX_UNPACKED_BYTES: Final = 1 << 26
"""No piece is nearly as large: what claims to be is none."""
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Wire)


def encode(block: Block) -> bytes:
    """The block as bytes; equal blocks give equal bytes."""
    segmentations = sorted({segment.dimensions for segment in block.segments})
    at = {dimensions: i for i, dimensions in enumerate(segmentations)}
    wire = _Wire(
        segmentations,
        [(at[s.dimensions], s.values) for s in block.segments],
        block.counters.astype("<i8").tobytes(),
        _entries_to_wire(block.histograms),
        _entries_to_wire(block.categories),
        block.labels,
        _exemplars_to_wire(block.exemplars),
        block.exemplars.event_ids,
    )
    return _ENCODER.encode(wire)


def decode(data: bytes, layout: Layout) -> Block:
    """The inverse of ``encode``, and of a piece of ``split``.

    Raises msgspec.ValidationError or ValueError for anything else.
    """
    return unpack(data).block(layout)


class Packed(NamedTuple):
    """An encoded block whose segments are known, and whose numbers are not laid out yet."""

    segments: list[SegmentKey]
    wire: _Wire

    def block(self, layout: Layout) -> Block:
        """All of it. Raises ValueError when the numbers are not those of ``layout``."""
        return _laid_out(self.segments, self.wire, layout)


def unpack(data: bytes) -> Packed:
    """The first half of ``decode``, with its errors."""
    wire = _DECODER.decode(_unpacked(data) if data.startswith(zstandard.FRAME_HEADER) else data)
    return Packed([SegmentKey(wire.segmentations[at], values) for at, values in wire.segments], wire)


def _laid_out(segments: list[SegmentKey], wire: _Wire, layout: Layout) -> Block:
    counters = np.frombuffer(wire.counters, "<i8").astype(np.int64).reshape(len(segments), layout.width)
    return Block(
        segments,
        counters,
        _entries_from_wire(wire.histograms),
        _entries_from_wire(wire.categories),
        wire.labels,
        _exemplars_from_wire(wire.exemplars, wire.event_ids),
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


def _exemplars_to_wire(exemplars: Exemplars) -> bytes:
    return b"".join(column.astype("<u4").tobytes() for column in exemplars[:5])


def _exemplars_from_wire(
    wire: bytes | list[tuple[int, int, int, int, int]], event_ids: list[str]
) -> Exemplars:
    if isinstance(wire, bytes):
        columns = np.frombuffer(wire, "<u4").reshape(5, -1).astype(np.int64)
    else:
        columns = np.array(wire, np.int64).reshape(-1, 5).T
    row, measure, rank, _, item = columns.astype(np.int32)  # ranks may be negative: 32 bits give them back
    return Exemplars(row, measure, rank, columns[3], item, event_ids)


def split(block: Block, layout: Layout, max_bytes: int) -> list[bytes]:
    """The block as encoded and compressed pieces of at most ``max_bytes``, each with some of the segments.

    The limit is that of a piece before it is compressed: most of it is zeros, but nobody can count on that. A
    single segment is never divided; its histograms and labels are bounded far below any sensible limit.
    """
    # What the numbers alone take: a large block is divided before it is encoded, not again and again after.
    numbers = block.counters.nbytes
    numbers += _ENTRY_BYTES * (
        len(block.histograms.row) + len(block.categories.row) + len(block.exemplars.row)
    )
    parts = min(len(block), -(-numbers // max_bytes))
    if parts <= 1:
        data = encode(block)
        if len(data) <= max_bytes or len(block) == 1:
            return [zstandard.ZstdCompressor(_LEVEL).compress(data)]
        parts = 2
    return [
        piece
        for rows in np.array_split(np.arange(len(block)), parts)
        for piece in split(select(block, rows), layout, max_bytes)
    ]


def _unpacked(data: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(data) > _MAX_UNPACKED_BYTES:
            raise ValueError(f"a block of more than {_MAX_UNPACKED_BYTES} bytes")
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(f"a block that cannot be decompressed: {error}") from error


def select(block: Block, rows: NDArray[np.int64]) -> Block:
    """The block of the given rows (ascending), with only the labels they need."""
    new_row = np.full(len(block), -1, np.int32)
    new_row[rows] = np.arange(len(rows), dtype=np.int32)
    histograms = select_entries(block.histograms, new_row)
    categories = select_entries(block.categories, new_row)
    used = np.unique(categories.item)
    new_label = np.zeros(len(block.labels), np.int32)
    new_label[used] = np.arange(len(used), dtype=np.int32)
    return Block(
        [block.segments[row] for row in rows],
        block.counters[rows],
        histograms,
        categories._replace(item=new_label[categories.item]),
        [block.labels[at] for at in used],
        select_exemplars(block.exemplars, new_row),
    )
