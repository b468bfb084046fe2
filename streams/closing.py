"""When a window of the whole fleet closes, and with which partials: watermarks of many sources to one sequence.

A window uses only the partials of the attempt whose watermark sealed it for a source; the first seal in the log
wins and a sealed window never reopens. A window closes when every source has sealed it, or says that it is idle.
An idle source vouches only for what the fleet had seen when it said so: its word lets windows close up to the
fleet's largest event time of that moment minus the lateness, so it must be renewed while others go on. (Else a
source whose worker died while it was idle would not hold up windows that its unread records belong to.) Only the
attempt that began last may say it: a worker that was paused on its way to do so would speak for records that
another one reads by now. While all sources are idle, event time goes on by the time that they have been quiet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from streams.partials import LogRecord, Notices, Partial, Watermark

MAX_SILENT_WINDOWS: Final = 360
"""After this many windows in a row without records the following empty ones are passed over: a long silence is
one fact, and its length must not cost time. The count depends on the windows alone, so that it does not matter
whether time moved in one step or in many."""

MAX_ATTEMPTS: Final = 16
"""Attempts of one source whose unsealed partials are kept; the oldest are dropped beyond that."""


class Closed(NamedTuple):
    """A closed window: the encoded blocks that make it up, and the changes announced in it."""

    window_start_ms: int
    blocks: list[bytes]
    changes: list[dict[str, Any]]


class _Pieces(msgspec.Struct):
    """What one attempt of one source sent for one window, by number of the piece."""

    blocks: dict[int, bytes] = msgspec.field(default_factory=dict)
    changes: list[dict[str, Any]] = msgspec.field(default_factory=list)


class _Window(msgspec.Struct):
    """What all sources that have sealed a window sent for it."""

    blocks: list[bytes] = msgspec.field(default_factory=list)
    changes: list[dict[str, Any]] = msgspec.field(default_factory=list)

    def add(self, pieces: _Pieces) -> None:
        self.blocks += pieces.blocks.values()
        self.changes += pieces.changes


class _Source(msgspec.Struct):
    sealed_until_ms: int | None = None
    max_event_ms: int | None = None
    idle: bool = False
    quiet_ms: int = 0
    vouched_event_ms: int | None = None
    """The fleet's largest event time when the source last said that it is idle."""
    attempt: str = ""
    """The one that began last; empty where none has said so."""
    attempts: dict[str, dict[int, _Pieces]] = msgspec.field(default_factory=dict)
    """attempt -> window start -> pieces that no watermark has sealed yet."""


class ClosingState(msgspec.Struct):
    """Everything that ``Closing`` remembers; part of DECIDE's checkpoint."""

    sources: dict[str, _Source] = msgspec.field(default_factory=dict)
    sources_total: int = 0
    sealed: dict[int, _Window] = msgspec.field(default_factory=dict)
    """Window start -> pieces of all sources that have sealed it; not yet closed."""
    closed_until_ms: int | None = None
    silent_windows: int = 0
    ignored_partials: int = 0
    floors: dict[str, int] = msgspec.field(default_factory=dict)
    """Source -> until when it had sealed in a log before this one: what it sends again of that is a repeat."""

    def on_another_log(self) -> ClosingState:
        """The state where another log begins: sources must be heard again, what they have sealed stays."""
        sealed = {
            name: s.sealed_until_ms for name, s in self.sources.items() if s.sealed_until_ms is not None
        }
        return msgspec.structs.replace(self, sources={}, sources_total=0, floors=self.floors | sealed)


