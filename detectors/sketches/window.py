"""A closed window as the detectors see it, and one segment's measures over any span."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.records import SegmentKey, SignalValue
from detectors.sketches.block import Block
from detectors.sketches.buckets import count_from
from detectors.sketches.entries import EMPTY, Entries, sum_entries
from detectors.sketches.exemplars import NO_EXEMPLARS
from detectors.sketches.layout import Layout
from detectors.sketches.readings import histogram_of, read_one, read_signals
from detectors.sketches.recent import RecentExemplars

_MOST_APART: Final = 16
"""Histograms that wait to be added up."""
Histogram = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]


class WindowBlock:
    """One closed base window of the whole fleet: every signal of every segment that had records."""

    def __init__(
        self,
        window_start_ms: int,
        window_end_ms: int,
        block: Block,
        layout: Layout,
        recent: RecentExemplars | None = None,
    ) -> None:
        """``recent`` has the exemplars of this window and of those before it, where they are wanted."""
        self.window_start_ms = window_start_ms
        self.window_end_ms = window_end_ms
        self.block = block
        self.layout = layout
        self._recent = recent
        self._histograms: dict[str, Histogram] = {}
        self.segments: list[SegmentKey] = block.segments
        """Ascending; only segments with records in this window."""
        self.signals: tuple[str, ...] = layout.numeric_signals
        """Column names of ``values`` and ``counts``: every signal but the mixes."""

    @property
    def span_ms(self) -> int:
        return self.window_end_ms - self.window_start_ms

    @cached_property
    def _readings(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        return read_signals(self.block, self.layout, self.span_ms)

    @property
    def values(self) -> NDArray[np.float64]:
        """float64 [segments, signals], NaN where the signal had no observation."""
        return self._readings[0]

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 [segments, signals]: observations behind each value (for rates: interactions)."""
        return self._readings[1]

    def events(self, row: int) -> int:
        return int(self.block.counters[row, 0])

    def above(
        self, measure: str, thresholds: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many observations of each segment exceed its threshold, and how many there are: ``(held, known)``.

        ``measure`` is a value with a histogram (``duration_ms``), in its unit; ``thresholds`` has one for each of
        ``segments``. A threshold counts as the next bucket edge, ``buckets.edge_of``, at most 1/64 above it, and
        what is exactly there exceeds it. A threshold of NaN asks nothing: 0 of 0. Raises KeyError for a measure
        without a histogram.
        """
        return count_from(*self.histogram(measure), thresholds)

    def histogram(self, measure: str) -> Histogram:
        """Row, bucket and count of every entry of a measure's histograms. Raises KeyError for a measure without."""
        if measure not in self._histograms:
            self._histograms[measure] = histogram_of(self.block, self.layout, measure)
        return self._histograms[measure]

    def measures(self, row: int) -> Measures:
        """Everything measured of one segment, to be merged over longer spans."""
        return Measures(_one_row(self.block, row), self.layout)

    def mixes(self) -> dict[tuple[int, str], dict[str, int]]:
        """(row, mix signal) -> category -> count."""
        found: dict[tuple[int, str], dict[str, int]] = {}
        names = {self.layout.category[self.layout.readings[s].measure]: s for s in self.layout.mix_signals}
        entries = self.block.categories
        for row, slot, item, count in zip(*(column.tolist() for column in entries), strict=True):
            found.setdefault((row, names[slot]), {})[self.block.labels[item]] = count
        return found

    def exemplars(self, row: int, signal: str) -> tuple[str, ...]:
        """Event ids that show the signal worst, in this window and those shortly before it."""
        reading = self.layout.readings.get(signal)
        measure = None if reading is None else self.layout.exemplar.get(reading.measure)
        if measure is None:
            return ()
        if self._recent is not None:
            return self._recent.find(self.segments[row], measure)
        exemplar = self.block.exemplars.find(row, measure)
        return () if exemplar is None else (exemplar.event_id,)


class Measures:
    """One segment's measures over some span; merging is exact, signals are read from the result.

    Counters are added up at once, histograms when they are read, which few rules do, or too many are waiting.
    """

    __slots__ = ("_block", "_more", "layout")

    def __init__(self, block: Block, layout: Layout, more: Sequence[Entries] = ()) -> None:
        """``more`` are histograms that are still to be added to those of the block."""
        self._block = block
        self._more = more
        self.layout = layout

    @property
    def block(self) -> Block:
        """All of it, added up."""
        if self._more:
            histograms = sum_entries([self._block.histograms, *self._more])
            self._block, self._more = _of_one(self._block, self._block.counters, histograms), ()
        return self._block

    @property
    def events(self) -> int:
        return int(self._block.counters[0, 0])

    def merge(self, *others: Measures) -> Measures:
        """The measures of this span and the others together; all must be of one segment."""
        both = (self, *others)
        counters = np.sum([one._block.counters for one in both], axis=0)
        apart = [histograms for one in both for histograms in (one._block.histograms, *one._more)]
        first, *more = apart if len(apart) <= _MOST_APART else [sum_entries(apart)]
        return Measures(_of_one(self._block, counters, first), self.layout, more)

    def read(self, signal: str, span_ms: int) -> SignalValue | None:
        """The signal over the span, or None without observations."""
        reading = self.layout.readings[signal]
        block = self.block if reading.q is not None or reading.who else self._block
        values, counts = read_one(block, self.layout, reading, span_ms)
        return None if np.isnan(values[0]) else SignalValue(float(values[0]), int(counts[0]))

    def share_above(self, signal: str, bound: float) -> float:
        """Share of the observations behind a quantile that exceed ``bound``, as ``WindowBlock.above`` counts."""
        histogram = histogram_of(self.block, self.layout, self.layout.readings[signal].measure)
        held, known = count_from(*histogram, np.array([bound]))
        return float(held[0] / known[0]) if known[0] else 0.0


def _of_one(like: Block, counters: NDArray[np.int64], histograms: Entries) -> Block:
    return Block(like.segments, counters, histograms, EMPTY, [], NO_EXEMPLARS)


def _one_row(block: Block, row: int) -> Block:
    return Block(
        [block.segments[row]],
        block.counters[row : row + 1],
        _row_entries(block.histograms, row),
        EMPTY,
        [],
        NO_EXEMPLARS,
    )


def _row_entries(entries: Entries, row: int) -> Entries:
    lo, hi = np.searchsorted(entries.row, [row, row + 1])
    zeros = np.zeros(hi - lo, np.int32)
    return Entries(zeros, entries.slot[lo:hi], entries.item[lo:hi], entries.count[lo:hi])
