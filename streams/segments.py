"""Records to segments, and the cap that keeps their number bounded while a window is open."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.records import FLEET, OVERFLOW_VALUE, SegmentKey
from detectors.sketches.block import Block
from detectors.sketches.build import Segmentation
from detectors.sketches.entries import Entries, sum_entries
from detectors.sketches.exemplars import worst
from detectors.sketches.layout import Layout

_DENSE_FACTOR = 8
"""Number codes through a table while it has at most this many cells per record, else sort."""
_SHORT_NAMES = {"model": "model_requested"}
_NONE: dict[str, object] = {}
TENANT: Final = "tenant"
"""Where it is kept who the amounts came from, beside the whole fleet: users belong to a tenant."""


def field_of(dimension: str) -> str:
    """The record field that a dimension of the configuration stands for."""
    return _SHORT_NAMES.get(dimension, dimension)


K = TypeVar("K")


def absent(column: Sequence[object]) -> bool:
    """Whether no record has it. Only a column that begins with None is counted: counting others takes time."""
    return not column or (column[0] is None and column.count(None) == len(column))


class Interner(Generic[K], dict[K | None, int]):
    """A code per distinct label (or what stands for some), in order of appearance; None (unknown) is 0."""

    def __init__(self) -> None:
        super().__init__({None: 0})

    def __missing__(self, label: K) -> int:
        code = self[label] = len(self)
        return code

    def codes(self, labels: Sequence[K | None]) -> NDArray[np.int32]:
        if absent(labels):
            return np.zeros(len(labels), np.int32)
        return np.fromiter(map(self.__getitem__, labels), np.int32, len(labels))

    @property
    def labels(self) -> list[K]:
        """The label of code i + 1."""
        return [label for label in self if label is not None]


class Segmenter:
    """Assigns records to the segments of every configured segmentation, and to the whole fleet.

    ``categories`` are fields whose labels are counted as well: what is both is read once.
    """

    def __init__(self, by: Sequence[tuple[str, ...]], categories: Sequence[str] = ()) -> None:
        self.by = tuple(tuple(map(field_of, names)) for names in by)
        self.names = tuple(by)
        fields = sorted({field for names in self.by for field in names}.union(categories))
        self.readers = {field: reader_of(field) for field in fields}

    def gather(self) -> Dimensions:
        return Dimensions(self)


class Dimensions:
    """The dimensions of records, gathered as codes."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._by = tuple(zip(segmenter.names, segmenter.by, strict=True))
        self._readers = segmenter.readers
        self._interners: dict[str, Interner[str]] = {field: Interner() for field in segmenter.readers}
        self._codes: dict[str, list[NDArray[np.int32]]] = {field: [] for field in segmenter.readers}

    def add(self, records: Sequence[Any]) -> None:
        for field, read in self._readers.items():
            self._codes[field].append(self._interners[field].codes(read(records)))

    def category(self, field: str) -> tuple[NDArray[np.int32], list[str]]:
        """The code of each record in a field, and the label of each code from 1 on."""
        return _joined(self._codes[field]), self._interners[field].labels

    def segmentations(self, count: int) -> list[Segmentation]:
        """The segment of each of the ``count`` records in every segmentation, the whole fleet first."""
        parts = {field: self.category(field) for field in {field for _, by in self._by for field in by}}
        fleet = Segmentation(np.ones(count, np.int32), [FLEET], spread=True)
        return [
            fleet,
            *(
                _combine(names, [parts[field] for field in by])._replace(spread=names == (TENANT,))
                for names, by in self._by
            ),
        ]


