"""Delivery against a producer whose broker fails as told: what is sent when, what is sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError

from streams.client import MAX_REQUEST_BYTES
from streams.delivery import Delivery, DeliveryFailed, RecordTooLarge
from streams.messages import Message
from streams.operate.vitals import Vitals

BATCH_RECORDS = 3


class ScriptedBatch:
    """aiokafka's builder: takes records until it is full."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, timestamp: None, key: None, value: bytes, headers: list[Any]) -> object | None:
        if len(self.values) == BATCH_RECORDS:
            return None
        self.values.append(value)
        return self


class ScriptedProducer:
    """aiokafka's ``send``: a future per record, settled a moment later; ``failures`` say which attempts fail."""

    def __init__(self, failures: dict[bytes, list[Exception]] | None = None) -> None:
        self.failures = failures or {}
        self.sent: list[bytes] = []
        self.durable: list[bytes] = []
        self.batches: list[tuple[int, list[bytes]]] = []

    async def partitions_for(self, _: str) -> set[int]:
        return {0, 1}

    def create_batch(self) -> ScriptedBatch:
        return ScriptedBatch()

    async def send_batch(
        self, batch: ScriptedBatch, topic: str, *, partition: int
    ) -> asyncio.Future[list[None]]:
        self.batches.append((partition, batch.values))
        return asyncio.gather(*[await self.send(topic, value) for value in batch.values])

    async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[None]:
        self.sent.append(value)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.001, self._settle, value, future)
        return future

    def _settle(self, value: bytes, future: asyncio.Future[None]) -> None:
        if self.failures.get(value):
            future.set_exception(self.failures[value].pop(0))
        else:
            self.durable.append(value)
            future.set_result(None)


def messages(*values: str) -> list[Message]:
    """``"t:value"``: a record for topic t."""
    return [Message(value.split(":")[0], b"key", value.encode()) for value in values]


def letters(*values: str) -> list[Message]:
    """Records without a key."""
    return [message._replace(key=None) for message in messages(*values)]


def delivery(producer: ScriptedProducer, **options: Any) -> Delivery:
    return Delivery(producer, Vitals(), back_off_secs=0.001, **options)  # type: ignore[arg-type]


async def test_all_are_durable_in_order_and_the_last_of_a_topic_after_the_others() -> None:
    producer = ScriptedProducer()
    sent_when_watermark: list[bytes] = []
    send = producer.send

    async def watching(topic: str, value: bytes, **rest: Any) -> asyncio.Future[None]:
        if value == b"partials:watermark":
            sent_when_watermark.extend(producer.durable)
        return await send(topic, value, **rest)

    producer.send = watching  # type: ignore[method-assign]
    await delivery(producer).send(messages("partials:1", "other:a", "partials:2", "partials:watermark"))
    assert producer.durable == [b"partials:1", b"partials:2", b"other:a", b"partials:watermark"]
    assert sent_when_watermark == [b"partials:1", b"partials:2"]


async def test_a_watermark_is_not_sent_when_a_partial_failed() -> None:
    producer = ScriptedProducer({b"partials:1": [KafkaTimeoutError()]})
    with pytest.raises(DeliveryFailed, match="partials"):
        await delivery(producer).send(messages("partials:1", "partials:2", "partials:watermark"))
    assert b"partials:watermark" not in producer.sent
    assert producer.sent.count(b"partials:1") == 1, "nothing is repeated within an attempt"


async def test_until_durable_repeats_from_the_first_failure_on() -> None:
    producer = ScriptedProducer({b"a:2": [KafkaTimeoutError(), KafkaTimeoutError()]})
    await delivery(producer).send_until_durable(messages("a:1", "a:2", "a:3", "a:4"))
    assert producer.durable[-3:] == [b"a:2", b"a:3", b"a:4"]
    assert producer.sent.count(b"a:1") == 1


