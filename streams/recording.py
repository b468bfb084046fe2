"""Drives RECORD: records of the recorded topics into ClickHouse, offsets committed when the rows are durable.

One stage for all partitions, because batches are worth more than parallel inserts. While ClickHouse is away the
batch in hand waits and is written again; in front of it everything is bounded, so that fetching stops by itself
and the outage is lag, nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from sinks.base import RetryLater
from sinks.registry import SINKS
from streams.app import ChunkApp
from streams.config import Config
from streams.delivery import Delivery
from streams.faultpoints import faultpoint
from streams.logs import Seldom
from streams.operate.metrics import Value
from streams.operate.monitor import Beat
from streams.operate.vitals import Vitals
from streams.pseudonyms import Pseudonyms, load_key
from streams.queryserver import QueryServer
from streams.record import Recorder
from streams.record_stage import RecordStage
from streams.topics import ALERTS, DEADLETTERS, RECORDED
from streams.transport import TP, Begin, Chunk, ChunkConsumer, Superseded
from streams.worker import Worker

INBOX_CHUNKS = 4
TICK_SECS = 0.2

log = structlog.get_logger()


class _Run:
    """One epoch of one partition."""

    def __init__(self, begin: Begin) -> None:
        self.tp = begin.tp
        self.epoch = begin.epoch
        self.taken = 0
        self.next_offset = begin.position
        """Everything before it is handed to the stage."""
        self.durable = begin.position
        self.event_ms: int | None = None
        """Timestamp of the last record that was handed to the stage."""


class RecordDriver:
    """All recorded partitions of this worker; ``work`` is its one task."""

    def __init__(
        self, consumer: ChunkConsumer, stage: RecordStage, delivery: Delivery, vitals: Vitals
    ) -> None:
        self._consumer = consumer
        self._vitals = vitals
        self._stage = stage
        self._delivery = delivery
        self._runs: dict[TP, _Run] = {}
        self._inbox: asyncio.Queue[Chunk | None] = asyncio.Queue(INBOX_CHUNKS)
        self.waiting = False
        """ClickHouse is away."""
        self._told = Seldom()
        self.records = 0

    def begin(self, begins: Iterable[Begin]) -> None:
        self._runs |= {begin.tp: _Run(begin) for begin in begins}

    def revoke(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            self._runs.pop(tp, None)

    async def handle(self, chunk: Chunk) -> None:
        """Take a chunk; waits while there is enough to do."""
        run = self._runs.get(chunk.tp)
        if run is None or run.epoch != chunk.epoch:
            return
        if chunk.sequence != run.taken:
            log.warning(
                "chunk lost on its way; reading again", topic=chunk.tp.topic, partition=chunk.tp.partition
            )
            self._vitals.count("tidewatch_partition_restarts_total", chunk.tp.topic)
            with contextlib.suppress(Superseded):
                # What is in the inbox is of the old epoch and is dropped with it.
                self.begin([await self._consumer.rewind(chunk.tp, run.next_offset)])
            return
        await self._inbox.put(chunk)
        run.taken += 1

    async def work(self) -> None:
        """Until ``stop``: gather, write, commit."""
        while True:
            try:
                async with asyncio.timeout(TICK_SECS):
                    chunk = await self._inbox.get()
            except TimeoutError:
                if self._stage.due():
                    await self._flush()
                continue
            if chunk is None:
                await self._flush()
                return
            await self._add(chunk)

    async def stop(self) -> None:
        await self._inbox.put(None)

    async def _add(self, chunk: Chunk) -> None:
        run = self._runs.get(chunk.tp)
        if run is None or run.epoch != chunk.epoch:
            return
        try:
            self._stage.add(chunk.records)
        except BufferError:
            await self._flush()
            self._stage.add(chunk.records)
        self.records += len(chunk.records)
        self._vitals.count("tidewatch_records_total", chunk.tp.topic, by=len(chunk.records))
        size = sum(len(record.value or b"") for record in chunk.records)
        self._vitals.count("tidewatch_record_bytes_total", chunk.tp.topic, by=size)
        run.event_ms = chunk.records[-1].timestamp
        run.next_offset = chunk.records[-1].offset + 1
        # Records without a row (unreadable ones) are done at once: nothing that is due would ever cover them.
        if self._stage.due() or not self._stage.pending_rows:
            await self._flush()

    async def _flush(self) -> None:
        while True:
            try:
                with self._vitals.waiting("the store", life=lambda: self._stage.rows_written):
                    letters = await self._stage.flush()
                break
            except RetryLater as later:
                self._vitals.count("tidewatch_sink_retries_total")
                if not self.waiting:
                    self._vitals.away_since_secs = time.monotonic()
                self.waiting = True
                if self._told():
                    log.error("the store cannot be written to; waiting", reason=str(later))
                with self._vitals.waiting("the store's next try", on_purpose=True):
                    await asyncio.sleep(later.after_secs)
        if self._told.over():
            log.info("the store can be written to again")
        self.waiting = False
        self._vitals.away_since_secs = None
        await self._delivery.send_until_durable(letters)
        faultpoint("record.durable")
        await self._commit()

    async def _commit(self) -> None:
        done = {
            run.tp: run
            for run in self._runs.values()
            if run.next_offset is not None and run.next_offset != run.durable
        }
        if not done:
            return
        offsets = {tp: run.next_offset for tp, run in done.items() if run.next_offset is not None}
        try:
            await self._consumer.commit_exact(offsets, {tp: run.epoch for tp, run in done.items()})
            faultpoint("record.committed")
        except Superseded:
            return  # begun again elsewhere or here: rows that are written again are the same rows
        except KafkaError as error:
            log.warning("offsets are not committed yet", error=str(error))
            return
        for tp, offset in offsets.items():
            done[tp].durable = offset

    def event_ms(self) -> dict[TP, int]:
        """Partition -> timestamp of the last record that was worked on."""
        return {tp: run.event_ms for tp, run in self._runs.items() if run.event_ms is not None}

    def progress(self) -> dict[TP, int | None]:
        """Partition -> next offset that is not durable yet."""
        return {tp: run.durable for tp, run in self._runs.items()}


class RecordWorker(Worker):
    """Copies what happened into ClickHouse; also answers queries on the embedded store, which it owns."""

    role = "record"
    beat = Beat(TP(ALERTS, 0), RECORDED, frozenset({"lag", "sink_outage"}))
    topics = (*RECORDED, DEADLETTERS)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._driver: RecordDriver | None = None
        self._work: asyncio.Task[None] | None = None
        self._queries: QueryServer | None = None
        self._stage: RecordStage | None = None

    async def prepare(self) -> None:
        config = self.config
        self._sink = SINKS["clickhouse"](config.clickhouse, config.state_dir)
        with contextlib.suppress(RetryLater):
            await self._sink.healthcheck()
        if config.clickhouse.embedded:
            self._queries = QueryServer(config.clickhouse, config.state_dir)
            await self._queries.start()
        recorder = Recorder(
            fleet=config.fleet,
            pseudonyms=Pseudonyms(load_key(config.state_dir)),
            store_text=config.record.store_text,
        )
        self._stage = RecordStage(
            recorder, self._sink, batch_rows=config.record.batch_rows, batch_secs=config.record.batch_secs
        )

    def add_agents(self, app: ChunkApp) -> None:
        async def record(chunks: Any) -> None:
            async for event in chunks.noack().events():
                if self._driver is not None:
                    await self._driver.handle(event.value)

        for topic in RECORDED:
            app.agent(app.chunks_of(topic), name=f"record {topic}", concurrency=1)(record)

    def begin(self, begins: list[Begin]) -> None:
        if self._driver is None:
            assert self._stage is not None  # noqa: S101 - prepare
            delivery = Delivery(self.app.exact_producer.client, self.vitals)
            self._driver = RecordDriver(self.app.chunk_consumer, self._stage, delivery, self.vitals)
            self._work = self.background(self._driver.work())
        self._driver.begin(begins)

    def revoke(self, tps: set[TP]) -> None:
        if self._driver is not None:
            self._driver.revoke(tps)

    async def finish(self) -> None:
        if self._driver is not None and self._work is not None:
            await self._driver.stop()
            await self._work

    async def close(self) -> None:
        if self._queries is not None:
            await self._queries.close()
        await self._sink.close()

    def reasons(self) -> list[str]:
        away = self._driver is not None and self._driver.waiting
        return super().reasons() + (["the store cannot be written to"] if away else [])

    def event_ms(self) -> dict[TP, int]:
        return {} if self._driver is None else self._driver.event_ms()

    def measure(self) -> Iterator[Value]:
        if self._driver is None or self._stage is None:
            return
        for table, rows in self._stage.rows_by_table.items():
            yield Value("tidewatch_sink_rows_total", (table,), rows)
        yield Value("tidewatch_sink_rejected_rows_total", (), self._stage.rows_rejected)
        yield Value("tidewatch_sink_queue_rows", (), self._stage.pending_rows)
        yield Value("tidewatch_sink_away", (), self._driver.waiting)

    def progress(self) -> dict[TP, int | None]:
        return {} if self._driver is None else self._driver.progress()

    def status(self) -> dict[str, Any]:
        if self._driver is None or self._stage is None:
            return {}
        return {
            "records": self._driver.records,
            "rows": self._stage.rows_written,
            "rows_rejected": self._stage.rows_rejected,
            "store_away": self._driver.waiting,
        }
