"""Topics, and records as chunks through Faust, on both kinds of broker."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from streams.app import ChunkApp, new_app
from streams.client import open_admin
from streams.operate.vitals import Vitals
from streams.topic_admin import create_topics
from streams.topics import CHANGES, INTERACTIONS, STATE, TOPICS
from streams.transport import TP, Begin, Chunk, Superseded
from tests.support.brokers import Broker, committed, make_topics, send
from tests.support.processes import eventually

PARTITIONS = 12
RECORDS = 500


class Reader:
    """A Faust app with one agent that keeps what it is handed."""

    def __init__(self, broker: Broker, state_dir: Path, **sections: Any) -> None:
        self.config = broker.config(state_dir, **sections)
        self.app: ChunkApp = new_app(self.config, "test", Vitals())
        self.chunks: list[Chunk] = []
        self.begins: dict[TP, Begin] = {}
        self.changed = asyncio.Event()

        async def keep(chunks: Any) -> None:
            async for event in chunks.noack().events():
                self.chunks.append(event.value)
                self.changed.set()

        self.app.agent(self.app.chunks_of(INTERACTIONS), concurrency=1)(keep)
        self.app.chunk_consumer.on_begin = self._begin

    def _begin(self, begins: list[Begin]) -> None:
        self.begins |= {begin.tp: begin for begin in begins}
        self.changed.set()

    async def __aenter__(self) -> Reader:
        await self.app.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.stop()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(40):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def records(self) -> dict[int, list[tuple[int, bytes]]]:
        """Partition -> (offset, value), of the newest epochs."""
        found = defaultdict(list)
        for chunk in self.chunks:
            if chunk.epoch == self.begins[chunk.tp].epoch:
                found[chunk.tp.partition] += [(record.offset, record.value) for record in chunk.records]
        return found

    def count(self) -> int:
        return sum(map(len, self.records().values()))


def values(partition: int, first: int = 0, count: int = RECORDS) -> list[bytes]:
    return [b"%d/%d" % (partition, number) for number in range(first, first + count)]


def everything(count: int = RECORDS) -> dict[int, list[tuple[int, bytes]]]:
    return {p: list(enumerate(values(p, count=count))) for p in range(PARTITIONS)}


async def test_topics_are_made_once_and_differences_reported(broker: Broker, tmp_path: Path) -> None:
    config = broker.config(tmp_path)
    admin = await open_admin(config.kafka)
    try:
        first = await create_topics(admin, config)
        assert {report.name: report.status for report in first} == dict.fromkeys(TOPICS, "created")
        second = await create_topics(admin, config)
        assert {report.status for report in second} == {"exists"}
        other = broker.config(tmp_path, topics={"partitions": 24})
        third = {report.name: report for report in await create_topics(admin, other)}
        assert third[INTERACTIONS].differences == ("partitions is 12, the configuration says 24",)
        assert third[CHANGES].status == "exists"
        described = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics()}
        assert described[INTERACTIONS] == 12
    finally:
        await admin.close()


@pytest.mark.kafka
async def test_topic_settings_that_differ_are_reported(kafka: Broker, tmp_path: Path) -> None:
    await make_topics(kafka.config(tmp_path))
    config = kafka.config(tmp_path, topics={"retention_hours": 1, "log_append_time": True})
    admin = await open_admin(config.kafka)
    try:
        reports = {report.name: report for report in await create_topics(admin, config)}
    finally:
        await admin.close()
    assert reports[INTERACTIONS].differences == ("retention.ms is 604800000, the configuration says 3600000",)
    assert reports[STATE].status == "exists"


async def test_every_record_is_handed_over_once_and_in_order(broker: Broker, tmp_path: Path) -> None:
    reader = Reader(broker, tmp_path, kafka={"chunk_records": 64})
    await make_topics(reader.config)
    await send(reader.config, INTERACTIONS, {p: values(p) for p in range(PARTITIONS)})
    async with reader:
        await reader.until(
            lambda: len(reader.begins) == PARTITIONS and reader.count() >= PARTITIONS * RECORDS
        )
    assert reader.records() == everything()
    assert max(len(chunk.records) for chunk in reader.chunks) <= 64
    for tp, begin in reader.begins.items():
        mine = [chunk.sequence for chunk in reader.chunks if chunk.tp == tp and chunk.epoch == begin.epoch]
        assert mine == list(range(len(mine)))


async def test_partitions_are_served_in_turn(broker: Broker, tmp_path: Path) -> None:
    """None waits until everything that was fetched of another is handed over: it would look stalled."""
    reader = Reader(broker, tmp_path, kafka={"chunk_records": 10})
    await make_topics(reader.config)
    await send(reader.config, INTERACTIONS, {p: values(p) for p in range(PARTITIONS)})
    async with reader:
        await reader.until(
            lambda: len(reader.begins) == PARTITIONS and reader.count() >= PARTITIONS * RECORDS
        )
    of_last = {tp: begin.epoch for tp, begin in reader.begins.items()}
    turns = [chunk.tp for chunk in reader.chunks if of_last.get(chunk.tp) == chunk.epoch]
    halfway = turns[: len(turns) // 2]
    assert {turns.count(tp) for tp in of_last} == {RECORDS // 10}
    assert min(halfway.count(tp) for tp in of_last) > 0, halfway


async def test_what_a_fetch_brings_while_the_flow_stands_still_waits_for_it(
    broker: Broker, tmp_path: Path
) -> None:
    """As when a fetch is out while the group rebalances, and returns when its partitions have begun again."""
    reader = Reader(broker, tmp_path)
    tp = TP(INTERACTIONS, 0)
    await make_topics(reader.config)
    async with reader:
        consumer = reader.app.chunk_consumer
        fetcher = consumer._thread._consumer._fetcher
        await asyncio.to_thread(eventually, lambda: consumer.fetches and fetcher._fetch_waiters)
        consumer.stop_flow()
        await send(reader.config, INTERACTIONS, {0: values(0, count=1)})
        await asyncio.to_thread(eventually, lambda: consumer._thread._handed_over[tp])
        consumer.resume_flow()
        await send(reader.config, INTERACTIONS, {0: values(0, first=1, count=1)})
        await reader.until(lambda: reader.count() >= 2)
    assert [chunk.sequence for chunk in reader.chunks] == [0, 1]


async def test_a_commit_is_where_the_next_reader_begins(broker: Broker, tmp_path: Path) -> None:
    config = broker.config(tmp_path)
    await make_topics(config)
    await send(config, INTERACTIONS, {p: values(p) for p in range(PARTITIONS)})
    tp = TP(INTERACTIONS, 3)
    async with Reader(broker, tmp_path) as first:
        await first.until(lambda: tp in first.begins and len(first.records()[3]) == RECORDS)
        consumer = first.app.chunk_consumer
        await consumer.commit_exact({tp: 123}, {tp: first.begins[tp].epoch}, {tp: "1 2 3"})
        # What Faust itself would commit: everything that was handed over.
        assert not await consumer.commit()
    group = first.app.conf.id
    assert (await committed(config, group, INTERACTIONS, PARTITIONS))[3] == 123
    async with Reader(broker, tmp_path) as second:
        await second.until(lambda: tp in second.begins and second.count() >= PARTITIONS * RECORDS - 123)
    assert second.begins[tp].position == 123
    assert second.begins[tp].metadata == ("1 2 3" if broker.real else ""), "the embedded broker keeps none"
    assert second.begins[TP(INTERACTIONS, 4)].metadata == ""
    assert second.records()[3] == everything()[3][123:]
    assert second.records()[4] == everything()[4]


async def test_a_rewind_starts_a_new_epoch_and_forbids_commits_of_the_old(
    broker: Broker, tmp_path: Path
) -> None:
    config = broker.config(tmp_path)
    await make_topics(config)
    await send(config, INTERACTIONS, {p: values(p) for p in range(PARTITIONS)})
    tp = TP(INTERACTIONS, 0)
    async with Reader(broker, tmp_path) as reader:
        await reader.until(lambda: tp in reader.begins and len(reader.records()[0]) == RECORDS)
        consumer = reader.app.chunk_consumer
        old = reader.begins[tp]
        reader.begins[tp] = await consumer.rewind(tp, 450)
        with pytest.raises(Superseded):
            await consumer.commit_exact({tp: 500}, {tp: old.epoch})
        await reader.until(lambda: len(reader.records()[0]) == 50)
        assert reader.records()[0] == everything()[0][450:]
        standing = (await consumer.standing([tp]))[tp]
        assert (standing.epoch, standing.position, standing.handed_over) == (reader.begins[tp].epoch, 500, 1)
        reader.begins[tp] = await consumer.rewind(tp, None)
        await reader.until(lambda: len(reader.records()[0]) == RECORDS)
        assert reader.records()[0] == everything()[0]


async def test_two_readers_share_the_partitions_and_begin_again_in_new_epochs(
    broker: Broker, tmp_path: Path
) -> None:
    config = broker.config(tmp_path)
    await make_topics(config)
    async with Reader(broker, tmp_path) as first:
        await first.until(lambda: len(first.begins) == PARTITIONS)
        before = dict(first.begins)
        first.begins.clear()
        async with Reader(broker, tmp_path) as second:
            await second.until(lambda: second.begins)
            await first.until(lambda: first.begins)
            assert len(first.begins) == len(second.begins) == PARTITIONS // 2
            assert not first.begins.keys() & second.begins.keys()
            assert all(begin.epoch > before[tp].epoch for tp, begin in first.begins.items())
            lost = next(iter(second.begins))
            with pytest.raises(Superseded):
                await first.app.chunk_consumer.commit_exact({lost: 1}, {lost: before[lost].epoch})
