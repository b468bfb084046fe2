"""Producing what must exist: every record awaited until it is durable, in an order that survives failures.

Two ways, for two kinds of writers. ``send`` reports the first failure and repeats nothing: AGGREGATE then starts a
new attempt, because a repeated partial would count twice. ``send_until_durable`` repeats with back-off: DECIDE's
records have deterministic ids, so that a repeat is the same record once more.

Records without a key have no order. They go as one batch each time, for a fraction of the work: they are dead
letters, and come in floods.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streams.client import MAX_REQUEST_BYTES
from streams.faultpoints import faultpoint
from streams.messages import Message
from streams.operate.vitals import Vitals

OUTAGE_SECS: Final = 900.0
"""A broker may be away for so long; then the worker ends, to be started anew."""
LONGEST_PAUSE_SECS: Final = 2.0
"""Between tries: how late the return of a broker is noticed, at most."""
_OVERHEAD_BYTES = 512
"""Room for the record batch around a single record."""


class DeliveryFailed(Exception):
    """A record did not become durable; those after it may have."""


class RecordTooLarge(Exception):
    """A record that no broker would take was about to be sent: a limit in the stages does not hold."""


class _Failure(NamedTuple):
    """What was tried did not become durable as a whole."""

    at: int
    """Index of the first record that failed."""
    error: BaseException
    first: int
    """Index of the first record that is not durable: it may just not have been sent."""


class Delivery:
    """The one producer of the process.

    The last record with a key of a topic is sent only after the earlier ones of the same call are durable: a
    watermark must not outlive the partials it seals, whatever fails in between.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        vitals: Vitals,
        *,
        back_off_secs: float = 0.2,
        give_up_secs: float = OUTAGE_SECS,
    ) -> None:
        self._producer = producer
        self._vitals = vitals
        self._back_off_secs = back_off_secs
        self._give_up_secs = give_up_secs
        self._turns = itertools.count()
        self.sent = 0

    async def send(self, messages: Sequence[Message]) -> None:
        """Send all; return when all are durable.

        Raises:
            DeliveryFailed: the first failure; nothing is repeated.
            RecordTooLarge: before anything was sent.
        """
        with self._vitals.waiting("a delivery"):
            failed = await self._attempt(messages)
        if failed is not None:
            raise DeliveryFailed(_where(messages[failed.at], failed.error)) from failed.error

    async def send_until_durable(self, messages: Sequence[Message]) -> None:
        """Send all; after a failure send again, from the first record that failed on.

        Raises:
            DeliveryFailed: when it did not work for ``give_up_secs``, or the error is not one that passes.
            RecordTooLarge: before anything was sent.
        """
        if not messages:
            return
        with self._vitals.waiting("a delivery", life=lambda: self.sent):
            await self._repeat(messages)

    async def _repeat(self, messages: Sequence[Message]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._give_up_secs
        pause = self._back_off_secs
        while (failed := await self._attempt(messages)) is not None:
            if loop.time() >= deadline or not passes(failed.error):
                raise DeliveryFailed(_where(messages[failed.at], failed.error)) from failed.error
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECS)
            messages = messages[failed.first :]

    async def _attempt(self, messages: Sequence[Message]) -> _Failure | None:
        """Send all once."""
        for message in messages:
            _check_size(message)
        last = {message.topic: index for index, message in enumerate(messages) if message.key is not None}
        closing = sorted(last.values())
        failed = await self._send_some(messages, sorted({*range(len(messages))} - {*closing}))
        if failed is not None:
            return failed._replace(first=min(failed.first, *closing)) if closing else failed
        faultpoint("delivery.before-last")
        return await self._send_some(messages, closing)

    async def _send_some(self, messages: Sequence[Message], indices: list[int]) -> _Failure | None:
        futures: list[tuple[list[int], asyncio.Future[Any]]] = []
        failures: list[tuple[int, BaseException]] = []
        missing = {*indices}
        sending = indices
        try:
            for sending in _together(messages, indices):
                topic, key, value, headers = messages[sending[0]]
                if key is not None:
                    future = await self._producer.send(topic, value, key=key, headers=list(headers) or None)
                    futures.append((sending, future))
                    continue
                partition = await self._next_partition(topic)
                for batched, batch in self._batches(messages, sending):
                    future = await self._producer.send_batch(batch, topic, partition=partition)
                    futures.append((batched, future))
        except (KafkaError, OSError) as error:
            failures.append((sending[0], error))
        results = await asyncio.gather(*(future for _, future in futures), return_exceptions=True)
        for (sent, _), result in zip(futures, results, strict=True):
            if isinstance(result, BaseException):
                failures.append((sent[0], result))
            else:
                self.sent += len(sent)
                missing -= {*sent}
        return _Failure(*min(failures, key=itemgetter(0)), min(missing)) if failures else None

    async def _next_partition(self, topic: str) -> int:
        partitions: list[int] = sorted(await self._producer.partitions_for(topic))
        return partitions[next(self._turns) % len(partitions)]

    def _batches(self, messages: Sequence[Message], indices: list[int]) -> Iterator[tuple[list[int], Any]]:
        """Each with what is in it."""
        batch, batched = self._producer.create_batch(), list[int]()
        for index in indices:
            message = messages[index]
            record = {
                "timestamp": None,
                "key": None,
                "value": message.value,
                "headers": list(message.headers),
            }
            if batch.append(**record) is None:  # full
                yield batched, batch
                batch, batched = self._producer.create_batch(), []
                batch.append(**record)
            batched.append(index)
        yield batched, batch


def passes(error: BaseException) -> bool:
    """Whether trying again may help; aiokafka does not count a time-out as retriable."""
    return isinstance(error, (KafkaTimeoutError, OSError)) or (
        isinstance(error, KafkaError) and bool(error.retriable)
    )


def _together(messages: Sequence[Message], indices: list[int]) -> Iterator[list[int]]:
    """What is handed over in one piece: each record with a key, and all those of a topic without."""
    keyless: dict[str, list[int]] = {}
    for index in indices:
        if messages[index].key is None:
            keyless.setdefault(messages[index].topic, []).append(index)
        else:
            yield [index]
    yield from keyless.values()


def _check_size(message: Message) -> None:
    size = len(message.value) + len(message.key or b"") + sum(len(k) + len(v) for k, v in message.headers)
    if size + _OVERHEAD_BYTES > MAX_REQUEST_BYTES:
        raise RecordTooLarge(
            f"a record of {size} bytes for {message.topic}; at most {MAX_REQUEST_BYTES - _OVERHEAD_BYTES} fit"
        )


def _where(message: Message, error: BaseException) -> str:
    return f"a record for {message.topic} is not durable: {error!r}"
