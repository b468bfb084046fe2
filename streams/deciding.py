"""Drives DECIDE: the log of partials in; summaries, anomalies, incidents and alerts out; one checkpoint.

Outputs are durable before a snapshot is saved, the snapshot before its offset is committed. Where to read from is
the checkpoint's position, not the group's offset, which only shows the lag.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

import structlog
from aiokafka.errors import KafkaError

from streams.aligning import Reached
from streams.config import Config
from streams.delivery import Delivery
from streams.faultpoints import faultpoint
from streams.logs import KeptOut, Seldom
from streams.messages import Message
from streams.operate.metrics import Value
from streams.operate.vitals import Vitals, cpu_ticks
from streams.restoring import Restored, Trouble, restore
from streams.stages import Decide
from streams.state import Checkpoint, StateStore, StateUnavailable
from streams.topics import ALERTS
from streams.transport import TP, Begin, Chunk, ChunkConsumer, Superseded

INBOX_CHUNKS = 2
CLAIM_SECS = 2.0
REACHED_SECS = 1.0
SLICE_SECS = 0.05
"""How long records are worked on before other tasks (heartbeats, deliveries) have a turn."""
SEND_SECS = 1.0
"""How long what was decided may wait for more: a delivery is two round trips, however much goes with it. Without a
backlog a chunk ends sooner, and everything goes at once."""

log = structlog.get_logger()


class _Run:
    """One epoch of the partials partition."""

    def __init__(self, begin: Begin) -> None:
        self.begin = begin
        self.epoch = -1
        """Set when the checkpoint is loaded: chunks before it are not wanted."""
        self.inbox: asyncio.Queue[Chunk | None] = asyncio.Queue(INBOX_CHUNKS)
        self.taken = 0
        self.saved: int | None = None
        """The position of the last checkpoint."""
        self.task: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """End the run. The task is let go: what cancelled it holds its frames, and these all state of the run."""
        task, self.task = self.task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        while not self.inbox.empty():
            self.inbox.get_nowait()


class DecideDriver:
    """The one actor of a fleet, on the worker that has the partials partition."""

    def __init__(
        self,
        config: Config,
        consumer: ChunkConsumer,
        delivery: Delivery,
        open_store: Callable[[], Awaitable[StateStore]],
        log_id: str,
        fail: Callable[[BaseException], None],
        vitals: Vitals,
    ) -> None:
        self._config = config
        self._consumer = consumer
        self._delivery = delivery
        self._open_store = open_store
        self._log_id = log_id
        self._fail = fail
        self._vitals = vitals
        self._store: StateStore | None = None
        self._tries = 0
        self._checkpoint_secs: tuple[float, float, int] | None = None
        """When the last one was saved (monotonic), how long that took, its bytes."""
        self._told = Seldom()
        self._kept_out = KeptOut(Seldom())
        self._run: _Run | None = None
        self.decide: Decide | None = None
        self.records = 0
        self.checkpoints = 0

    def begin(self, begin: Begin) -> None:
        """The partition begins to be read."""
        self.revoke()
        run = self._run = _Run(begin)
        run.task = asyncio.create_task(self._work(run), name="decide")

    def revoke(self) -> None:
        if self._run is not None:
            self._run.forget()
        self._run = self.decide = None

    async def handle(self, chunk: Chunk) -> None:
        run = self._run
        if run is None or run.epoch != chunk.epoch:
            return
        if chunk.sequence != run.taken:
            log.warning("chunk lost on its way; loading the checkpoint again", topic=chunk.tp.topic)
            self.begin(run.begin)
            return
        await run.inbox.put(chunk)
        run.taken += 1

    async def stop(self) -> None:
        """Finish the inbox and save a last checkpoint."""
        run = self._run
        task = None if run is None else run.task
        if run is not None and task is not None:
            if run.epoch < 0:
                run.forget()
            else:
                await run.inbox.put(None)
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self, run: _Run) -> None:
        store: StateStore | None = None
        try:
            with self._vitals.waiting("the checkpoint", restoring=True, life=self._restore_life):
                store = self._store = await self._open_store()
                restored = await self._claim(run, store)
            faultpoint("decide.restored")
            begin = await self._consumer.rewind(run.begin.tp, restored.log.read_from)
            self._tell(restored.troubles)
            self.decide, run.epoch = restored.decide, begin.epoch
            run.saved = restored.decide.next_offset or None
            telling = asyncio.create_task(self._tell_reached(run, restored.decide))
            try:
                await self._consume(run, restored, store)
            finally:
                telling.cancel()
                self._vitals.held_up = None
        except Superseded:
            if self._run is run:
                self.revoke()
        except Exception as error:
            self._fail(error)
        finally:
            if store is not None:
                await asyncio.shield(store.close())

    def _restore_life(self) -> int:
        """Changes while the restore gets on: by tries, records read, and the work of the threads it runs in."""
        steps = self._store.steps if self._store is not None else 0
        return self._tries + steps + cpu_ticks("state", "asyncio_")

    async def _claim(self, run: _Run, store: StateStore) -> Restored:
        """Own the store, and what it holds; waits while it cannot be used."""
        while True:
            try:
                await store.claim()
                faultpoint("decide.claimed")
                restored = await self._restore(run, store)
            except StateUnavailable as error:
                self._tries += 1
                if self._told():
                    log.error("the checkpoint cannot be loaded; waiting", error=str(error))
                await asyncio.sleep(CLAIM_SECS)
            else:
                if self._told.over():
                    log.info("the checkpoint can be loaded again")
                return restored

    async def _restore(self, run: _Run, store: StateStore) -> Restored:
        tp: TP = run.begin.tp
        standing = (await self._consumer.standing([tp])).get(tp)
        if standing is None:
            raise Superseded(f"{tp.topic}-{tp.partition} is not assigned")
        return await restore(
            self._config, store, log_id=self._log_id, committed=run.begin.position, end=standing.end
        )

    def _tell(self, troubles: Iterable[Trouble]) -> None:
        for name, summary in troubles:
            self._vitals.notice(name, summary)
            log.warning("trouble with the state", name=name, summary=summary)
            self._vitals.notice(name, summary)

    async def _begin_other_log(self, run: _Run, restored: Restored, store: StateStore) -> None:
        """Keep what does not depend on the log, and start from its beginning."""
        restored.decide.rebase()
        await store.save(Checkpoint(0, self._log_id, restored.decide.snapshot()))
        self.begin(run.begin)

    async def _consume(self, run: _Run, restored: Restored, store: StateStore) -> None:
        decide = restored.decide
        interval = self._config.checkpoint.interval_secs
        due = time.monotonic() + interval
        run.saved = decide.next_offset or None
        stopping = False
        while not stopping:
            chunk: Chunk | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, due - time.monotonic())):
                    chunk = await run.inbox.get()
                    stopping = chunk is None
            if chunk is not None:
                if (trouble := restored.log.look(chunk.records)) is not None:
                    self._tell([trouble])
                    if trouble.name == "log_replaced":
                        await self._begin_other_log(run, restored, store)
                        return
                await self._take(chunk, restored)
            if stopping or time.monotonic() >= due:
                if decide.next_offset != (run.saved or 0):
                    await self._checkpoint(run, restored, store)
                due = time.monotonic() + interval

    async def _take(self, chunk: Chunk, restored: Restored) -> None:
        messages: list[Message] = []
        turn = sent = time.monotonic()
        appended_ms = 0
        foreign = restored.decide.foreign_records
        for record in chunk.records:
            step = restored.decide.step(record)
            if record.offset < restored.tell_from:
                continue
            messages += step
            appended_ms = record.timestamp if step else appended_ms
            if (now := time.monotonic()) - sent > SEND_SECS:
                await self._send(messages, appended_ms)
                messages, sent = [], time.monotonic()
            if now - turn > SLICE_SECS:
                await asyncio.sleep(0)
                turn = time.monotonic()
        await self._send(messages, appended_ms)
        if (count := restored.decide.foreign_records - foreign) > 0:
            where = f"{chunk.tp.topic} from offset {chunk.records[0].offset} on"
            self._tell(
                [Trouble("foreign_records", f"{count} records that are not ours in {where}; who writes?")]
            )
        # Of segments an incident tells.
        kept_out = {cap: count for cap, count in restored.decide.over_caps.items() if cap != "segments"}
        self._kept_out.tell(kept_out)
        self.records += len(chunk.records)
        self._vitals.count("tidewatch_records_total", chunk.tp.topic, by=len(chunk.records))
        size = sum(len(record.value or b"") for record in chunk.records)
        self._vitals.count("tidewatch_record_bytes_total", chunk.tp.topic, by=size)

    async def _send(self, messages: list[Message], appended_ms: int) -> None:
        """``appended_ms``: when the record that closed the last of the windows was appended to the log."""
        if not messages:
            return
        faultpoint("decide.before-send")
        await self._delivery.send_until_durable(messages)
        faultpoint("decide.sent")
        for message in messages:
            if message.topic == ALERTS:
                kind = dict(message.headers)["ce_type"].decode()
                self._vitals.count("tidewatch_alerts_total", kind)
                self._vitals.alert_delays.add(max(0.0, time.time() - appended_ms / 1000))

    async def _checkpoint(self, run: _Run, restored: Restored, store: StateStore) -> None:
        """If it cannot be saved we go on: a full disk must not hold up alerts, and the log has the rest."""
        position = restored.decide.next_offset
        started = time.monotonic()
        state = restored.decide.snapshot()
        try:
            with self._vitals.waiting("the store of checkpoints"):
                await store.save(Checkpoint(position, self._log_id, state, restored.log.mark))
        except StateUnavailable as error:
            if self._told():
                log.error("the checkpoint cannot be saved; going on without", error=str(error))
            return
        if self._told.over():
            log.info("the checkpoint can be saved again")
        faultpoint("decide.saved")
        run.saved = position
        self.checkpoints += 1
        self._vitals.count("tidewatch_checkpoints_total")
        now = time.monotonic()
        self._checkpoint_secs = (now, now - started, len(state))
        try:
            await self._commit(run, restored.decide)
            faultpoint("decide.committed")
        except KafkaError as error:
            # The checkpoint is what counts; the group's offset only shows the lag.
            log.warning("the offset of the checkpoint is not committed yet", error=str(error))

    async def _commit(self, run: _Run, decide: Decide) -> None:
        """The position of the last checkpoint, and beside it how far the windows are closed by now."""
        if run.saved is not None:
            tp: TP = run.begin.tp
            reached = decide.reached_ms
            told = "" if reached is None else Reached(reached).encode()
            await self._consumer.commit_exact({tp: run.saved}, {tp: run.epoch}, {tp: told})

    async def _tell_reached(self, run: _Run, decide: Decide) -> None:
        """Once a second: other workers hold partitions that are far ahead of this."""
        told: int | None = None
        while True:
            await asyncio.sleep(REACHED_SECS)
            self._vitals.held_up = decide.held_up
            if decide.reached_ms != told:
                told = decide.reached_ms
                with contextlib.suppress(KafkaError, Superseded):  # what reads the log finds out
                    await self._commit(run, decide)

    def measure(self) -> Iterator[Value]:
        """For metrics."""
        decide = self.decide
        if decide is None:
            return
        progress = decide.progress
        if (until_ms := progress["closed_until_ms"]) is not None:
            yield Value("tidewatch_watermark_delay_seconds", (), time.time() - until_ms / 1000)
        yield Value("tidewatch_windows_pending", (), progress["windows_pending"] or 0)
        for name in ("windows_closed", "partials_ignored"):
            yield Value(f"tidewatch_{name}_total", (), progress[name] or 0)
        yield Value("tidewatch_segments", (), progress["segments"] or 0)
        for cap, count in decide.over_caps.items():
            yield Value("tidewatch_dropped_by_caps_total", (cap,), count)
        for severity, count in decide.incidents_open.items():
            yield Value("tidewatch_incidents_open", (severity,), count)
        if self._checkpoint_secs is not None:
            at, took_secs, size = self._checkpoint_secs
            yield Value("tidewatch_checkpoint_age_seconds", (), time.monotonic() - at)
            yield Value("tidewatch_checkpoint_duration_seconds", (), took_secs)
            yield Value("tidewatch_checkpoint_bytes", (), size)

    def event_ms(self) -> dict[TP, int]:
        """The partition -> the end of the last closed window."""
        until_ms = None if self.decide is None else self.decide.progress["closed_until_ms"]
        return {} if self._run is None or until_ms is None else {self._run.begin.tp: until_ms}

    def progress(self) -> dict[TP, int | None]:
        run = self._run
        return {} if run is None else {run.begin.tp: self.decide.next_offset if self.decide else None}
