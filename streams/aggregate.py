"""AGGREGATE: the records of one input partition in, partials and watermarks out; pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np

from detectors.records import stable_id
from streams.clock import decode_clocks, encode_clocks
from streams.config import Config
from streams.contents import ChangeContent, Content, SketchContent
from streams.deadletters import RateCap, encode_dead_letter
from streams.decode import BadRecord, decode_chunk
from streams.events import Feedback, Stream
from streams.fields import gatherers
from streams.messages import Message, Record, append_times_ms
from streams.partials import LogRecord, Watermark, encode_log_record
from streams.signals import LAYOUT
from streams.topics import DEADLETTERS, PARTIALS, TOPIC_OF_STREAM
from streams.windows import Windows

STREAM_OF_TOPIC: Final[dict[str, Stream]] = {topic: stream for stream, topic in TOPIC_OF_STREAM.items()}
_OCCURRED_AT: Final = attrgetter("occurred_at")


class AggregateStep(NamedTuple):
    """What a driver must do after a step: send all messages in order, await them, then commit the offset."""

    messages: list[Message]
    commit_offset: int | None
    """The smallest offset that is still needed; None when there is nothing new to commit."""
    metadata: str = ""
    """To commit with the offset, and to begin with there."""


class Counts(NamedTuple):
    """What an assignment has counted since it began."""

    skipped: dict[str, int]
    """Records that entered no window, by reason."""
    dead_letters: dict[str, int]
    """Records that were refused, by reason."""
    over_caps: dict[str, int]
    """What a hard cap kept out, by cap."""


class Aggregate:
    """One assignment of one input partition: its open windows and counters.

    ``attempt`` must be new at every assignment; ``sources_total`` is the number of input partitions of the fleet;
    ``metadata`` is what was committed with the offset where it begins.
    """

    def __init__(
        self,
        config: Config,
        *,
        topic: str,
        partition: int,
        attempt: str,
        sources_total: int,
        metadata: str | None = None,
    ) -> None:
        self._stream = STREAM_OF_TOPIC[topic]
        self._source = f"{topic}-{partition}"
        self._attempt = attempt
        self._sources_total = sources_total
        self._windows = Windows(
            _content_of(self._stream, config),
            base_ms=config.base_window_ms,
            lateness_ms=config.allowed_lateness_ms,
            max_open=config.limits.open_windows,
            keep_late=self._stream != "interaction",
        )
        self._clocks = decode_clocks(metadata)
        """What was sealed by decision, and where, as far as it may be read again; committed with the offset."""
        self._to_come = deque(self._clocks)
        """Those that an attempt before this one has decided, until we are there."""
        self._letters = RateCap(self._stream, config.limits.dead_letters_per_1000)
        self._next_offset = 0
        self._committed_offset: int | None = None
        self._idle = False
        self._quiet_ms = 0
        self._late = self._duplicates = self._unknown_fields = self._empty = 0
        self._refused: Counter[str] = Counter()
        self._dropped = 0

    @property
    def open_windows(self) -> int:
        return len(self._windows)

    @property
    def watermark_ms(self) -> int | None:
        return self._windows.watermark_ms

    @property
    def counts(self) -> Counts:
        skipped = {"late": self._late, "duplicate": self._duplicates, "empty": self._empty}
        what = "changes of a window" if self._stream == "change" else "segments of a window"
        over_caps = {"dead letters of a chunk": self._letters.unlettered, what: self._dropped}
        return Counts(skipped, dict(self._refused), over_caps)

    @property
    def max_event_ms(self) -> int | None:
        """The largest event time seen."""
        return self._windows.max_event_ms

    def start(self) -> AggregateStep:
        """Announce the source, so that no window closes without it."""
        return AggregateStep([self._watermark(begins=True)], None)

    def add(self, records: Sequence[Record], now_ms: int) -> AggregateStep:
        """A chunk of records with ascending offsets; ``now_ms`` is the driver's clock.

        The future is refused by the broker's clock where it stamps the records, else by the driver's.
        """
        if not records:
            return AggregateStep([], None)
        messages = []
        if self._idle:
            self._idle, self._quiet_ms = False, 0
            messages.append(self._watermark())
        while self._to_come and records[-1].offset >= self._to_come[0].at_offset:
            clock = self._to_come.popleft()
            first = next(at for at, record in enumerate(records) if record.offset >= clock.at_offset)
            messages += self._take(records[:first], now_ms)
            self._windows.advance(clock.max_event_ms)
            messages += self._seal(clock.sealed_until_ms)
            records = records[first:]
        messages += self._take(records, now_ms)
        return self._step(messages)

    def _take(self, records: Sequence[Record], now_ms: int) -> list[Message]:
        if not records:
            return []
        chunk = decode_chunk(self._stream, records, now_ms, append_times_ms(records))
        messages = self._dead_letters(records, chunk.bad)
        self._unknown_fields += chunk.unknown.total
        self._empty += len(chunk.empty)
        self._next_offset = records[-1].offset + 1
        if chunk.events:
            everything = len(chunk.events) == len(records)
            joining = records if everything else [records[at] for at in chunk.indices]
            self._join(joining, chunk.events)
        messages += self._seal(None)
        return messages

    def advance(self, event_ms: int) -> AggregateStep:
        """Event time has reached ``event_ms``, as another stream of the same time-ordered input shows."""
        self._windows.advance(event_ms)
        return self._step(self._seal(None))

    def decide(self) -> str:
        """What to commit before what is open is sealed by ``settle`` or ``idle``; empty when nothing is open."""
        clock = self._windows.clock_when_sealed(self._next_offset) if self._windows else None
        if clock is None:
            return ""
        self._clocks = [*(before for before in self._clocks if before.at_offset < clock.at_offset), clock]
        return encode_clocks(self._clocks)

    def settle(self) -> AggregateStep:
        """Seal what is open, as was decided."""
        return self._step(self._seal(self._windows.end_of_open_ms()))

    def idle(self, quiet_ms: int) -> AggregateStep:
        """The source is caught up and has been quiet for ``quiet_ms``: seal what is open, and say so."""
        self._idle, self._quiet_ms = True, quiet_ms
        messages = self._seal(self._windows.end_of_open_ms()) or [self._watermark()]
        return self._step(messages)

    def _step(self, messages: list[Message]) -> AggregateStep:
        needed = self._windows.first_needed_offset
        if needed is not None:
            self._clocks = [clock for clock in self._clocks if clock.at_offset >= needed]
        elif not self._to_come and (clock := self._windows.clock_when_sealed(self._next_offset)):
            self._clocks = [clock]
        return AggregateStep(messages, self._offset_to_commit(), encode_clocks(self._clocks))

    def _dead_letters(self, records: Sequence[Record], bad: list[tuple[int, BadRecord]]) -> list[Message]:
        self._refused.update(reason.reason for _, reason in bad)
        return [
            Message(DEADLETTERS, None, encode_dead_letter(letter))
            for letter in self._letters.letters(records, bad)
        ]

    def _join(self, records: Sequence[Record], events: Sequence[Any]) -> None:
        ids = list(map(_IDENTITY[self._stream], events))
        event_ms = np.fromiter(map(_OCCURRED_AT, events), np.int64, len(events))
        appended_ms = append_times_ms(records)
        if appended_ms is not None:
            for at in np.flatnonzero(event_ms > appended_ms).tolist():
                # A clock that is a little fast: all that is said of the record goes by the time that counts.
                event_ms[at] = events[at].occurred_at = int(appended_ms[at])
        counts = self._windows.add(events, ids, event_ms, lambda at: records[at].offset)
        self._late += counts.late
        self._duplicates += counts.duplicates

    def _seal(self, until_ms: int | None) -> list[Message]:
        before = self._windows.sealed_until_ms
        sealed = self._windows.seal(until_ms)
        if self._windows.sealed_until_ms == before:
            return []
        pieces = [
            self._to_log(piece)
            for window in sealed
            for piece in window.content.pieces(self._source, self._attempt, window.window_start_ms)
        ]
        self._dropped += sum(window.content.dropped for window in sealed)
        return [*pieces, self._watermark()]

    def _watermark(self, *, begins: bool = False) -> Message:
        return self._to_log(
            Watermark(
                source=self._source,
                attempt=self._attempt,
                sealed_until_ms=self._windows.sealed_until_ms,
                upto_offset=self._next_offset,
                max_event_ms=self._windows.max_event_ms,
                idle=self._idle,
                quiet_ms=self._quiet_ms,
                sources_total=self._sources_total,
                late=self._late,
                duplicates=self._duplicates,
                unknown_fields=self._unknown_fields,
                empty=self._empty,
                begins=begins,
            )
        )

    def _to_log(self, record: LogRecord) -> Message:
        return Message(PARTIALS, self._source.encode(), encode_log_record(record))

    def _offset_to_commit(self) -> int | None:
        needed = self._windows.first_needed_offset
        offset = self._next_offset if needed is None else needed
        if offset == 0 or offset == self._committed_offset:
            return None
        self._committed_offset = offset
        return offset


def _content_of(stream: Stream, config: Config) -> Callable[[], Content]:
    limits = config.limits
    if stream == "change":
        return lambda: ChangeContent(limits.partial_bytes)
    gatherer = gatherers(stream, config.segments)
    return lambda: SketchContent(gatherer(), LAYOUT, limits.window_segments, limits.partial_bytes)


def _feedback_identity(event: Feedback) -> str:
    """Feedback without an id of its own is the same when it says the same about the same interaction."""
    if event.feedback_id:
        return event.feedback_id
    about = event.event_id or event.trace_id
    return stable_id(about, event.name, event.evaluator, event.occurred_at, event.score, event.label)


_IDENTITY: Final[dict[Stream, Callable[[Any], str]]] = {
    "interaction": attrgetter("event_id"),
    "feedback": _feedback_identity,
    "change": attrgetter("change_id"),
}
