"""Sends events to the input topics: a file or any iterator, at a fixed rate, at the events' own speed, or flat out.

Records go out as they are, good or bad: what is wrong with a record is for the reader to say. Keys are the trace
id, else the event id, so that repeats of an event meet in one partition.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from aiokafka import AIOKafkaProducer

from streams.client import await_brokers, producer_settings
from streams.events import Stream, epoch_ms
from streams.kafka_config import KafkaConfig
from streams.simulate import TrafficSpec, generate
from streams.topics import TOPIC_OF_STREAM

MAX_IN_FLIGHT: Final = 10_000
"""Records handed to the client and not yet acknowledged: bounds the memory."""
_MIN_SLEEP_SECS: Final = 0.002
_LOOK_UP_EVERY: Final = 256
"""Flat out, let the client's own tasks run after this many records."""


class Sendable(Protocol):
    """A record to send: ``streams.files.FileRecord``, or anything like it."""

    @property
    def stream(self) -> Stream: ...
    @property
    def value(self) -> bytes: ...


class Outgoing(NamedTuple):
    """The smallest ``Sendable``."""

    stream: Stream
    value: bytes


class Produced(NamedTuple):
    """What was sent and acknowledged."""

    sent: int
    elapsed_secs: float
    by_topic: dict[str, int]

    @property
    def rate_per_sec(self) -> float:
        return self.sent / self.elapsed_secs if self.elapsed_secs > 0 else 0.0


class Pace(NamedTuple):
    """How fast to send. Both None: as fast as the brokers take it."""

    rate_per_sec: float | None = None
    speed: float | None = None
    """Times the events' own speed: 2 plays an hour in half an hour."""


class _Head(msgspec.Struct, gc=False):
    """What sending needs of a record; everything else stays undecoded."""

    trace_id: str | None = None
    event_id: str | None = None
    change_id: str | None = None
    occurred_at: int | datetime | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)


def head_of(value: bytes) -> tuple[bytes | None, int | None]:
    """Key and time (epoch ms) of a record; ``None`` for what it does not tell."""
    try:
        head = _HEAD.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None, None
    name = head.trace_id or head.event_id or head.change_id
    at = head.occurred_at
    if isinstance(at, datetime) and at.tzinfo is None:
        at = None
    return name.encode() if name else None, None if at is None else epoch_ms(at)


def simulated(spec: TrafficSpec) -> Iterator[Outgoing]:
    """Synthetic traffic, in the order of time."""
    return (Outgoing(event.kind, event.value) for batch in generate(spec) for event in batch)


async def produce(
    records: Iterable[Sendable],
    kafka: KafkaConfig,
    *,
    pace: Pace | None = None,
    on_sent: Callable[[Sendable], None] | None = None,
) -> Produced:
    """Send ``records`` in order and return when the brokers have acknowledged all of them.

    ``on_sent`` is called for each record as it is handed to the client, for progress.

    Raises:
        BrokerUnreachable: no broker lets us in; nothing was sent.
        KafkaError: a record was not acknowledged; the records before it may or may not have been.
    """
    await await_brokers(kafka, timeout_secs=0.0)  # somebody is watching: say at once what is wrong
    waiting: deque[asyncio.Future[Any]] = deque()
    by_topic: Counter[str] = Counter()
    producer = AIOKafkaProducer(**producer_settings(kafka), client_id="tidewatch-produce", linger_ms=5)
    try:
        await producer.start()
        started = time.perf_counter()
        timetable = _Timetable(pace or Pace())
        for index, record in enumerate(records):
            key, at_ms = head_of(record.value)
            await timetable.wait(index, at_ms)
            topic = TOPIC_OF_STREAM[record.stream]
            waiting.append(await producer.send(topic, record.value, key=key))
            by_topic[topic] += 1
            if on_sent is not None:
                on_sent(record)
            while waiting and (waiting[0].done() or len(waiting) >= MAX_IN_FLIGHT):
                await waiting.popleft()
        while waiting:
            await waiting.popleft()
        return Produced(by_topic.total(), time.perf_counter() - started, dict(by_topic))
    finally:
        for future in waiting:
            future.cancel()
        await producer.stop()


class _Timetable:
    """When each record is due."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._first_ms: int | None = None
        self._started = time.perf_counter()

    async def wait(self, index: int, at_ms: int | None) -> None:
        due_secs = self._due_secs(index, at_ms)
        ahead_secs = due_secs - (time.perf_counter() - self._started)
        # Short waits are saved up: the loop's timers are not finer, and batches fill better.
        if ahead_secs > _MIN_SLEEP_SECS:
            await asyncio.sleep(ahead_secs)
        elif index % _LOOK_UP_EVERY == 0:
            await asyncio.sleep(0)

    def _due_secs(self, index: int, at_ms: int | None) -> float:
        if self._pace.rate_per_sec is not None:
            return index / self._pace.rate_per_sec
        if self._pace.speed is None or at_ms is None:
            return 0.0
        if self._first_ms is None:
            self._first_ms = at_ms
        return (at_ms - self._first_ms) / 1_000 / self._pace.speed
