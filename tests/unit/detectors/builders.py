"""Windows for detector tests: from interactions through the real sketches, or straight from numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.records import FLEET, SegmentKey
from detectors.sketches.block import Block, empty_block, merge
from detectors.sketches.build import Columns, Segmentation, build
from detectors.sketches.entries import EMPTY, Entries, sum_entries
from detectors.sketches.exemplars import NO_EXEMPLARS
from detectors.sketches.window import WindowBlock
from streams.signals import FLAGS, LAYOUT, SIGNALS, VALUES

NUMERIC = {name: signal for name, signal in SIGNALS.items() if signal.kind != "mix"}
BASE_MS = 10_000
START_MS = 1_789_992_000_000
"""A Monday, 12:00 UTC."""
_FLAGS = {flag.name for flag in FLAGS}
_VALUES = {value.name for value in VALUES}


def window(
    start_ms: int,
    records: Mapping[str, Sequence[float]] | None = None,
    by: Mapping[str, Sequence[str]] | None = None,
    votes: Mapping[str, Sequence[float]] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> WindowBlock:
    """A window of records given as columns of measures (``error``, ``duration_ms``, ``judge_score`` …).

    ``by`` gives dimensions: one value per record each; every dimension is one segmentation, and the fleet
    always is one. ``votes`` are feedback measures of the whole fleet only. ``labels`` gives categories (``topic``):
    one label per record each.
    """
    blocks = [
        _block(dict(records or {}), by or {}, start_ms, "interaction", labels or {}),
        *(_block({name: values}, {}, start_ms, "feedback") for name, values in (votes or {}).items()),
    ]
    return WindowBlock(start_ms, start_ms + BASE_MS, merge(blocks, LAYOUT), LAYOUT)


def _block(
    records: dict[str, Sequence[float]],
    by: Mapping[str, Sequence[str]],
    start_ms: int,
    stream: str,
    labels: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Any:
    if not records or not len(next(iter(records.values()))):
        return empty_block(LAYOUT)
    n = len(next(iter(records.values())))
    columns = Columns(
        event_ids=[f"{stream[0]}{start_ms}-{k}" for k in range(n)],
        are_interactions=stream == "interaction",
        flags={name: np.asarray(v, float) for name, v in records.items() if name in _FLAGS},
        values={name: np.asarray(v, float) for name, v in records.items() if name in _VALUES},
        categories={name: _coded(given) for name, given in labels.items()},
    )
    segmentations = [Segmentation(np.ones(n, np.int32), [FLEET])]
    for dimension, values in by.items():
        names = sorted({str(value) for value in values})
        codes = np.array([names.index(str(value)) + 1 for value in values], np.int32)
        segmentations.append(Segmentation(codes, [SegmentKey((dimension,), (name,)) for name in names]))
    return build(columns, segmentations, LAYOUT)


def _coded(labels: Sequence[str]) -> tuple[NDArray[np.int32], list[tuple[str, ...]]]:
    names = sorted(set(labels))
    return np.array([names.index(label) + 1 for label in labels], np.int32), [(name,) for name in names]


class MatrixWindow(WindowBlock):
    """A window whose signals are given as numbers; enough for everything but rules."""

    def __init__(
        self,
        start_ms: int,
        segments: list[SegmentKey],
        values: NDArray[np.float64],
        counts: NDArray[np.int64],
        base_ms: int = BASE_MS,
    ) -> None:
        super().__init__(start_ms, start_ms + base_ms, empty_block(LAYOUT), LAYOUT)
        self.segments = segments
        self._given = values, counts

    @property
    def values(self) -> NDArray[np.float64]:
        return self._given[0]

    @property
    def counts(self) -> NDArray[np.int64]:
        return self._given[1]

    def exemplars(self, row: int, signal: str) -> tuple[str, ...]:
        return ()


def matrix(
    start_ms: int,
    segments: list[SegmentKey],
    base_ms: int = BASE_MS,
    **signals: tuple[Sequence[float], Sequence[int]],
) -> MatrixWindow:
    """A ``MatrixWindow``: for each named signal one value and one count per segment."""
    values = np.full((len(segments), len(NUMERIC)), np.nan)
    counts = np.zeros((len(segments), len(NUMERIC)), np.int64)
    names = list(NUMERIC)
    for name, (value, count) in signals.items():
        values[:, names.index(name)] = value
        counts[:, names.index(name)] = count
    return MatrixWindow(start_ms, segments, values, counts, base_ms)


def mixed(start_ms: int, counts: Mapping[SegmentKey, Mapping[str, Mapping[str, int]]]) -> WindowBlock:
    """A window of labels only: segment -> category (``topic``) -> label -> count."""
    segments = sorted(counts)
    labels = sorted({label for of in counts.values() for seen in of.values() for label in seen})
    rows = [
        (segments.index(segment), LAYOUT.category[category], labels.index(label), count)
        for segment, of in counts.items()
        for category, seen in of.items()
        for label, count in seen.items()
        if count
    ]
    row, slot, item, count = np.array(rows, np.int64).reshape(-1, 4).T
    entries = Entries(row.astype(np.int32), slot.astype(np.int32), item.astype(np.int32), count)
    counters = np.zeros((len(segments), LAYOUT.width), np.int64)
    counters[:, 0] = [max((sum(seen.values()) for seen in counts[s].values()), default=0) for s in segments]
    block = Block(segments, counters, EMPTY, sum_entries([entries]), labels, NO_EXEMPLARS)
    return WindowBlock(start_ms, start_ms + BASE_MS, block, LAYOUT)
