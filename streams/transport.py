"""The Faust transport that hands over chunks of raw records, and commits what it is told to.

Faust's cost is per message: a task set, a queue put and a stream step for each. Here a message *is* a chunk: all
records of one partition that a fetch brought, up to ``kafka.chunk_records``, undecoded. Faust's acknowledgement
lists are left out (they commit over holes); ``ChunkConsumer.commit_exact`` commits an offset only if the partition
is still ours: same assignment, same group generation.

Every start of reading (assignment, rewind) of a partition has a new *epoch*, and every chunk carries the epoch it
was fetched in. Whoever keeps state for a partition drops chunks of another epoch, so nothing that was in a queue
while the world changed is ever mixed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.chunks import Begin, Chunk, Standing, Superseded
from streams.client import client_settings
from streams.committing import Committer
from streams.exact_producer import ExactProducer
from streams.kafka_config import KafkaConfig
from streams.operate.clients import consumer_failure, has_joined
from streams.unpacking import make_lean

T = TypeVar("T")

FETCH_MAX_WAIT_MS = 100
"""aiokafka has one fetch in flight per broker, and a partition whose records were just taken is not part of it:
its next records wait until that fetch returns. With all other partitions silent this is the delay of an alert."""


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread; all methods with an underscore run in it, on its own event loop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kafka: KafkaConfig = self.transport.kafka
        self.epochs: dict[TP, int] = {}
        self.fetches = 0
        self.held: frozenset[TP] = frozenset()
        """Not fetched at present; replaced as a whole, from another thread."""
        self._handed_over: dict[TP, int] = {}
        self._epoch_numbers = itertools.count(1)
        self._committer = Committer(lambda: self._ensure_consumer()._coordinator, self._refusal)
        self._generation = -1

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        self._assignor = RoundRobinPartitionAssignor
        session_timeout_ms = int(self.kafka.session_timeout_secs * 1000)
        return aiokafka.AIOKafkaConsumer(
            **client_settings(self.kafka),
            client_id=self.app.conf.broker_client_id,
            group_id=self.app.conf.id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            max_partition_fetch_bytes=1024 * 1024,
            session_timeout_ms=session_timeout_ms,
            rebalance_timeout_ms=max(session_timeout_ms, 10_000),
            heartbeat_interval_ms=min(1000, session_timeout_ms // 3),
            request_timeout_ms=max(session_timeout_ms, 20_000),
            metadata_max_age_ms=30_000,
            check_crcs=True,
        )

    async def on_thread_stop(self) -> None:
        if self._consumer is not None and self._consumer._coordinator.generation == 0:
            # aiokafka takes generation 0 (the embedded broker's first) for none, and would not say good-bye:
            # others would get our partitions only after the session timeout.
            coordinator = self._consumer._coordinator
            with contextlib.suppress(KafkaError):
                await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))
        await super().on_thread_stop()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._begin(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    def _begin(self, tps: Iterable[TP]) -> None:
        self._generation = self._ensure_consumer()._coordinator.generation
        assigned = self.assignment()
        self.epochs = {tp: epoch for tp, epoch in self.epochs.items() if tp in assigned}
        for tp in tps:
            self._new_epoch(tp)

    def _new_epoch(self, tp: TP) -> None:
        self.epochs[tp] = next(self._epoch_numbers)
        self._handed_over[tp] = 0

    async def begin_at_committed(self) -> list[Begin]:
        """Move every assigned partition to its committed offset, in a new epoch."""
        begins: list[Begin] = await self.call_thread(self._begin_at_committed)
        return begins

    async def _begin_at_committed(self) -> list[Begin]:
        consumer = self._ensure_consumer()
        found = await consumer._coordinator.fetch_committed_offsets([*consumer.assignment()])
        committed = {TP(*tp): found.get(tp) for tp in consumer.assignment()}
        for tp, position in committed.items():
            if position is not None:
                consumer.seek(TopicPartition(*tp), position.offset)
        self._begin(committed)
        return [Begin(tp, self.epochs[tp], *(at or (None, ""))) for tp, at in committed.items()]

    async def rewind(self, tp: TP, offset: int | None) -> Begin:
        """Read one partition again from ``offset`` (None: its earliest record), in a new epoch."""
        begin: Begin = await self.call_thread(self._rewind, tp, offset)
        return begin

    async def _rewind(self, tp: TP, offset: int | None) -> Begin:
        consumer = self._ensure_consumer()
        topic_partition = TopicPartition(tp.topic, tp.partition)
        try:
            if offset is None:
                await consumer.seek_to_beginning(topic_partition)
            else:
                consumer.seek(topic_partition, offset)
        except IllegalStateError as error:
            raise Superseded(f"{tp.topic}-{tp.partition} is not assigned") from error
        self._new_epoch(tp)
        return Begin(tp, self.epochs[tp], offset)

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> list[Chunk]:
        if not self.consumer.flow_active:
            return []
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError()
        # Faust never asks; the coordinator then waits for ever with its error.
        consumer._coordinator.check_errors()
        size = self.kafka.chunk_records
        urgent = {tp for tp in active_partitions if tp.topic in self.transport.urgent}
        others = active_partitions - urgent - self.held
        chunks: list[Chunk] = []
        make_lean(fetcher)
        with fetcher._subscriptions.fetch_context():
            # Decisions must not queue behind a backlog of inputs.
            if urgent:
                chunks += self._label(await fetcher.fetched_records(urgent, timeout=0))
            wanted = others if chunks else urgent | others
            wait_secs = 0 if chunks else timeout
            if wanted:  # an empty set would mean all
                fetched = await fetcher.fetched_records(wanted, timeout=wait_secs, max_records=4 * size)
                chunks += self._label(fetched)
                for topic_partition in fetched.keys() & fetcher._records.keys():
                    # Else it would be served until nothing fetched is left of it, while the others stand still.
                    fetcher._records.move_to_end(topic_partition)
            elif wait_secs:
                await asyncio.sleep(wait_secs)
        self.fetches += 1
        return chunks

    def _label(self, fetched: Mapping[Any, list[Any]]) -> list[Chunk]:
        """Cut into chunks of the current epochs; called without an await after the fetch, so they are its own."""
        size = self.kafka.chunk_records
        chunks = []
        for topic_partition, records in fetched.items():
            tp = TP(topic_partition.topic, topic_partition.partition)
            epoch = self.epochs.get(tp)
            if epoch is None:
                continue
            for i in range(0, len(records), size):
                chunks.append(Chunk(tp, epoch, self._handed_over[tp], records[i : i + size]))
                self._handed_over[tp] += 1
        return chunks

    async def commit_exact(
        self,
        wanted: Mapping[TopicPartition, OffsetAndMetadata],
        epochs: Mapping[TP, int],
        timeout_secs: float,
    ) -> None:
        await self._in_thread(self._committer.commit(wanted, epochs, timeout_secs))

    def _refusal(self, epochs: Mapping[TP, int]) -> str | None:
        if self._ensure_consumer()._coordinator.generation != self._generation or self._generation < 0:
            return "the consumer group has another generation"
        stale = [tp for tp, epoch in epochs.items() if self.epochs.get(tp) != epoch]
        return f"{stale[0].topic}-{stale[0].partition} began again" if stale else None

    async def standing(self, tps: Iterable[TP]) -> dict[TP, Standing]:
        return await self._in_thread(self._standing(list(tps)))

    async def metadata(self, tp: TP) -> str:
        return await self._in_thread(self._metadata(TopicPartition(tp.topic, tp.partition)))

    async def _metadata(self, tp: TopicPartition) -> str:
        committed = await self._ensure_consumer()._coordinator.fetch_committed_offsets([tp])
        return committed[tp].metadata if tp in committed else ""

    async def _in_thread(self, work: Coroutine[Any, Any, T]) -> T:
        """Not by Faust's queue of calls: it has two places, and fetches wait in it behind slow requests."""
        try:
            running = asyncio.run_coroutine_threadsafe(work, self.thread_loop)
        except RuntimeError as error:
            work.close()
            raise Superseded("the consumer has stopped") from error
        return await asyncio.wrap_future(running)

    async def _standing(self, tps: list[TP]) -> dict[TP, Standing]:
        consumer = self._ensure_consumer()
        ends = await consumer.end_offsets([TopicPartition(tp.topic, tp.partition) for tp in tps])
        standing = {}
        for topic_partition, end in ends.items():
            tp = TP(topic_partition.topic, topic_partition.partition)
            if (epoch := self.epochs.get(tp)) is None or not consumer._subscription.is_assigned(
                topic_partition
            ):
                continue
            state = consumer._subscription.subscription.assignment.state_value(topic_partition)
            position = state.position if state.has_valid_position else None
            standing[tp] = Standing(epoch, self._handed_over[tp], position, end, tp in self.held)
        return standing


class ChunkConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, yielding one message a chunk."""

    _thread: ChunkConsumerThread
    on_begin: Callable[[list[Begin]], None] | None = None
    on_revoked: Callable[[set[TP]], None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._held_back: list[Chunk] = []
        """Fetched, and not yielded while the flow stood still."""

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(  # Faust's signature
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        # The flow may stand still when a fetch returns, which was out while the group rebalanced. What it brings
        # may be of the present epoch, where it would be missing: it waits for the flow.
        fetched, _active = await self._wait_next_records(0.0 if self._held_back else timeout)
        chunks, self._held_back = [*self._held_back, *(fetched or ())], []
        for number, chunk in enumerate(chunks):
            if self.should_stop:
                return
            if not self.flow_active:
                self._held_back = chunks[number:]
                return
            if self._thread.epochs.get(chunk.tp) == chunk.epoch:
                yield chunk.tp, self._chunk_message(chunk, self.app.consumer_generation_id)

    def _chunk_message(self, chunk: Chunk, generation: int) -> ConsumerMessage:
        # The *first* offset: with the last one Faust would take the records between two chunks for a gap in
        # the log and count them as done.
        first = chunk.records[0]
        return ConsumerMessage(
            chunk.tp.topic,
            chunk.tp.partition,
            first.offset,
            first.timestamp / 1000.0,
            first.timestamp_type,
            (),
            None,
            chunk,
            None,
            0,
            0,
            chunk.tp,
            generation_id=generation,
        )

    async def perform_seek(self) -> None:
        """Called by Faust before the flow resumes after every rebalance."""
        begins = await self._thread.begin_at_committed()
        for begin in begins:
            self._read_offset[begin.tp] = None
        if self.on_begin is not None:
            self.on_begin(begins)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        if self.on_revoked is not None:
            self.on_revoked(revoked)
        await super().on_partitions_revoked(revoked)

    async def rewind(self, tp: TP, offset: int | None) -> Begin:
        """See ``ChunkConsumerThread.rewind``."""
        begin = await self._thread.rewind(tp, offset)
        self._read_offset[tp] = None
        return begin

    async def commit_exact(
        self,
        offsets: Mapping[TP, int],
        epochs: Mapping[TP, int],
        metadata: Mapping[TP, str] = MappingProxyType({}),
        *,
        timeout_secs: float = 10.0,
    ) -> None:
        """Commit ``offsets`` if each partition is still read in the given epoch; returns when the broker has it.

        What ``metadata`` says of a partition comes back in its next ``Begin``.

        Raises:
            Superseded: the partition is no longer ours.
            KafkaError: the broker did not take it in time.
        """
        wanted = {
            TopicPartition(*tp): OffsetAndMetadata(o, metadata.get(tp, "")) for tp, o in offsets.items()
        }
        with self.app.vitals.waiting("a commit"):
            await self._thread.commit_exact(wanted, epochs, timeout_secs)

    async def standing(self, tps: Iterable[TP]) -> dict[TP, Standing]:
        """How far each partition is; partitions that are not ours are left out."""
        return await self._thread.standing(tps)

    async def metadata(self, tp: TP) -> str:
        """What was committed last beside the offset of a partition of the group, whoever reads it."""
        return await self._thread.metadata(tp)

    def hold(self, tps: frozenset[TP]) -> None:
        """Fetch nothing of these partitions, and of all others again."""
        self._thread.held = tps

    def failure(self) -> BaseException | None:
        """What ended one of the consumer's background tasks, if any did; Faust would not notice."""
        return consumer_failure(self._thread._consumer)

    @property
    def joined(self) -> bool:
        """Whether the group has told us which partitions are ours."""
        return has_joined(self._thread._consumer)

    @property
    def thread_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the thread that fetches."""
        loop: asyncio.AbstractEventLoop = self._thread.thread_loop
        return loop

    @property
    def fetches(self) -> int:
        """How many fetches returned, with records or without; stands still when the consumer does."""
        return self._thread.fetches

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Nothing: Faust has no say in what is done."""
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: each chunk would look like a gap, and the interval tree would grow without end."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust compares a wall clock with a monotonic one here; see ``streams.watchdog``."""


class ChunkTransport(driver.Transport):  # type: ignore[misc]
    """aiokafka with ``ChunkConsumer`` and ``ExactProducer``; chunks of ``urgent`` topics go first."""

    Consumer = ChunkConsumer
    Producer = ExactProducer

    def __init__(self, url: Any, app: Any, kafka: KafkaConfig, urgent: frozenset[str] = frozenset()) -> None:
        super().__init__(url, app)
        self.kafka = kafka
        self.urgent = urgent


__all__ = [
    "TP",
    "Begin",
    "Chunk",
    "ChunkConsumer",
    "ChunkTransport",
    "ExactProducer",
    "Standing",
    "Superseded",
]
