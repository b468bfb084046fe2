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
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streams.app import group_name
from streams.client import FROM_CLIENT, TO_CLIENT, client_settings, producer_settings
from streams.config import Config
from streams.kafka_config import KafkaConfig
from streams.operate.monitor import REREAD_RECORDS
from streams.stages import Decide
from streams.state import Checkpoint, load_key
from streams.state_sqlite import STATE_FILE, SqliteStateStore
from streams.topics import ALERTS, INPUTS, PARTIALS, RECORDED, TOPICS, partitions_of

BATCH_RECORDS: Final = 2000
QUIET_MS: Final = 1000
"""A log that gives nothing for so long, with nobody writing, has no more."""

_Offsets = dict[TopicPartition, OffsetAndMetadata]
"""What a group has committed: where it begins, and what it keeps beside that."""


class End(NamedTuple):
    """One of the two brokers."""

    kafka: KafkaConfig
    cluster_id: str


async def move(config: Config, old: End, new: End) -> int:
    """Copy what is unread, and let groups and checkpoint go on there; returns how many records that were.

    The workers have stopped; the topics are there. Other groups that read ``llm.alerts`` go on there, too.
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
    begin_at: dict[str, _Offsets] = {group: {} for group in committed}
    begins: dict[TopicPartition, int] = {}
    async with consumer, producer:
        for tp in tps:
            offsets = _offsets(config, tp, committed)
            if not offsets:
                continue
            first = position if tp.topic == PARTIALS else min(offsets.values())
            if tp.topic == ALERTS:  # workers look there for what is firing
                first = max(0, min(first, (await consumer.end_offsets([tp]))[tp] - REREAD_RECORDS))
            begins[tp] = first
            for group, offset in offsets.items():
                said = committed[group].get(tp)
                begin_at[group][tp] = OffsetAndMetadata(max(0, offset - first), said.metadata if said else "")
        moved = await _copy(consumer, producer, begins)
    for group, of_partitions in begin_at.items():
        await _commit(new.kafka, group, of_partitions)
    return moved


def _groups(config: Config, strangers: Sequence[str]) -> list[str]:
    return [group_name(config, "detect"), group_name(config, "record"), *strangers]


def _offsets(config: Config, tp: TopicPartition, committed: dict[str, _Offsets]) -> dict[str, int]:
    """The groups for which a partition's unread records are kept, and where each of them is.

    A group of ours that has not begun reads from the beginning; a stranger counts only once it has begun.
    """
    detect, record = _groups(config, ())
    found = {}
    for group, offsets in committed.items():
        said = offsets.get(tp)
        if group == detect:
            reads = tp.topic in (*INPUTS, PARTIALS)
        elif group == record:
            reads = tp.topic in RECORDED
        else:
            reads = tp.topic == ALERTS and said is not None
        if reads:
            found[group] = said.offset if said else 0
    return found


async def _strangers(config: Config, kafka: KafkaConfig) -> list[str]:
    """Groups that are not ours."""
    admin = AIOKafkaAdminClient(**client_settings(kafka), client_id=FROM_CLIENT)
    await admin.start()
    try:
        names = [str(group[0]) for group in await admin.list_consumer_groups()]
    finally:
        await admin.close()
    return sorted(set(names) - set(_groups(config, ())))


async def _committed(kafka: KafkaConfig, group: str, tps: Sequence[TopicPartition]) -> _Offsets:
    async with _member(kafka, group, FROM_CLIENT) as consumer:
        consumer.assign(tps)
        # ``committed`` leaves out what is kept beside an offset.
        found: _Offsets = await consumer._coordinator.fetch_committed_offsets(list(tps))
        return {tp: said for tp, said in found.items() if said.offset >= 0}


async def _commit(kafka: KafkaConfig, group: str, offsets: _Offsets) -> None:
    if offsets:
        async with _member(kafka, group, TO_CLIENT) as consumer:
            consumer.assign(list(offsets))
            await consumer.commit(offsets)


def _member(kafka: KafkaConfig, group: str, client_id: str) -> Any:
    return AIOKafkaConsumer(
        **client_settings(kafka), client_id=client_id, group_id=group, enable_auto_commit=False
    )


async def _copy(consumer: Any, producer: Any, begins: dict[TopicPartition, int]) -> int:
    """Copy each partition from an offset on; returns how many records that were, when all are durable.

    The embedded broker gives the offset of its last batch as the end of a log, so the end is where no more comes.
    """
    consumer.assign(list(begins))
    for tp, first in begins.items():
        consumer.seek(tp, first)
    ends = await consumer.end_offsets(list(begins))
    moved = 0
    while True:
        found = await consumer.getmany(timeout_ms=QUIET_MS, max_records=BATCH_RECORDS)
        if not found:
            reached = [await consumer.position(tp) >= end for tp, end in ends.items()]
            if all(reached):
                return moved
        sent = [
            await producer.send(
                tp.topic,
                record.value,
                key=record.key,
                partition=tp.partition,
                timestamp_ms=record.timestamp,
                headers=list(record.headers) or None,
            )
            for tp, records in found.items()
            for record in records
        ]
        for delivery in sent:
            await delivery
        moved += len(sent)
