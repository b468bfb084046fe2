"""Offline driver: the same stages over files of events, without a broker and without a clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self

import orjson

from detectors.records import rfc3339
from streams.aggregate import Aggregate
from streams.config import Config
from streams.decide import Decide
from streams.events import Stream
from streams.messages import LocalRecord, Message
from streams.topics import ALERTS, ANOMALIES, DEADLETTERS, INCIDENTS, PARTIALS, SUMMARIES, TOPIC_OF_STREAM

CHUNK_RECORDS: Final = 1000

FILE_OF_TOPIC: Final = {
    SUMMARIES: "summaries.jsonl",
    ANOMALIES: "anomalies.jsonl",
    INCIDENTS: "incidents.jsonl",
    ALERTS: "alerts.jsonl",
    DEADLETTERS: "deadletters.jsonl",
}


class Totals(NamedTuple):
    """What a replay saw and said."""

    records: int
    windows: int
    by_topic: dict[str, int]


class Replay:
    """Runs AGGREGATE (one source per stream) and DECIDE over time-ordered records.

    ``emit`` receives every message that a live run would have produced, but the partials. ``now_ms`` is the
    time of the run: events later than that are dead letters.
    """

    def __init__(self, config: Config, emit: Callable[[Message], None], *, now_ms: int) -> None:
        self._emit = emit
        self._now_ms = now_ms
        self._decide = Decide(config)
        self._log_offset = itertools.count()
        self._offsets = dict.fromkeys(TOPIC_OF_STREAM, 0)
        self._waiting: dict[Stream, list[LocalRecord]] = {stream: [] for stream in TOPIC_OF_STREAM}
        self._records = 0
        self._emitted: dict[str, int] = {}
        self._sources = {
            stream: Aggregate(config, topic=topic, partition=0, attempt="replay", sources_total=3)
            for stream, topic in TOPIC_OF_STREAM.items()
        }
        for source in self._sources.values():
            self._pass_on(source.start().messages)

    @property
    def decide(self) -> Decide:
        """The fleet as of the windows closed so far."""
        return self._decide

    def feed(self, stream: Stream, value: bytes | None) -> None:
        """The next record of the input."""
        offset = self._offsets[stream]
        self._offsets[stream] = offset + 1
        self._records += 1
        waiting = self._waiting[stream]
        waiting.append(LocalRecord(TOPIC_OF_STREAM[stream], 0, offset, value))
        if len(waiting) >= CHUNK_RECORDS:
            self._flush()

    def finish(self) -> Totals:
        """The input has ended: close what is open."""
        self._flush()
        for source in (*self._sources.values(), *self._sources.values()):  # each vouches for all that came
            self._pass_on(source.idle(0).messages)
        return Totals(self._records, self._decide.windows_closed, dict(self._emitted))

    def _flush(self) -> None:
        for stream, source in self._sources.items():
            self._pass_on(source.add(self._waiting[stream], self._now_ms).messages)
            self._waiting[stream] = []
        # One file is one clock: a stream that is silent in it must not hold up the others.
        times = [source.max_event_ms for source in self._sources.values() if source.max_event_ms is not None]
        if times:
            for source in self._sources.values():
                self._pass_on(source.advance(max(times)).messages)

    def _pass_on(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.topic == PARTIALS:
                record = LocalRecord(PARTIALS, 0, next(self._log_offset), message.value)
                self._pass_on(self._decide.step(record))
            else:
                self._emitted[message.topic] = self._emitted.get(message.topic, 0) + 1
                self._emit(message)


class JsonlOutput:
    """Writes the messages of a replay as JSON lines, one file a kind, into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, BinaryIO] = {
            topic: (folder / name).open("wb") for topic, name in FILE_OF_TOPIC.items()
        }

    def __call__(self, message: Message) -> None:
        file = self._files[message.topic]
        if message.topic == SUMMARIES:
            for line in summary_lines(message.value):
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        else:
            file.write(message.value + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()


def summary_lines(value: bytes) -> list[dict[str, Any]]:
    """One record of ``tidewatch.summaries`` as one object per (window, segment)."""
    record = orjson.loads(value)
    lines: list[dict[str, Any]] = []
    window = {
        "window_start": rfc3339(record["window_start_ms"]),
        "window_end": rfc3339(record["window_end_ms"]),
    }
    by_segment: dict[str, dict[str, Any]] = {}
    for segment, signal, signal_value, n, expected, status, mix in record["rows"]:
        key = str(segment)
        if key not in by_segment:
            by_segment[key] = {**window, "segment": segment, "signals": {}}
            lines.append(by_segment[key])
        reading = {"value": signal_value, "n": n, "expected": expected, "status": status}
        by_segment[key]["signals"][signal] = reading if mix is None else {"n": n, "mix": mix}
    return lines
