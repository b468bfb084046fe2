"""Event time of one source: watermark, open base windows, and their sealing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.clock import Clock
from streams.contents import Content


class Sealed(NamedTuple):
    """A window that no record can join any more."""

    window_start_ms: int
    content: Content


class _OpenWindow:
    __slots__ = ("content", "first_offset", "ids")

    def __init__(self, first_offset: int, content: Content) -> None:
        self.first_offset = first_offset
        self.ids: set[str] = set()
        self.content = content


class Counts(NamedTuple):
    """What became of the records of a chunk that did not enter a window."""

    late: int = 0
    duplicates: int = 0


class Windows:
    """The open windows of one source: assigns records by event time and seals what the watermark has passed.

    The watermark before a record is the largest event time of the records before it minus the allowed lateness;
    a record is late when its window ends at or before that. Both depend on the order of the records alone, not
    on how they were cut into chunks. With ``keep_late`` (feedback) a late record joins the first open window.
    """

    def __init__(
        self,
        new_content: Callable[[], Content],
        *,
        base_ms: int,
        lateness_ms: int,
        max_open: int,
        keep_late: bool = False,
    ) -> None:
        self._new_content = new_content
        self._base_ms = base_ms
        self._lateness_ms = lateness_ms
        self._max_open = max_open
        self._keep_late = keep_late
        self._open: dict[int, _OpenWindow] = {}
        self.max_event_ms: int | None = None
        self.sealed_until_ms: int | None = None

    def clock_when_sealed(self, at_offset: int) -> Clock | None:
        """The time to go on from before the record at ``at_offset``, with all sealed that is open now."""
        sealed_ms = self.end_of_open_ms() or self.sealed_until_ms
        if self.max_event_ms is None or sealed_ms is None:
            return None
        return Clock(self.max_event_ms, sealed_ms, at_offset)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def watermark_ms(self) -> int | None:
        return None if self.max_event_ms is None else self.max_event_ms - self._lateness_ms

    @property
    def first_needed_offset(self) -> int | None:
        """The smallest offset that an open window still needs."""
        return min((window.first_offset for window in self._open.values()), default=None)

    def add(
        self,
        records: Sequence[Any],
        ids: Sequence[str],
        event_ms: NDArray[np.int64],
        offset_of: Callable[[int], int],
    ) -> Counts:
        """Add records in the order of their offsets; ``ids`` and ``event_ms`` run in parallel.

        ``offset_of`` gives the offset of the record at an index.
        """
        if not len(records):
            return Counts()
        starts = event_ms - event_ms % self._base_ms
        starts, late = self._place(starts, event_ms)
        late_count = int(np.count_nonzero(late))
        duplicates = 0
        for start in np.unique(starts[~late] if late_count else starts).tolist():
            at = np.flatnonzero((starts == start) & ~late)
            duplicates += self._join(start, records, ids, offset_of, at)
        self.advance(int(event_ms.max()))
        return Counts(late_count, duplicates)

    def advance(self, event_ms: int) -> None:
        """Event time has reached ``event_ms``."""
        self.max_event_ms = event_ms if self.max_event_ms is None else max(self.max_event_ms, event_ms)

    def seal(self, until_ms: int | None = None) -> list[Sealed]:
        """Close what the watermark has passed, or (idle sources) what ends by ``until_ms``; ascending."""
        limit = self.watermark_ms if until_ms is None else until_ms
        if limit is None:
            return []
        aligned = limit - limit % self._base_ms
        if len(self._open) > self._max_open:
            aligned = max(aligned, sorted(self._open)[-self._max_open])
        if self.sealed_until_ms is not None and aligned <= self.sealed_until_ms:
            return []
        self.sealed_until_ms = aligned
        return [
            Sealed(start, self._open.pop(start).content)
            for start in sorted(self._open)
            if start + self._base_ms <= aligned
        ]

    def end_of_open_ms(self) -> int | None:
        """Where the last open window ends."""
        return max(self._open) + self._base_ms if self._open else None

    def _place(
        self, starts: NDArray[np.int64], event_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The window of each record, and which records are late."""
        lowest = np.iinfo(np.int64).min // 2
        before = np.empty(len(event_ms), np.int64)
        before[0] = lowest if self.max_event_ms is None else self.max_event_ms
        np.maximum(event_ms[:-1], before[0], out=before[1:])
        np.maximum.accumulate(before, out=before)
        first_open = before - self._lateness_ms
        first_open -= first_open % self._base_ms
        if self.sealed_until_ms is not None:
            np.maximum(first_open, self.sealed_until_ms, out=first_open)
        late = starts < first_open
        if self._keep_late:
            return np.maximum(starts, first_open), np.zeros(len(starts), np.bool_)
        return starts, late

    def _join(
        self,
        start: int,
        records: Sequence[Any],
        ids: Sequence[str],
        offset_of: Callable[[int], int],
        at: NDArray[np.intp],
    ) -> int:
        window = self._open.get(start)
        if window is None:
            window = self._open[start] = _OpenWindow(offset_of(int(at[0])), self._new_content())
        everything = len(at) == len(records)
        chosen = list(ids) if everything else [ids[i] for i in at]
        members = list(records) if everything else [records[i] for i in at]
        fresh = _first_of_each(window.ids, chosen, members)
        window.content.add(fresh)
        return len(members) - len(fresh)


def _first_of_each(seen: set[str], ids: list[str], records: list[Any]) -> list[Any]:
    """The records whose id is new, the first of each; their ids are added to ``seen``."""
    if not seen.isdisjoint(ids):
        new = [at for at, event_id in enumerate(ids) if event_id not in seen]
        ids, records = [ids[at] for at in new], [records[at] for at in new]
    before = len(seen)
    seen.update(ids)
    if len(seen) == before + len(ids):
        return records
    first: dict[str, Any] = {}
    for event_id, record in zip(ids, records, strict=True):
        first.setdefault(event_id, record)
    return list(first.values())
