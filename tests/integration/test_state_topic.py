"""Checkpoints in a compacted topic, on a real Kafka: transactions, fencing, half-written snapshots."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from streams.client import client_settings, open_admin
from streams.config import Config
from streams.state import Checkpoint, Loaded, OwnerReplaced, StateError
from streams.state_topic import TopicStateStore
from streams.topics import STATE
from tests.support.brokers import Broker, make_topics, read_all

pytestmark = pytest.mark.kafka

KEY = b"k" * 32
CHECKPOINT = Checkpoint(position=4711, log_id="cluster-1", state=os.urandom(1000))


def store(config: Config, fleet: str = "fleet", key: bytes = KEY) -> TopicStateStore:
    return TopicStateStore(config.kafka, fleet, key, piece_bytes=100)


async def reopened(config: Config, fleet: str = "fleet") -> Loaded:
    """What a new owner finds."""
    found = store(config, fleet)
    await found.claim()
    try:
        return await found.load()
    finally:
        await found.close()


async def test_the_newest_save_is_found_by_the_next_owner(kafka: Broker, tmp_path: Path) -> None:
    config = kafka.config(tmp_path)
    await make_topics(config)
    owner = store(config)
    await owner.claim()
    assert await owner.load() == Loaded(None)
    await owner.save(CHECKPOINT)
    assert await owner.load() == Loaded(CHECKPOINT)
    smaller = Checkpoint(5000, "cluster-1", b"short")
    await owner.save(smaller)
    await owner.close()
    assert await reopened(config) == Loaded(smaller)
    assert await reopened(config, "other") == Loaded(None)
    owner = store(config)
    await owner.claim()
    await owner.load()
    await owner.save(smaller)
    await owner.close()
    left = {r.key: r.value for r in await read_all(config, STATE) if r.key and r.key.startswith(b"fleet/")}
    assert sum(value is not None for value in left.values()) <= 8, "pieces that nobody needs are deleted"


async def test_a_large_snapshot_is_whole(kafka: Broker, tmp_path: Path) -> None:
    config = kafka.config(tmp_path)
    await make_topics(config)
    large = Checkpoint(1, "log", os.urandom(7_000_001))
    owner = TopicStateStore(config.kafka, "fleet", KEY)
    await owner.claim()
    await owner.save(large)
    assert await owner.load() == Loaded(large)
    await owner.close()


async def test_a_zombie_is_fenced_and_changes_nothing(kafka: Broker, tmp_path: Path) -> None:
    config = kafka.config(tmp_path)
    await make_topics(config)
    zombie, owner = store(config), store(config)
    await zombie.claim()
    await zombie.save(CHECKPOINT)
    await owner.claim()
    assert await owner.load() == Loaded(CHECKPOINT)
    with pytest.raises(OwnerReplaced):
        await zombie.save(Checkpoint(1, "cluster-1", b"late"))
    await owner.save(CHECKPOINT._replace(position=5000))
    await zombie.close()
    await owner.close()
    found = (await reopened(config)).checkpoint
    assert found is not None
    assert found.position == 5000


async def test_a_half_written_snapshot_is_never_seen(kafka: Broker, tmp_path: Path) -> None:
    """The owner before ends in the middle of its transaction; the claim aborts it."""
    config = kafka.config(tmp_path)
    await make_topics(config)
    owner = store(config)
    await owner.claim()
    await owner.save(CHECKPOINT)
    producer = owner._producer
    assert producer is not None
    await producer.begin_transaction()
    await producer.send_and_wait(STATE, b"half", key=b"fleet/000000", partition=0)
    await producer.send_and_wait(STATE, b"half", key=b"fleet/head", partition=0)
    async with asyncio.timeout(20):  # far less than the transaction's own timeout
        assert await reopened(config) == Loaded(CHECKPOINT)
    uncommitted = [record.value for record in await read_all(config, STATE)]
    assert uncommitted.count(b"half") == 2
    await owner.close()


async def test_tampering_is_refused_and_the_snapshot_before_is_taken(kafka: Broker, tmp_path: Path) -> None:
    config = kafka.config(tmp_path)
    await make_topics(config)
    owner = store(config)
    await owner.claim()
    await owner.save(CHECKPOINT._replace(position=4000))
    await owner.save(CHECKPOINT)
    await owner.close()
    newest = {r.key: r.value for r in await read_all(config, STATE)}
    piece, head = newest[b"fleet/b/000003"], newest[b"fleet/b/head"]
    forger = AIOKafkaProducer(**client_settings(config.kafka))
    await forger.start()
    try:
        for key, genuine, changed, reason in [
            (b"fleet/b/000003", piece, piece[:-1] + bytes([piece[-1] ^ 1]), "does not carry our seal"),
            (b"fleet/b/000003", piece, piece[:-1], "of 1"),
            (b"fleet/b/000003", piece, None, "10 of 11 pieces"),
            (b"fleet/b/000003", piece, newest[b"fleet/000003"], "of another save"),
            (b"fleet/b/head", head, b"\x93\xa1x\xce\xff\xff\xff\xff\x01", "of 4294967295 pieces"),
            (b"fleet/b/head", head, b"\x80\x04cposix\nsystem\n", "damaged head"),
            (b"fleet/b/head", head, newest[b"fleet/head"], "misses a piece"),
        ]:
            await forger.send_and_wait(STATE, changed, key=key, partition=0)
            found = await reopened(config)
            assert found.checkpoint == CHECKPOINT._replace(position=4000)
            assert len(found.refused) == 1
            assert reason in found.refused[0]
            await forger.send_and_wait(STATE, genuine, key=key, partition=0)
            if key != b"fleet/b/head":  # a head that was sent again is the later one again
                await forger.send_and_wait(STATE, head, key=b"fleet/b/head", partition=0)
            assert await reopened(config) == Loaded(CHECKPOINT)
        for key, value in newest.items():  # one fleet's checkpoints under another's name
            await forger.send_and_wait(STATE, value, key=key.replace(b"fleet", b"other"), partition=0)
        found = await reopened(config, "other")
        assert found.checkpoint is None
        assert ["is that of fleet 'fleet'" in reason for reason in found.refused] == [True, True]
    finally:
        await forger.stop()


async def test_a_broker_without_transactions_is_named(tansu: Broker, tmp_path: Path) -> None:
    config = tansu.config(tmp_path)
    await make_topics(config)
    owner = store(config)
    with pytest.raises(StateError, match="transactions"):
        async with asyncio.timeout(30):
            await owner.claim()


async def test_another_fleets_open_transaction_hides_nothing(kafka: Broker, tmp_path: Path) -> None:
    """Its records end up before ours in the log; ours are read when it has ended, by timeout at the latest."""
    config = kafka.config(tmp_path)
    admin = await open_admin(config.kafka)
    await admin.create_topics([NewTopic(STATE, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    owner, other = store(config), store(config, "other")
    await owner.claim()
    await other.claim()
    producer = other._producer
    assert producer is not None
    await producer.begin_transaction()
    await producer.send_and_wait(STATE, b"open", key=b"other/000000", partition=0)
    await owner.save(CHECKPOINT)
    loading = asyncio.create_task(owner.load())
    done, _ = await asyncio.wait([loading], timeout=2)
    assert not done, "the committed end is before our own save"
    await producer.abort_transaction()
    assert await loading == Loaded(CHECKPOINT)
    await owner.close()
    await other.close()
