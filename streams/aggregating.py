"""Drives AGGREGATE: chunks of the input partitions in, messages out, offsets committed after both.

One run a partition and epoch: its own pure ``Aggregate`` with a new attempt id, its own short inbox, its own task.
Nothing is repeated within an attempt. When anything goes wrong the run ends, and a new one begins at the committed
offset with a new attempt; DECIDE ignores what the old one left half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple

import structlog
from aiokafka.errors import KafkaError

from streams.aligning import Alignment, Reached
from streams.config import Config
from streams.delivery import LONGEST_PAUSE_SECS, OUTAGE_SECS, Delivery, DeliveryFailed, passes
from streams.faultpoints import faultpoint
from streams.logs import KeptOut, Seldom
from streams.messages import Message
from streams.operate.metrics import Value
from streams.operate.vitals import Vitals
from streams.stages import Aggregate, AggregateStep
from streams.topics import DEADLETTERS
from streams.transport import TP, Begin, Chunk, ChunkConsumer, Standing, Superseded

INBOX_CHUNKS = 2
TICK_SECS = 1.0
SETTLE_MS = 3000
"""Several ticks: how long a source with nothing in hand must be quiet."""
FIRST_PAUSE_SECS = 0.1
"""Before a partition begins again; doubles with every time in a row, up to ``LONGEST_PAUSE_SECS``."""
MAX_WAITING_LETTERS = 400
"""Dead letters that wait for each other while chunks wait; of one KiB and a half at most."""
MAX_REFUSALS = 8
"""Of what does not pass by waiting, in a row, before the worker gives up."""

log = structlog.get_logger()


class _Trouble(NamedTuple):
    """A partition that begins again and again, without a chunk done between."""

    since_secs: float
    times: int


class _Quiet(NamedTuple):
    """In an inbox: the partition is read to its end, and nothing has come for some time."""

    ms: int
    offset: int
    """To commit: the first record that is still needed."""


class _Run:
    """One epoch of one input partition."""

    def __init__(
        self, begin: Begin, aggregate: Aggregate, trouble: _Trouble | None, kept_out: KeptOut
    ) -> None:
        self.tp = begin.tp
        self.epoch = begin.epoch
        self.aggregate = aggregate
        self.trouble = trouble
        self.inbox: asyncio.Queue[Chunk | _Quiet | None] = asyncio.Queue(INBOX_CHUNKS)
        self.task: asyncio.Task[None] | None = None
        self.taken = 0
        """Chunks put into the inbox."""
        self.done = 0
        self.records = 0
        self.needed = begin.position
        """The offset to begin at again: what is committed."""
        self.metadata = begin.metadata
        """What is committed with it."""
        self.first: int | None = None
        self.next_offset = begin.position
        self.quiet_ms = 0
        self.told_ms = 0
        self.kept_out = kept_out
        self.letters: list[Message] = []
        """Not sent yet; nothing behind them is committed."""

    def forget(self) -> None:
        """End the run, and let its task go, which holds it; who waits to put something into its inbox goes on."""
        task, self.task = self.task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        while not self.inbox.empty():
            self.inbox.get_nowait()


class AggregateDriver:
    """All input partitions of this worker.

    ``fail`` is called once with what the worker cannot go on from; ``sources_total`` is the number of input
    partitions that the cluster has; ``reached`` asks how far DECIDE is.
    """

    def __init__(
        self,
        config: Config,
        consumer: ChunkConsumer,
        delivery: Delivery,
        fail: Callable[[BaseException], None],
        sources_total: int,
        vitals: Vitals,
        reached: Callable[[], Awaitable[Reached | None]],
    ) -> None:
        self._config = config
        self._consumer = consumer
        self._delivery = delivery
        self._fail = fail
        self._sources_total = sources_total
        self._vitals = vitals
        self._runs: dict[TP, _Run] = {}
        self._told = Seldom()
        ahead_ms = config.limits.windows_ahead * config.base_window_ms
        self._alignment = Alignment(ahead_ms, consumer.hold, reached)
        self.records = 0

    def begin(self, begins: Iterable[Begin]) -> None:
        """Partitions begin to be read (assigned, or assigned again after a rebalance)."""
        for begin in begins:
            self._start(begin, None)

    def revoke(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            if run := self._runs.get(tp):
                self._drop(run)

    async def handle(self, chunk: Chunk) -> None:
        """Take a chunk; waits while the partition has enough to do."""
        run = self._runs.get(chunk.tp)
        if run is None or run.epoch != chunk.epoch:
            return
        if chunk.sequence != run.taken:
            log.warning(
                "chunk lost on its way; reading again", topic=chunk.tp.topic, partition=chunk.tp.partition
            )
            await self._restart(run)
            return
        await run.inbox.put(chunk)
        run.taken += 1

    def _start(self, begin: Begin, trouble: _Trouble | None) -> None:
        if old := self._runs.get(begin.tp):
            self._drop(old)
        aggregate = Aggregate(
            self._config,
            topic=begin.tp.topic,
            partition=begin.tp.partition,
            attempt=secrets.token_hex(8),
            sources_total=self._sources_total,
            metadata=begin.metadata,
        )
        run = self._runs[begin.tp] = _Run(begin, aggregate, trouble, KeptOut(self._told))
        run.task = asyncio.create_task(
            self._work(run), name=f"aggregate {begin.tp.topic}-{begin.tp.partition}"
        )

    async def _work(self, run: _Run) -> None:
        try:
            await self._carry_out(run, run.aggregate.start())
            while (item := await run.inbox.get()) is not None:
                if isinstance(item, _Quiet):
                    await self._settle(run, item)
                    continue
                step = run.aggregate.add(item.records, time.time_ns() // 1_000_000)
                if run.first is None:
                    run.first = item.records[0].offset
                run.next_offset = item.records[-1].offset + 1
                self._alignment.look(run.tp, run.aggregate.watermark_ms)
                await self._carry_out(run, step)
                run.done += 1
                run.trouble = None
                self.records += len(item.records)
                self._count(run.tp, item)
                run.kept_out.tell(
                    run.aggregate.counts.over_caps, topic=run.tp.topic, partition=run.tp.partition
                )
                await asyncio.sleep(0)
            await self._carry_out(run, AggregateStep([], None))
        except Superseded:
            self._drop(run)
        except (DeliveryFailed, KafkaError, OSError) as error:
            log.warning("begins again", topic=run.tp.topic, partition=run.tp.partition, error=str(error))
            await self._restart(run, error.__cause__ or error)
        except Exception as error:
            self._fail(error)

    async def _carry_out(self, run: _Run, step: AggregateStep) -> None:
        messages = [*run.letters, *step.messages]
        if step.commit_offset is None and _may_wait(run, messages):
            run.letters = messages
            return
        if messages:
            faultpoint("aggregate.before-send")
            await self._delivery.send(messages)
            run.letters = []
            faultpoint("aggregate.sent")
        if step.commit_offset is not None:
            await self._consumer.commit_exact(
                {run.tp: step.commit_offset}, {run.tp: run.epoch}, {run.tp: step.metadata}
            )
            run.needed, run.metadata = step.commit_offset, step.metadata
            faultpoint("aggregate.committed")

    def _drop(self, run: _Run) -> None:
        run.forget()
        if self._runs.get(run.tp) is run:
            del self._runs[run.tp]
            for metric, labels, value in _counted(run):
                self._vitals.count(metric, *labels, by=int(value))

    async def _restart(self, run: _Run, error: BaseException | None = None) -> None:
        """A new run at the committed offset, after a pause that grows with every time in a row."""
        self._drop(run)
        now_secs = time.monotonic()
        trouble = run.trouble or _Trouble(now_secs, 0)
        hopeless = error is not None and not passes(error) and trouble.times >= MAX_REFUSALS
        if hopeless or now_secs - trouble.since_secs >= OUTAGE_SECS:
            where = f"{run.tp.topic}-{run.tp.partition}"
            self._fail(RuntimeError(f"{where} began again {trouble.times} times in vain: {error!r}"))
            return
        self._vitals.count("tidewatch_partition_restarts_total", run.tp.topic)
        with self._vitals.waiting("a pause before a partition begins again"):
            await asyncio.sleep(min(FIRST_PAUSE_SECS * 2 ** min(trouble.times, 10), LONGEST_PAUSE_SECS))
        if run.tp in self._runs:  # assigned again meanwhile
            return
        with contextlib.suppress(Superseded):
            begin = await self._consumer.rewind(run.tp, run.needed)
            self._start(begin._replace(metadata=run.metadata), trouble._replace(times=trouble.times + 1))

    async def tick_for_ever(self) -> None:
        """Once a second: which partitions are caught up and quiet, and tell their stage.

        While other partitions of this worker go on, it is told again every tick: windows close only as far as a
        quiet partition has vouched. When nothing goes on, every ``idle_secs`` is enough.
        """
        idle_ms = self._config.windows.idle_secs * 1000
        before = time.monotonic()
        seen: dict[tuple[TP, int], int] = {}
        while True:
            await asyncio.sleep(TICK_SECS)
            now = time.monotonic()
            # Counted tick by tick: after a pause of the process (or a suspended laptop) only one tick has passed.
            elapsed_ms = int(min(now - before, 2 * TICK_SECS) * 1000)
            before = now
            await self._align()
            due = []
            busy = any(
                seen.get((run.tp, run.epoch)) != run.taken or run.tp in self._alignment.held
                for run in self._runs.values()
            )
            for run in self._runs.values():
                if run.taken != run.done or seen.get((run.tp, run.epoch)) != run.taken:
                    run.quiet_ms = run.told_ms = 0
                else:
                    run.quiet_ms += elapsed_ms
                    since_told_ms = run.quiet_ms - run.told_ms
                    # Without an open window there is nothing to seal too early: a silent source that was just
                    # assigned need not hold up the fleet for long.
                    patience_ms = idle_ms if run.aggregate.open_windows else min(idle_ms, SETTLE_MS)
                    wanted_ms = patience_ms if not run.told_ms else 0 if busy else idle_ms
                    if since_told_ms >= wanted_ms and run.inbox.empty():
                        due.append(run)
            seen = {(run.tp, run.epoch): run.taken for run in self._runs.values()}
            if due:
                try:
                    await self._tell_quiet(due)
                except (Superseded, KafkaError, TimeoutError) as error:
                    log.info("no partition is said to be idle now", reason=str(error))

    async def _align(self) -> None:
        try:
            await self._alignment.renew({tp: run.aggregate.watermark_ms for tp, run in self._runs.items()})
        except (Superseded, KafkaError, TimeoutError) as error:
            log.info("how far the windows are closed is not known now", reason=str(error))

    async def _tell_quiet(self, due: list[_Run]) -> None:
        standing = await self._consumer.standing(run.tp for run in due)
        for run in due:
            if self._runs.get(run.tp) is run and run.inbox.empty() and _caught_up(run, standing.get(run.tp)):
                run.told_ms = run.quiet_ms
                run.inbox.put_nowait(_Quiet(run.quiet_ms, _offset_of(run, standing[run.tp])))

    async def _settle(self, run: _Run, quiet: _Quiet) -> None:
        """Seal what a quiet partition has open, and vouch for it.

        The commit before it says what is sealed and where, for whoever reads on after us. And it proves that the
        group still takes us for the owner: a worker that was paused must not speak for partitions that another one
        reads now.
        """
        if not run.inbox.empty():
            return
        decision = run.aggregate.decide()
        metadata = decision or run.metadata
        try:
            await self._consumer.commit_exact({run.tp: quiet.offset}, {run.tp: run.epoch}, {run.tp: metadata})
        except (KafkaError, TimeoutError) as error:
            if decision:
                raise  # it may be there, or not
            log.info("a partition is not said to be idle now", reason=str(error))
            return
        run.needed, run.metadata = quiet.offset, metadata
        faultpoint("aggregate.vouched")
        if run.inbox.empty():
            await self._carry_out(run, run.aggregate.idle(quiet.ms))
        elif decision:  # something has come meanwhile, which others may have seen before we speak
            await self._carry_out(run, run.aggregate.settle())

    async def stop(self) -> None:
        """Finish what is in the inboxes; everything that may be committed is committed."""
        runs = list(self._runs.values())
        tasks = [run.task for run in runs if run.task is not None]
        for run in runs:
            await run.inbox.put(None)
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def open_windows(self) -> int:
        return sum(run.aggregate.open_windows for run in self._runs.values())

    @property
    def held(self) -> int:
        """Partitions that are not fetched: they are ahead."""
        return len(self._alignment.held)

    @property
    def watermark_ms(self) -> int | None:
        """The largest watermark of this worker's partitions."""
        marks = [m for run in self._runs.values() if (m := run.aggregate.watermark_ms) is not None]
        return max(marks, default=None)

    def _count(self, tp: TP, chunk: Chunk) -> None:
        self._vitals.count("tidewatch_records_total", tp.topic, by=len(chunk.records))
        size = sum(len(record.value or b"") for record in chunk.records)
        self._vitals.count("tidewatch_record_bytes_total", tp.topic, by=size)

    def measure(self) -> Iterator[Value]:
        """What the stages of this worker have counted, for metrics; see also ``Vitals.counters``."""
        yield Value("tidewatch_open_windows", (), self.open_windows)
        yield Value("tidewatch_partitions_held", (), self.held)
        for run in self._runs.values():
            yield from _counted(run)

    def event_ms(self) -> dict[TP, int]:
        """Partition -> largest event time that was worked on."""
        marks = {tp: run.aggregate.max_event_ms for tp, run in self._runs.items()}
        return {tp: at_ms for tp, at_ms in marks.items() if at_ms is not None}

    def progress(self) -> dict[TP, int | None]:
        """Partition -> next offset to be worked on."""
        return {tp: run.next_offset for tp, run in self._runs.items()}


