"""A broker of either kind, as tests see it: where it is, its configuration, sending and reading records."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from streams.client import client_settings, open_admin, producer_settings
from streams.config import Config
from streams.kafka_config import KafkaConfig
from streams.topic_admin import create_topics
from streams.topics import TOPICS, partitions_of


@dataclass(frozen=True)
class Broker:
    """A running broker; ``real`` is Apache Kafka, else Tansu."""

    bootstrap: str
    real: bool

    def config(self, state_dir: Path, **sections: Any) -> Config:
        """A configuration for this broker; ``sections`` are those of tidewatch.toml."""
        kafka = self._kafka(state_dir) | sections.pop("kafka", {})
        return Config.model_validate({"state_dir": state_dir, "kafka": kafka} | sections)

    def write_config(self, path: Path, state_dir: Path, **sections: Any) -> Path:
        """The same as a file, for a program."""
        kafka = self._kafka(state_dir) | sections.pop("kafka", {})
        lines = [f'state_dir = "{state_dir}"']
        lines += [
            f"{name} = {_toml(value)}" for name, value in sections.items() if not isinstance(value, dict)
        ]
        for section, values in ({"kafka": kafka} | sections).items():
            if isinstance(values, dict):
                lines += [f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
        path.write_text("\n".join(lines) + "\n")
        return path

    def _kafka(self, state_dir: Path) -> dict[str, Any]:
        """Groups are named after the test's own folder: on a shared broker they must not meet."""
        return {
            "bootstrap": self.bootstrap,
            "enable_idempotence": self.real,
            "group_prefix": f"test-{zlib.crc32(str(state_dir).encode()):08x}",
        }


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'


async def make_topics(config: Config) -> None:
    admin = await open_admin(config.kafka)
    try:
        reports = await create_topics(admin, config)
    finally:
        await admin.close()
    assert all(report.status in ("created", "exists") for report in reports), reports


async def send(config: Config, topic: str, values: Mapping[int, Iterable[bytes]]) -> None:
    """Send values by partition, in order, round the partitions."""
    producer = AIOKafkaProducer(**producer_settings(config.kafka), linger_ms=5)
    await producer.start()
    try:
        queues = {partition: iter(items) for partition, items in values.items()}
        futures = []
        while queues:
            for partition in list(queues):
                value = next(queues[partition], None)
                if value is None:
                    del queues[partition]
                else:
                    futures.append(await producer.send(topic, value, partition=partition))
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


async def send_in_order(
    config: Config, records: Iterable[tuple[str, int, bytes]], *, over_secs: float = 0.0
) -> float:
    """Send (topic, partition, value) in the given order, at once or spread evenly over some seconds.

    Returns the longest time that passed between two records.
    """
    places = list(records)
    producer = AIOKafkaProducer(**producer_settings(config.kafka), linger_ms=5)
    await producer.start()
    try:
        # Looked at on the way: a hundred thousand at the end would stop the loop before the last batch is out, for
        # long enough on a busy machine that the partitions fall quiet.
        unanswered: deque[asyncio.Future[Any]] = deque()
        begin = last = time.monotonic()
        longest_secs = 0.0
        for number, (topic, partition, value) in enumerate(places):
            ahead_secs = begin + over_secs * number / len(places) - time.monotonic()
            if ahead_secs > 0.05:
                await asyncio.sleep(ahead_secs)
            unanswered.append(await producer.send(topic, value, partition=partition))
            longest_secs, last = max(longest_secs, time.monotonic() - last), time.monotonic()
            while unanswered and unanswered[0].done():
                unanswered.popleft().result()
        for future in unanswered:
            await future
    finally:
        await producer.stop()
    return longest_secs


async def read_all(
    config: Config, topic: str, *, isolation_level: str = "read_uncommitted", since: int = 0
) -> list[Any]:
    """All records of a topic to its end as of now, partition by partition, each from offset ``since`` on."""
    consumer = AIOKafkaConsumer(
        **client_settings(config.kafka), enable_auto_commit=False, isolation_level=isolation_level
    )
    await consumer.start()
    try:
        await consumer._client.force_metadata_update()
        numbers = consumer.partitions_for_topic(topic) or {
            p["partition"] for t in await _describe(config, topic) for p in t["partitions"]
        }
        tps = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(tps)
        if since:
            for tp in tps:
                consumer.seek(tp, since)
        else:
            await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        found: dict[TopicPartition, list[Any]] = {tp: [] for tp in tps}
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                found[tp] += records
        return [record for tp in tps for record in found[tp]]
    finally:
        await consumer.stop()


async def log_size(config: Config, topic: str) -> int:
    """Records ever appended to a topic, over its partitions."""
    consumer = AIOKafkaConsumer(**client_settings(config.kafka), enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = partitions_of(TOPICS[topic], config)
        return sum(
            (await consumer.end_offsets([TopicPartition(topic, n) for n in range(partitions)])).values()
        )
    finally:
        await consumer.stop()


async def _describe(config: Config, topic: str) -> list[Any]:
    admin = await open_admin(config.kafka)
    try:
        return await admin.describe_topics([topic])
    finally:
        await admin.close()


async def committed(config: Config, group: str, topic: str, partitions: int) -> dict[int, int | None]:
    """The group's offsets of a topic."""
    consumer = AIOKafkaConsumer(**client_settings(config.kafka), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(tps)
        return {tp.partition: await consumer.committed(tp) for tp in tps}
    finally:
        await consumer.stop()


async def delete_topics(broker: Broker) -> None:
    """Remove every topic that is not Kafka's own, and wait until they are gone."""
    admin = await open_admin(KafkaConfig.model_validate({"bootstrap": broker.bootstrap}))
    try:
        while names := [name for name in await admin.list_topics() if not name.startswith("__")]:
            await admin.delete_topics(names)
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
