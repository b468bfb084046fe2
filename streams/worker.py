"""The life of a worker process: start Faust in our own loop, watch it, stop it in order.

``faust worker`` is not used: it opens a web server on all interfaces unless told not to. Exit codes: 0 asked to
stop, 1 an error that a restart may cure, 70 a blocked event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

import structlog

from sinks.credentials import CredentialError
from streams import client
from streams.allocator import give_memory_back
from streams.app import ChunkApp, new_app
from streams.config import Config
from streams.delivery import Delivery
from streams.logs import configure_logging, describe
from streams.operate.crashes import note_crashes
from streams.operate.health import CannotListen, HealthServer, Report
from streams.operate.metrics import Value
from streams.operate.monitor import Beat, Monitor
from streams.operate.observer import Observer
from streams.operate.status import status_path
from streams.operate.vitals import Vitals
from streams.reaching import DENIED
from streams.transport import TP, Begin
from streams.watchdog import LoopGuard, end_within

FINISH_SECS = 6.0
"""For what is in hand when asked to stop; with leaving the group the process is gone within ten seconds."""
LEAVE_SECS = 3.0
STOP_SECS = 15.0
"""The process ends in any case so long after it was asked to, or after an error; a thread may be stuck."""
FAIL_SECS = 7.0

log = structlog.get_logger()


class MissingTopics(Exception):
    """A topic that the worker needs is not there; says which, and what to do next."""


class Worker:
    """What is common to the roles; a role says which agents it has and what they drive."""

    role = ""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.app: ChunkApp
        self._failure: asyncio.Future[BaseException]
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._guards: list[LoopGuard] = []
        self.vitals = Vitals()

    beat: Beat
    """What this role watches of Tidewatch itself."""
    topics: tuple[str, ...] = ()
    """Every topic that the role reads or writes."""

    async def prepare(self) -> None:
        """Before Faust starts."""

    def add_agents(self, app: ChunkApp) -> None:
        raise NotImplementedError

    def begin(self, begins: list[Begin]) -> None:
        raise NotImplementedError

    def revoke(self, tps: set[TP]) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        """Do what is in hand, and commit it."""

    def progress(self) -> dict[TP, int | None]:
        """Partition -> next offset to be worked on; None: not begun."""
        return {}

    def reasons(self) -> list[str]:
        """Why the worker is not ready; empty when the group has given us what there is to do, and we have begun."""
        consumer = self.app.chunk_consumer
        if not consumer.joined:
            return ["not in the consumer group yet"]
        if missing := consumer.assignment() ^ self.progress().keys():
            return [f"{len(missing)} partitions have not begun or ended yet"]
        return ["nothing was fetched yet"] if consumer.assignment() and not consumer.fetches else []

    def event_ms(self) -> dict[TP, int]:
        """Partition -> the event time that was reached."""
        return {}

    def measure(self) -> Iterator[Value]:
        """What the stages have counted, for metrics."""
        return iter(())

    def status(self) -> dict[str, Any]:
        """For views."""
        return {}

    def fail(self, error: BaseException) -> None:
        """End the worker: something that it cannot go on from."""
        if not self._failure.done():
            self._failure.set_result(error)

    async def close(self) -> None:
        """Release what ``prepare`` opened."""

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` until the worker ends; its failure is the worker's."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self.fail(error)

        task = asyncio.create_task(guarded())
        self._tasks.append(task)
        return task

    def request_stop(self) -> None:
        self._stop.set()

    async def run(self) -> int:
        """Work until asked to stop or unable to go on; returns the exit code."""
        self.config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        guard = self._guard(loop, "the event loop")
        operate = self.config.operate
        limit_secs = self.config.watchdog.blocked_secs
        self.health = HealthServer(
            operate.host, operate.port, blocked_secs=lambda: guard.still_secs, limit_secs=limit_secs
        )
        self.health.start()
        try:
            note_crashes(self.config.state_dir, self.role)
            await self._require_topics()
            await self.prepare()
            self.app = new_app(self.config, self.role, self.vitals)
            self.add_agents(self.app)
            consumer = self.app.chunk_consumer
            consumer.on_begin, consumer.on_revoked = self.begin, self.revoke
            starting = asyncio.create_task(self.app.start())
            stopping = asyncio.create_task(self._stop.wait())
            ends: list[asyncio.Future[Any]] = [stopping, self._failure]
            await asyncio.wait([starting, *ends], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                self._guard(consumer.thread_loop, "the loop that fetches")
                self.background(Observer(self).run())
                self.background(self._watch_app())
                delivery = Delivery(self.app.exact_producer.client, self.vitals)
                self.monitor = Monitor(self.config, self.role, self.beat, consumer, delivery, self.vitals)
                self.background(self.monitor.run())
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            return await self._end(starting)
        finally:
            for each in self._guards:
                each.stop()
            self.health.stop()
            for task in self._tasks:
                task.cancel()

    def _guard(self, loop: asyncio.AbstractEventLoop, what: str) -> LoopGuard:
        guard = LoopGuard(loop, blocked_secs=self.config.watchdog.blocked_secs, what=what)
        self._guards.append(guard)
        guard.start()
        return guard

    async def _require_topics(self) -> None:
        """Topics must be there before anybody subscribes: some brokers make them up, with other partitions."""
        admin = await client.open_admin(self.config.kafka)
        try:
            present = set(await admin.list_topics())
        finally:
            await admin.close()
        if missing := [name for name in self.topics if name not in present]:
            raise MissingTopics(
                f"no topic {', '.join(missing)} at {self.config.kafka.bootstrap} that we may see; "
                "run: tidewatch topics create, or grant the rights of docs/security.md"
            )

    async def _end(self, starting: asyncio.Task[None]) -> int:
        failure = self._failure.result() if self._failure.done() else None
        self.health.publish(Report(("stopping" if failure is None else f"ends: {describe(failure)}",)))
        end_within(STOP_SECS if failure is None else FAIL_SECS)
        if failure is not None:
            log.error("the worker cannot go on", role=self.role, error=describe(failure), exc_info=failure)
        if not starting.done():
            starting.cancel()
        with contextlib.suppress(TimeoutError):
            if failure is None:
                self.app.chunk_consumer.stop_flow()
                async with asyncio.timeout(FINISH_SECS):
                    await self.finish()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LEAVE_SECS):
                await self.app.stop()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LEAVE_SECS):
                await self.close()
        if failure is None:
            # After a failure it stays: the next worker counts it.
            status_path(self.config.state_dir, self.role).unlink(missing_ok=True)
        return 0 if failure is None else 1

    async def _watch_app(self) -> None:
        await self.app.wait_until_stopped()
        if not self._stop.is_set():
            self.fail(self.app.crash_reason or RuntimeError("Faust stopped"))


def spare_the_collector() -> None:
    """What is loaded by now stays for good, and records hold no cycles: look for garbage less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def run_worker(worker_type: type[Worker], config: Config) -> int:
    """Run a worker in this process until it ends; returns its exit code.

    The process must end right after: a thread of Faust may be stuck, and is not waited for.
    """
    configure_logging()
    spare_the_collector()
    give_memory_back()

    async def work() -> int:
        try:
            return await worker_type(config).run()
        except (client.BrokerUnreachable, MissingTopics, CannotListen, CredentialError) as error:
            sys.stderr.write(f"tidewatch worker: {error}\n")
            return 1
        except DENIED as error:
            sys.stderr.write(
                f"tidewatch worker: the broker denies what {worker_type.role} needs ({error}); "
                "grant the rights of docs/security.md\n"
            )
            return 1

    return asyncio.run(work())
