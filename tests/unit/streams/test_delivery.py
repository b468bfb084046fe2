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


class ScriptedProducer:
    """aiokafka's ``send``: a future per record, settled a moment later; ``failures`` say which attempts fail."""

    def __init__(self, failures: dict[bytes, list[Exception]] | None = None) -> None:
        self.failures = failures or {}
        self.sent: list[bytes] = []
        self.durable: list[bytes] = []

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
    return [Message(value.split(":")[0], None, value.encode()) for value in values]


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
    await delivery(producer).send(messages("partials:1", "letters:a", "partials:2", "partials:watermark"))
    assert producer.durable == [b"partials:1", b"partials:2", b"letters:a", b"partials:watermark"]
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
