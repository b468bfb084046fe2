"""Moving to a new log: what has not been worked on is copied from one embedded broker to another.

The embedded broker keeps its whole log in memory. When that is enough, the workers stop, and their unread records,
their groups' offsets and the checkpoint move to a broker with an empty log. Nothing is worked on twice and nothing
is left out: the offsets are others, everything else is as after any restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from streams.agents import STATE_FILE
from streams.app import group_name
from streams.client import client_settings, producer_settings
from streams.config import Config
from streams.kafka_config import KafkaConfig
from streams.stages import Decide
from streams.state import Checkpoint, load_key
from streams.state_sqlite import SqliteStateStore
from streams.topics import ALERTS, INPUTS, PARTIALS, RECORDED, TOPICS, partitions_of

FROM_CLIENT: Final = "tidewatch-renewal-from"
TO_CLIENT: Final = "tidewatch-renewal-to"
"""Ids by which the gate tells the two ends of the move apart."""
BATCH_RECORDS: Final = 2000


class End(NamedTuple):
    """One of the two brokers."""

    kafka: KafkaConfig
    cluster_id: str


class _Readers(NamedTuple):
    """The groups that read a partition, with their offsets (None: not begun)."""

    offsets: dict[str, int | None]

    @property
    def first(self) -> int:
        return min((offset or 0 for offset in self.offsets.values()), default=0)


async def move(config: Config, old: End, new: End) -> int:
    """Copy what is unread, and let groups and checkpoint go on there; returns how many records that were.

    The workers have stopped; the topics are there. ``llm.alerts`` is copied for whoever else reads it, too.
    """
    store = SqliteStateStore(config.state_dir / STATE_FILE, config.fleet, load_key(config.state_dir))
    try:
        await store.claim()
        checkpoint = (await store.load()).checkpoint
        if checkpoint is not None and checkpoint.log_id != old.cluster_id:
            checkpoint = None
        moved = await _move_records(config, old, new, 0 if checkpoint is None else checkpoint.position)
        if checkpoint is not None:
            decide, _ = Decide.restore(config, checkpoint.state)
            decide.next_offset = 0
            await store.save(Checkpoint(0, new.cluster_id, decide.snapshot()))
        return moved
    finally:
        await store.close()


async def _move_records(config: Config, old: End, new: End, position: int) -> int:
    """``position`` is where the checkpoint is in the log of partials."""
    strangers = await _strangers(config, old.kafka)
    tps = [
        TopicPartition(topic.name, number)
        for topic in TOPICS.values()
        for number in range(partitions_of(topic, config))
    ]
    committed = {group: await _committed(old.kafka, group, tps) for group in _groups(config, strangers)}
    consumer = AIOKafkaConsumer(**client_settings(old.kafka), client_id=FROM_CLIENT, enable_auto_commit=False)
    producer = AIOKafkaProducer(**producer_settings(new.kafka), client_id=TO_CLIENT, linger_ms=5)
    moved = 0
    async with consumer, producer:
        for tp in tps:
            if readers := _readers(config, tp.topic, strangers):
                offsets = _Readers({group: committed[group][tp] for group in readers})
                first = position if tp.topic == PARTIALS else offsets.first
                moved += await _copy(consumer, producer, tp, first)
                for group, offset in offsets.offsets.items():
                    committed[group][tp] = None if offset is None else max(0, offset - first)
    for group, offsets_of in committed.items():
        await _commit(new.kafka, group, {tp: offset for tp, offset in offsets_of.items() if offset})
    return moved


def _groups(config: Config, strangers: Sequence[str]) -> list[str]:
    return [group_name(config, "detect"), group_name(config, "record"), *strangers]


def _readers(config: Config, topic: str, strangers: Sequence[str]) -> list[str]:
    """The groups for which a topic's unread records are kept."""
    detect, record = _groups(config, ())
    return (
        [detect] * (topic in (*INPUTS, PARTIALS))
        + [record] * (topic in RECORDED)
        + list(strangers) * (topic == ALERTS)
    )


async def _strangers(config: Config, kafka: KafkaConfig) -> list[str]:
    """Groups that are not ours."""
    admin = AIOKafkaAdminClient(**client_settings(kafka), client_id=FROM_CLIENT)
    await admin.start()
    try:
        names = [str(group[0]) for group in await admin.list_consumer_groups()]
    finally:
        await admin.close()
    return sorted(set(names) - set(_groups(config, ())))


async def _committed(
    kafka: KafkaConfig, group: str, tps: Sequence[TopicPartition]
) -> dict[TopicPartition, int | None]:
    async with _member(kafka, group, FROM_CLIENT) as consumer:
        consumer.assign(tps)
        return {tp: await consumer.committed(tp) for tp in tps}


async def _commit(kafka: KafkaConfig, group: str, offsets: dict[TopicPartition, int]) -> None:
    if offsets:
        async with _member(kafka, group, TO_CLIENT) as consumer:
            consumer.assign(list(offsets))
            await consumer.commit(offsets)


def _member(kafka: KafkaConfig, group: str, client_id: str) -> Any:
    return AIOKafkaConsumer(
        **client_settings(kafka), client_id=client_id, group_id=group, enable_auto_commit=False
    )


async def _copy(consumer: Any, producer: Any, tp: TopicPartition, first: int) -> int:
    """Copy a partition from ``first`` on; returns when all is durable."""
    consumer.assign([tp])
    end = (await consumer.end_offsets([tp]))[tp]
    if first >= end:
        return 0
    consumer.seek(tp, first)
    while await consumer.position(tp) < end:
        found = await consumer.getmany(timeout_ms=500, max_records=BATCH_RECORDS)
        sent = [
            await producer.send(
                tp.topic,
                record.value,
                key=record.key,
                partition=tp.partition,
                timestamp_ms=record.timestamp,
                headers=list(record.headers) or None,
            )
            for record in found.get(tp, ())
        ]
        for delivery in sent:
            await delivery
    return int(end - first)
