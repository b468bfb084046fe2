"""Producing what must exist: every record awaited until it is durable, in an order that survives failures.

Two ways, for two kinds of writers. ``send`` reports the first failure and repeats nothing: AGGREGATE then starts a
new attempt, because a repeated partial would count twice. ``send_until_durable`` repeats with back-off: DECIDE's
records have deterministic ids, so that a repeat is the same record once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

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


class Delivery:
    """The one producer of the process.

    The last record of a topic is sent only after the earlier ones of the same call are durable: a watermark must
    not outlive the partials it seals, whatever fails in between.
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
            raise DeliveryFailed(_where(messages[failed[0]], failed[1])) from failed[1]

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
            index, error = failed
            if loop.time() >= deadline or not passes(error):
                raise DeliveryFailed(_where(messages[index], error)) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECS)
            messages = messages[index:]

    async def _attempt(self, messages: Sequence[Message]) -> tuple[int, BaseException] | None:
        """Send all once; the first failure as (index, error)."""
        for message in messages:
            _check_size(message)
        last = {message.topic: index for index, message in enumerate(messages)}
        closing = sorted(last.values())
        failed = await self._send_some(messages, [i for i in range(len(messages)) if i not in set(closing)])
        if failed is not None:
            return failed
        faultpoint("delivery.before-last")
        return await self._send_some(messages, closing)

    async def _send_some(
        self, messages: Sequence[Message], indices: list[int]
    ) -> tuple[int, BaseException] | None:
        futures: list[tuple[int, asyncio.Future[Any]]] = []
        failure: tuple[int, BaseException] | None = None
        for index in indices:
            message = messages[index]
            try:
                future = await self._producer.send(
                    message.topic, message.value, key=message.key, headers=list(message.headers) or None
                )
            except (KafkaError, OSError) as error:
                failure = (index, error)
                break
            futures.append((index, future))
        results = await asyncio.gather(*(future for _, future in futures), return_exceptions=True)
        for (index, _), result in zip(futures, results, strict=True):
            if isinstance(result, BaseException):
                return index, result
            self.sent += 1
        return failure


def passes(error: BaseException) -> bool:
    """Whether trying again may help; aiokafka does not count a time-out as retriable."""
    return isinstance(error, (KafkaTimeoutError, OSError)) or (
        isinstance(error, KafkaError) and bool(error.retriable)
    )


def _check_size(message: Message) -> None:
    size = len(message.value) + len(message.key or b"") + sum(len(k) + len(v) for k, v in message.headers)
    if size + _OVERHEAD_BYTES > MAX_REQUEST_BYTES:
        raise RecordTooLarge(
            f"a record of {size} bytes for {message.topic}; at most {MAX_REQUEST_BYTES - _OVERHEAD_BYTES} fit"
        )


def _where(message: Message, error: BaseException) -> str:
    return f"a record for {message.topic} is not durable: {error!r}"
