"""Events onto the input topics, in whole batches per partition."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.client import producer_settings
from streams.config import Config
from streams.simulate import Event
from streams.topics import TOPIC_OF_STREAM, TOPICS, partitions_of


class Sender:
    """Sends events; the same key always goes to the same partition."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._producer: Any = None
        self.sent = 0

    async def __aenter__(self) -> Sender:
        settings = producer_settings(self._config.kafka)
        self._producer = AIOKafkaProducer(**settings, client_id="tidewatch-demo-traffic")
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(self, events: Sequence[Event]) -> None:
        """Returns when the broker has them all. Raises KafkaError."""
        waiting = []
        for (topic, partition), part in self._by_partition(events).items():
            batch = self._producer.create_batch()
            for event in part:
                record = {"key": event.key, "value": event.value, "timestamp": event.occurred_at_ms}
                if batch.append(**record) is None:  # full
                    waiting.append(await self._producer.send_batch(batch, topic, partition=partition))
                    batch = self._producer.create_batch()
                    batch.append(**record)
            waiting.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*waiting)
        self.sent += len(events)

    def _by_partition(self, events: Sequence[Event]) -> dict[tuple[str, int], list[Event]]:
        count = {kind: partitions_of(TOPICS[topic], self._config) for kind, topic in TOPIC_OF_STREAM.items()}
        parts: dict[tuple[str, int], list[Event]] = {}
        for event in events:
            place = (TOPIC_OF_STREAM[event.kind], zlib.crc32(event.key) % count[event.kind])
            parts.setdefault(place, []).append(event)
        return parts