async def test_until_durable_keeps_the_order_of_a_fingerprint_at_last() -> None:
    """Firing, then resolved: whatever fails, a reader's last word is the last one."""
    producer = ScriptedProducer({b"alerts:firing": [KafkaTimeoutError()]})
    await delivery(producer).send_until_durable(messages("alerts:firing", "alerts:resolved", "other:x"))
    assert producer.durable.index(b"alerts:firing") < len(producer.durable) - 1
    assert [v for v in producer.durable if v.startswith(b"alerts")][-1] == b"alerts:resolved"


async def test_until_durable_leaves_no_last_record_out_that_stands_before_what_failed() -> None:
    """The only incident waits for the others; an alert after it fails: the incident must not be forgotten."""
    producer = ScriptedProducer({b"alerts:1": [KafkaTimeoutError()]})
    wanted = messages("summaries:1", "incidents:1", "alerts:1", "alerts:2", "summaries:2")
    await delivery(producer).send_until_durable(wanted)
    assert {*producer.durable} == {message.value for message in wanted}


async def test_records_without_a_key_go_as_batches_and_wait_for_nothing() -> None:
    producer = ScriptedProducer()
    sender = delivery(producer)
    await sender.send([*letters("l:1", "l:2"), *messages("p:1", "p:2"), *letters("l:3", "l:4")])
    await sender.send(letters("l:5"))
    assert producer.batches == [(0, [b"l:1", b"l:2", b"l:3"]), (0, [b"l:4"]), (1, [b"l:5"])]
    assert producer.sent[-2] == b"p:2", "only the last record with a key comes after the others"
    assert sender.sent == 7


async def test_a_batch_that_fails_is_sent_again_whole() -> None:
    producer = ScriptedProducer({b"l:5": [KafkaTimeoutError()]})
    await delivery(producer).send_until_durable(letters("l:1", "l:2", "l:3", "l:4", "l:5", "l:6", "l:7"))
    assert [values for _, values in producer.batches] == [
        [b"l:1", b"l:2", b"l:3"],
        [b"l:4", b"l:5", b"l:6"],
        [b"l:7"],
        [b"l:4", b"l:5", b"l:6"],
        [b"l:7"],
    ]


async def test_what_the_producer_refuses_at_once_is_sent_again_with_all_that_waited_behind_it() -> None:
    producer = ScriptedProducer()
    refusals = [KafkaTimeoutError()]
    send = producer.send

    async def refusing(topic: str, value: bytes, **rest: Any) -> asyncio.Future[None]:
        if value == b"p:1" and refusals:
            raise refusals.pop()
        return await send(topic, value, **rest)

    producer.send = refusing  # type: ignore[method-assign]
    wanted = [*letters("l:1"), *messages("p:1", "p:2", "p:3")]
    await delivery(producer).send_until_durable(wanted)
    assert {*producer.durable} == {message.value for message in wanted}


async def test_until_durable_gives_up_at_an_error_that_does_not_pass() -> None:
    producer = ScriptedProducer({b"a:1": [TopicAuthorizationFailedError()] * 9})
    with pytest.raises(DeliveryFailed, match="a record for a"):
        await delivery(producer).send_until_durable(messages("a:1"))
    assert producer.sent == [b"a:1"]


async def test_until_durable_gives_up_after_its_time() -> None:
    producer = ScriptedProducer({b"a:1": [KafkaTimeoutError() for _ in range(10_000)]})
    with pytest.raises(DeliveryFailed):
        await delivery(producer, give_up_secs=0.05).send_until_durable(messages("a:1"))
    assert len(producer.sent) > 1


async def test_a_record_that_no_broker_takes_is_refused_before_anything_is_sent() -> None:
    producer = ScriptedProducer()
    large = Message("a", b"key", b"x" * MAX_REQUEST_BYTES)
    with pytest.raises(RecordTooLarge, match="1040003 bytes for a"):
        await delivery(producer).send([*messages("a:1"), large])
    assert producer.sent == []


async def test_nothing_to_send_is_done_at_once() -> None:
    producer = ScriptedProducer()
    await delivery(producer).send([])
    await delivery(producer).send_until_durable([])
    assert producer.sent == []
