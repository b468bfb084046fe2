"""Which segments are watched: a place once given stays, and a flood of new ones cannot take it away."""

from __future__ import annotations

from collections.abc import Collection, Set
from typing import Final

import msgspec

from detectors.records import FLEET, OVERFLOW_VALUE, Evidence, SegmentKey, Severity, Signal
from detectors.sketches.block import Block
from detectors.sketches.layout import Layout
from streams.config import SegmentsConfig
from streams.segments import overflow, stable_order

DAY_MS: Final = 86_400_000
CALM_MS: Final = 3_600_000
"""The overflow is over when no segment was refused for so long."""
SEGMENTS_SIGNAL: Final = Signal("watched_segments", "segments", "rate", "up", "segments with records")
"""What the overflow alert speaks of; not a signal of any segment."""


class AdmissionState(msgspec.Struct):
    """Admitted segments and when each was last seen; part of DECIDE's checkpoint."""

    last_seen_ms: dict[SegmentKey, int] = msgspec.field(default_factory=dict)
    refused: int = 0
    """Segments refused so far, counted once per window."""
    first_refused_ms: int | None = None
    """Since when segments have been refused, until calm returns."""
    last_refused_ms: int = 0
    most_refused: int = 0
    """The most that were refused in one window since then."""


def folded(block: Block, refused: Set[SegmentKey], layout: Layout) -> Block:
    """The block with refused segments folded into ``__other__``."""
    rows = {row for row, segment in enumerate(block.segments) if segment in refused} if refused else set()
    return overflow(block, rows, layout) if rows else block


class Admission:
    """Admits segments from closed windows, up to the caps; the rest of a segmentation is one ``__other__``.

    New segments of one window compete by a stable hash, so that the outcome is a function of the closed windows
    alone. A place is given back after ``retire_after_days`` of event time without records.
    """

    def __init__(self, params: SegmentsConfig, state: AdmissionState | None = None) -> None:
        self._params = params
        self.state = state or AdmissionState()
        self._places: dict[tuple[str, ...], int] = {}
        for segment in self.state.last_seen_ms:
            self._places[segment.dimensions] = self._places.get(segment.dimensions, 0) + 1

    def admit(self, block: Block, window_end_ms: int, layout: Layout) -> Block:
        """The block with refused segments folded into ``__other__``."""
        return folded(block, self.refuse(block.segments, window_end_ms), layout)

    def refuse(self, segments: Collection[SegmentKey], window_end_ms: int) -> set[SegmentKey]:
        """Which of the segments of a window (each once) have no place; asked again, it refuses none of the rest."""
        known = self.state.last_seen_ms
        fresh = [s for s in segments if s not in known and OVERFLOW_VALUE not in s.values]
        refused: set[SegmentKey] = set()
        if fresh:
            self._retire(window_end_ms)
            fresh.sort(key=stable_order)
            refused = {segment for segment in fresh if not self._take_place(segment, window_end_ms)}
        for segment in segments:
            if segment in known:
                known[segment] = window_end_ms
        if refused:
            self._count(len(refused), window_end_ms)
        return refused

    def evidence(self, window_start_ms: int, window_end_ms: int) -> list[Evidence]:
        """That segments are being refused, or that this is over: one alert for a flood, however long."""
        state = self.state
        if state.first_refused_ms is None:
            return []
        firing = window_end_ms - state.last_refused_ms < CALM_MS
        known = len(state.last_seen_ms)
        found = Evidence(
            detector="rule:segment-cap",
            family="rule",
            segment=FLEET,
            signal=SEGMENTS_SIGNAL.name,
            window_start_ms=window_start_ms,
            window_end_ms=window_end_ms,
            severity=Severity.WARNING,
            statistic=float(known + state.most_refused),
            threshold=float(known),
            observed=float(known + state.most_refused),
            expected=float(known),
            lower=None,
            upper=float(known),
            n=state.most_refused,
            started_at_ms=state.first_refused_ms,
            firing=firing,
        )
        if not firing:
            state.first_refused_ms, state.most_refused = None, 0
        elif window_end_ms != state.last_refused_ms:
            return []
        return [found]

    def _count(self, refused: int, window_end_ms: int) -> None:
        state = self.state
        state.refused += refused
        state.most_refused = max(state.most_refused, refused)
        state.last_refused_ms = window_end_ms
        if state.first_refused_ms is None:
            state.first_refused_ms = window_end_ms

    def _take_place(self, segment: SegmentKey, now_ms: int) -> bool:
        places = self._places.get(segment.dimensions, 0)
        full = len(self.state.last_seen_ms) >= self._params.max_total
        if segment.dimensions and (full or places >= self._params.max_per_segmentation):
            return False
        self._places[segment.dimensions] = places + 1
        self.state.last_seen_ms[segment] = now_ms
        return True

    def _retire(self, now_ms: int) -> None:
        limit_ms = now_ms - int(self._params.retire_after_days * DAY_MS)
        old = sorted(segment for segment, seen in self.state.last_seen_ms.items() if seen < limit_ms)
        for segment in old:
            del self.state.last_seen_ms[segment]
            self._places[segment.dimensions] -= 1
