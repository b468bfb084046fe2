"""One segment's exact measures in one-minute panes, and their merge over any sliding span up to the longest."""

from __future__ import annotations

from typing import Final

from detectors.base import State
from detectors.sketches.block import decode, encode
from detectors.sketches.layout import Layout
from detectors.sketches.window import Measures

PANE_MS: Final = 60_000
DAY_MS: Final = 86_400_000


class _Sliding:
    """The merge of the panes in a window that only moves on, in a few merges a pane.

    A queue of two stacks: the older panes as merges of each with all after it, the newer as one. When the older are
    used up the newer become the older. Merging is exact, so nothing depends on how they are grouped. Source:
    Tangwongsan, Hirzel, Schneider, Low-latency sliding-window aggregation in worst-case constant time, DEBS 2017.
    """

    def __init__(self) -> None:
        self._older: list[tuple[int, Measures]] = []
        """(pane, its merge with those after it up to the newer), newest first."""
        self._newer: Measures | None = None
        self._until = 0
        """The pane after the last one that was taken."""

    def over(self, panes: list[tuple[int, Measures]], first: int, until: int) -> Measures | None:
        """The merge of ``panes`` from ``first`` on and before ``until``, neither of which ever goes back."""
        while self._older and self._older[-1][0] < first:
            self._older.pop()
        fresh = [(pane, measures) for pane, measures in panes if self._until <= pane < until]
        if self._older:
            for _, measures in fresh:
                self._newer = measures if self._newer is None else self._newer.merge(measures)
        else:
            self._newer = None
            for pane, measures in reversed(panes):
                if first <= pane < until:
                    after = self._older[-1][1] if self._older else None
                    self._older.append((pane, measures if after is None else measures.merge(after)))
        self._until = until
        oldest = self._older[-1][1] if self._older else None
        if oldest is None or self._newer is None:
            return oldest
        return oldest.merge(self._newer)


class SegmentPanes:
    """Panes of the last ``span_ms`` and, if wanted, of the UTC day so far.

    Reading a span merges what a ``_Sliding`` has of its closed panes with the open one.
    """

    def __init__(self, span_ms: int, per_day: bool, pane_ms: int) -> None:
        self._span_ms = span_ms
        self._per_day = per_day
        self.pane_ms = pane_ms
        self._panes: list[tuple[int, Measures]] = []
        """(pane number, measures), ascending; the last one may be open."""
        self._day: tuple[int, Measures] | None = None
        self._closed: dict[int, _Sliding] = {}
        self._spans: dict[int, tuple[int, Measures | None]] = {}

    @property
    def empty(self) -> bool:
        return not self._panes and self._day is None

    def add(self, start_ms: int, measures: Measures) -> None:
        pane = start_ms // self.pane_ms
        if self._panes and self._panes[-1][0] == pane:
            self._panes[-1] = (pane, self._panes[-1][1].merge(measures))
        else:
            self._panes.append((pane, measures))
        if self._per_day:
            day = start_ms // DAY_MS
            same = self._day is not None and self._day[0] == day
            self._day = (day, self._day[1].merge(measures) if same and self._day else measures)

    def expire(self, end_ms: int) -> None:
        """Forget panes that no span ending at ``end_ms`` reaches, and yesterday."""
        oldest = self._first_pane(end_ms, self._span_ms)
        while self._panes and self._panes[0][0] < oldest:
            del self._panes[0]
        if self._day is not None and self._day[0] != (end_ms - 1) // DAY_MS:
            self._day = None

    def over(self, end_ms: int, span_ms: int) -> Measures | None:
        """The measures of the panes that lie in the span ending at ``end_ms``, the open one included."""
        known = self._spans.get(span_ms)
        if known is None or known[0] != end_ms:  # several rules share a span
            known = self._spans[span_ms] = (end_ms, self._merge_span(end_ms, span_ms))
        return known[1]

    def _merge_span(self, end_ms: int, span_ms: int) -> Measures | None:
        now = (end_ms - 1) // self.pane_ms
        tail = self._closed.setdefault(span_ms, _Sliding()).over(
            self._panes, self._first_pane(end_ms, span_ms), now
        )
        if not self._panes or self._panes[-1][0] != now:
            return tail
        current = self._panes[-1][1]
        return current if tail is None else tail.merge(current)

    @property
    def day(self) -> tuple[int, Measures] | None:
        """(number of the UTC day since 1970, its measures) as of the last window with any."""
        return self._day

    def today(self) -> Measures | None:
        return None if self._day is None else self._day[1]

    def newest_first(self) -> list[tuple[int, Measures]]:
        """(start of the pane, its measures), for the onset."""
        return [(pane * self.pane_ms, measures) for pane, measures in reversed(self._panes)]

    def _first_pane(self, end_ms: int, span_ms: int) -> int:
        return -((span_ms - end_ms) // self.pane_ms)

    def to_state(self) -> State:
        day = None if self._day is None else [self._day[0], encode(self._day[1].block)]
        return {"panes": [[pane, encode(measures.block)] for pane, measures in self._panes], "day": day}

    def from_state(self, state: State, layout: Layout) -> None:
        self._panes = [(int(pane), Measures(decode(data, layout), layout)) for pane, data in state["panes"]]
        if state["day"] is not None:
            self._day = (int(state["day"][0]), Measures(decode(state["day"][1], layout), layout))
