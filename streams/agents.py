"""The detect worker: thin Faust agents over the two stages.

An agent passes each chunk to its driver and does nothing else; it never raises. AGGREGATE has one agent an input
topic, DECIDE one for the partials; all in one consumer group, so that starting more workers shares the partitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streams import client
from streams.aggregating import AggregateDriver
from streams.aligning import Reached
from streams.app import ChunkApp
from streams.config import Config
from streams.deciding import DecideDriver
from streams.delivery import Delivery
from streams.operate.metrics import Value
from streams.operate.monitor import Beat
from streams.state import StateStore, load_key
from streams.state_sqlite import STATE_FILE, SqliteStateStore
from streams.state_topic import TopicStateStore
from streams.topics import ALERTS, ANOMALIES, DEADLETTERS, INCIDENTS, INPUTS, PARTIALS, SUMMARIES
from streams.transport import TP, Begin
from streams.worker import Worker


async def open_store(config: Config) -> StateStore:
    """The store of checkpoints that the configuration names."""
    key = load_key(config.state_dir)
    if config.checkpoint.store == "topic":
        return TopicStateStore(config.kafka, config.fleet, key)
    return SqliteStateStore(config.state_dir / STATE_FILE, config.fleet, key)


class DetectWorker(Worker):
    """AGGREGATE for the input partitions that the group gives us, DECIDE if the partials are among them."""

    role = "detect"
    beat = Beat(
        TP(PARTIALS, 0), INPUTS, frozenset({"lag", "held_up", "dead_letters", "silent_producer", "state"})
    )
    topics = (*INPUTS, PARTIALS, SUMMARIES, ANOMALIES, INCIDENTS, ALERTS, DEADLETTERS)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._aggregate: AggregateDriver | None = None
        self._decide: DecideDriver | None = None

    async def prepare(self) -> None:
        self._log_id = await client.cluster_id(self.config.kafka)
        self._sources_total = sum((await client.partition_counts(self.config.kafka, INPUTS)).values())

    def add_agents(self, app: ChunkApp) -> None:
        async def aggregate(chunks: Any) -> None:
            async for event in chunks.noack().events():
                if self._aggregate is not None:
                    await self._aggregate.handle(event.value)

        async def decide(chunks: Any) -> None:
            async for event in chunks.noack().events():
                if self._decide is not None:
                    await self._decide.handle(event.value)

        for topic in INPUTS:
            app.agent(app.chunks_of(topic), name=f"aggregate {topic}", concurrency=1)(aggregate)
        app.agent(app.chunks_of(PARTIALS), name="decide", concurrency=1)(decide)

    def begin(self, begins: list[Begin]) -> None:
        if self._aggregate is None or self._decide is None:
            consumer = self.app.chunk_consumer
            delivery = Delivery(self.app.exact_producer.client, self.vitals)
            self._aggregate = AggregateDriver(
                self.config, consumer, delivery, self.fail, self._sources_total, self.vitals, self._reached
            )
            self._decide = DecideDriver(
                self.config,
                consumer,
                delivery,
                lambda: open_store(self.config),
                self._log_id,
                self.fail,
                self.vitals,
            )
            self.background(self._aggregate.tick_for_ever())
        self._aggregate.begin(begin for begin in begins if begin.tp.topic != PARTIALS)
        for begin in begins:
            if begin.tp.topic == PARTIALS:
                self._decide.begin(begin)

    async def _reached(self) -> Reached | None:
        """How far DECIDE is, on this worker or on another one."""
        if self._decide is not None and (decide := self._decide.decide) is not None:
            return None if decide.reached_ms is None else Reached(decide.reached_ms)
        return Reached.decode(await self.app.chunk_consumer.metadata(TP(PARTIALS, 0)))

    def revoke(self, tps: set[TP]) -> None:
        if self._aggregate is not None and self._decide is not None:
            self._aggregate.revoke(tps)
            if any(tp.topic == PARTIALS for tp in tps):
                self._decide.revoke()

    async def finish(self) -> None:
        if self._aggregate is not None and self._decide is not None:
            await self._aggregate.stop()
            await self._decide.stop()

    def progress(self) -> dict[TP, int | None]:
        if self._aggregate is None or self._decide is None:
            return {}
        return self._aggregate.progress() | self._decide.progress()

    def event_ms(self) -> dict[TP, int]:
        if self._aggregate is None or self._decide is None:
            return {}
        return self._aggregate.event_ms() | self._decide.event_ms()

    def measure(self) -> Iterator[Value]:
        if self._aggregate is not None and self._decide is not None:
            yield from self._aggregate.measure()
            yield from self._decide.measure()

    def status(self) -> dict[str, Any]:
        if self._aggregate is None or self._decide is None:
            return {}
        decide = self._decide.decide
        return {
            "records": self._aggregate.records,
            "open_windows": self._aggregate.open_windows,
            "held": self._aggregate.held,
            "watermark_ms": self._aggregate.watermark_ms,
            "partials": self._decide.records,
            "checkpoints": self._decide.checkpoints,
            "decide": decide.progress if decide is not None else None,
        }