def _may_wait(run: _Run, messages: list[Message]) -> bool:
    """In a flood letters go together; without a backlog they go at once."""
    return (
        not run.inbox.empty()
        and len(messages) <= MAX_WAITING_LETTERS
        and all(message.topic == DEADLETTERS for message in messages)
    )


def _counted(run: _Run) -> Iterator[Value]:
    """The counters of a run's stage."""
    topic, counts = run.tp.topic, run.aggregate.counts
    for reason, count in counts.skipped.items():
        yield Value("tidewatch_records_skipped_total", (topic, reason), count)
    for reason, count in counts.dead_letters.items():
        yield Value("tidewatch_dead_letters_total", (topic, reason), count)
    for cap, count in counts.over_caps.items():
        yield Value("tidewatch_dropped_by_caps_total", (cap,), count)


def _caught_up(run: _Run, standing: Standing | None) -> bool:
    return (
        standing is not None
        and standing.epoch == run.epoch
        and standing.handed_over == run.taken == run.done
        and standing.position is not None
        and standing.position >= standing.end
    )


def _offset_of(run: _Run, standing: Standing) -> int:
    """What to commit for a quiet partition: what is committed already, or the first record that is still needed."""
    if run.needed is not None:
        return run.needed
    if run.first is not None:
        return run.first
    assert standing.position is not None  # noqa: S101 - _caught_up
    return standing.position