class Closing:
    """Merges the log of partials and watermarks into closed windows, ascending and without gaps.

    ``keep_late`` names the prefixes of sources (feedback, changes) whose pieces are never ignored as late: they
    join the first window that is not closed yet.
    """

    def __init__(
        self,
        *,
        base_ms: int,
        lateness_ms: int,
        keep_late: tuple[str, ...] = (),
        state: ClosingState | None = None,
    ) -> None:
        self._base_ms = base_ms
        self._lateness_ms = lateness_ms
        self._keep_late = keep_late
        self.state = state or ClosingState()
        self.dropped_attempts = 0
        """Since this process began."""

    def step(self, record: LogRecord) -> Iterator[Closed]:
        """Take one record of the log; yields the windows that it closes."""
        source = self.state.sources.setdefault(record.source, _Source())
        if isinstance(record, Watermark):
            self._seal(record, source)
            yield from self._close()
        else:
            self._keep(record, source)

    def _keep(self, record: Partial | Notices, source: _Source) -> None:
        windows = source.attempts.setdefault(record.attempt, {})
        pieces = windows.setdefault(record.window_start_ms, _Pieces())
        if isinstance(record, Partial):
            pieces.blocks[record.piece] = record.block
        else:
            pieces.changes = record.changes
        while len(source.attempts) > MAX_ATTEMPTS:
            del source.attempts[next(iter(source.attempts))]
            self.dropped_attempts += 1

    def _seal(self, watermark: Watermark, source: _Source) -> None:
        self.state.sources_total = max(self.state.sources_total, watermark.sources_total)
        if watermark.max_event_ms is not None:
            source.max_event_ms = max(source.max_event_ms or 0, watermark.max_event_ms)
        if watermark.begins:
            source.attempt = watermark.attempt
        if watermark.begins is None or source.attempt in ("", watermark.attempt):
            source.idle, source.quiet_ms = watermark.idle, watermark.quiet_ms
            if watermark.idle:
                source.vouched_event_ms = self._max_event_ms()
        until = watermark.sealed_until_ms
        if until is None or (source.sealed_until_ms is not None and until <= source.sealed_until_ms):
            self._forget(source, watermark.attempt, source.sealed_until_ms)
            return
        known = (source.sealed_until_ms, self.state.floors.get(watermark.source))
        before = max((ms for ms in known if ms is not None), default=None)
        for start, pieces in sorted(source.attempts.get(watermark.attempt, {}).items()):
            if start + self._base_ms > until:
                continue
            if before is not None and start + self._base_ms <= before:
                self.state.ignored_partials += len(pieces.blocks)
            else:
                self._accept(watermark.source, start, pieces)
        source.sealed_until_ms = until
        for attempt in list(source.attempts):
            self._forget(source, attempt, until)

    def _accept(self, source: str, start: int, pieces: _Pieces) -> None:
        closed_until = self.state.closed_until_ms
        if closed_until is not None and start < closed_until:
            if not source.startswith(self._keep_late):
                self.state.ignored_partials += len(pieces.blocks)
                return
            start = closed_until
        self.state.sealed.setdefault(start, _Window()).add(pieces)

    def _forget(self, source: _Source, attempt: str, until_ms: int | None) -> None:
        """Drop what is kept for windows that are sealed."""
        windows = source.attempts.get(attempt)
        if windows is None or until_ms is None:
            return
        for start in [start for start in windows if start + self._base_ms <= until_ms]:
            del windows[start]
        if not windows:
            del source.attempts[attempt]

    def _close(self) -> Iterator[Closed]:
        limit = self._closable_until()
        if limit is None:
            return
        state = self.state
        if state.closed_until_ms is None:
            # The first window: below the limit, or a source that has sealed less might still have an earlier one.
            first = min(state.sealed, default=limit)
            if first + self._base_ms > limit:
                return
            state.closed_until_ms = first
        while state.closed_until_ms + self._base_ms <= limit:
            start = state.closed_until_ms
            window = state.sealed.pop(start, None)
            if window is None and state.silent_windows >= MAX_SILENT_WINDOWS:
                state.closed_until_ms = min(min(state.sealed, default=limit), limit)
                continue
            state.silent_windows = 0 if window is not None else state.silent_windows + 1
            state.closed_until_ms = start + self._base_ms
            window = window or _Window()
            yield Closed(start, window.blocks, window.changes)

    def _closable_until(self) -> int | None:
        """Up to where every source that counts has sealed, or None while some source is unheard."""
        sources = self.state.sources.values()
        if len(sources) < self.state.sources_total:
            return None
        newest = self._max_event_ms()
        if newest is None:
            return None
        if all(source.idle and source.vouched_event_ms == newest for source in sources):
            sealed = max(s.sealed_until_ms for s in sources if s.sealed_until_ms is not None)
            quiet_ms = min(source.quiet_ms for source in sources)
            return max(sealed, self._passed(newest + quiet_ms))
        limits = [self._limit_of(source) for source in sources]
        return None if None in limits else min(limit for limit in limits if limit is not None)

    @property
    def held_up(self) -> tuple[str, int] | None:
        """The source that the windows wait for, and by how many milliseconds it is behind the one that is farthest.

        None where all are equally far, or some is unheard.
        """
        limits = {name: self._limit_of(source) for name, source in self.state.sources.items()}
        known = {name: limit for name, limit in limits.items() if limit is not None}
        if not known or len(known) < max(len(limits), self.state.sources_total):
            return None
        slowest = min(known, key=lambda name: (known[name], name))
        behind_ms = max(known.values()) - known[slowest]
        return (slowest, behind_ms) if behind_ms else None

    def _limit_of(self, source: _Source) -> int | None:
        if not source.idle:
            return source.sealed_until_ms
        return None if source.vouched_event_ms is None else self._passed(source.vouched_event_ms)

    def _max_event_ms(self) -> int | None:
        times = [s.max_event_ms for s in self.state.sources.values() if s.max_event_ms is not None]
        return max(times, default=None)

    def _passed(self, event_ms: int) -> int:
        """Up to where windows are complete when event time has reached ``event_ms``."""
        passed = event_ms - self._lateness_ms
        return passed - passed % self._base_ms