def _joined(parts: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def reader_of(dimension: str) -> Callable[[Sequence[Any]], list[str | None]]:
    """Reads a dimension of all records: a field, or ``attributes.<name>``."""
    field = field_of(dimension)
    if not field.startswith("attributes."):
        # Compiled with the field's name in it, as namedtuple does: a third of the time of attrgetter.
        read: Callable[[Sequence[Any]], list[str | None]] = eval(  # noqa: S307 - an identifier
            f"lambda records: [record.{_identifier(field)} for record in records]"
        )
        return read
    name = field.removeprefix("attributes.")
    return lambda records: [text_of((record.attributes or _NONE).get(name)) for record in records]


def _identifier(field: str) -> str:
    if not field.isidentifier():
        raise ValueError(f"{field!r} is no name of a field")
    return field


def text_of(value: object) -> str | None:
    """The value of an attribute as the label of a segment or category; None for none."""
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _combine(names: tuple[str, ...], parts: list[tuple[NDArray[np.int32], list[str]]]) -> Segmentation:
    codes, labels = parts[0]
    if len(parts) == 1:
        return Segmentation(codes, [SegmentKey(names, (label,)) for label in labels])
    combined = codes.astype(np.int64)
    known = codes > 0
    for more, more_labels in parts[1:]:
        combined = combined * (len(more_labels) + 1) + more
        known &= more > 0
    combined[~known] = 0
    distinct, codes = _numbered(combined)
    segments = []
    for code in distinct.tolist():
        values = []
        for _, part_labels in reversed(parts):
            code, at = divmod(code, len(part_labels) + 1)
            values.append(part_labels[at - 1])
        segments.append(SegmentKey(names, tuple(reversed(values))))
    return Segmentation(codes, segments)


def _numbered(combined: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct codes but 0, ascending, and for each record 1 + the index of its code, or 0."""
    span = int(combined.max()) + 1
    if span > _DENSE_FACTOR * len(combined) + 4096:
        distinct, inverse = np.unique(combined, return_inverse=True)
        missing = 1 if distinct[0] == 0 else 0
        return distinct[missing:], (inverse + (1 - missing)).astype(np.int32)
    table = np.zeros(span, np.int32)
    table[combined] = 1
    table[0] = 0
    distinct = np.flatnonzero(table)
    table[distinct] = np.arange(1, len(distinct) + 1, dtype=np.int32)
    return distinct, table[combined]


def cap_segments(block: Block, layout: Layout, max_segments: int) -> Block:
    """At most ``max_segments`` of each segmentation; the rest are added up as ``__other__``.

    Those with the smallest stable hash stay. A segment among the smallest of a whole is among the smallest of
    every part of it, so capping parts before merging them gives the same block as capping the whole.
    """
    if len(block) <= max_segments:
        return block
    rows_by: dict[tuple[str, ...], list[int]] = {}
    for row, segment in enumerate(block.segments):
        if OVERFLOW_VALUE not in segment.values:
            rows_by.setdefault(segment.dimensions, []).append(row)
    dropped: set[int] = set()
    for rows in rows_by.values():
        if len(rows) > max_segments:
            rows.sort(key=lambda row: stable_order(block.segments[row]))
            dropped.update(rows[max_segments:])
    return overflow(block, dropped, layout) if dropped else block


def overflow(block: Block, dropped: set[int], layout: Layout) -> Block:
    """The block with the rows ``dropped`` added up in the ``__other__`` segment of their segmentation."""
    renamed = [
        SegmentKey(s.dimensions, (OVERFLOW_VALUE,) * len(s.dimensions)) if row in dropped else s
        for row, s in enumerate(block.segments)
    ]
    segments = sorted(set(renamed))
    place = {segment: at for at, segment in enumerate(segments)}
    rows = np.fromiter((place[segment] for segment in renamed), np.int32, len(renamed))
    counters = np.zeros((len(segments), layout.width), np.int64)
    np.add.at(counters, rows, block.counters)
    return Block(
        segments,
        counters,
        _moved(block.histograms, rows),
        _moved(block.categories, rows),
        block.labels,
        worst([block.exemplars._replace(row=rows[block.exemplars.row])]),
    )


def _moved(entries: Entries, rows: NDArray[np.int32]) -> Entries:
    return sum_entries([entries._replace(row=rows[entries.row])])


def stable_order(segment: SegmentKey) -> tuple[int, SegmentKey]:
    """A sort key that favours no name: by checksum, then by the segment itself; the same in every process."""
    return zlib.crc32("\x1f".join(segment.values).encode()), segment
