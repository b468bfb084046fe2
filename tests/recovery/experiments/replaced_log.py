"""The log of partials replaced by an empty one of the same name in the same cluster: recognised and told."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.app import group_name
from streams.client import open_admin
from streams.operate.status import read_status
from streams.topics import ALERTS, PARTIALS
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import kafka
from tests.recovery.rig.outcomes import together
from tests.recovery.rig.run import Run, offline, traffic
from tests.recovery.rig.verdict import compare
from tests.support.brokers import committed, log_size, make_topics
from tests.support.processes import Child, eventually

PARTITIONS: Final = 4
FEED_SECS: Final = 4.0
STOP_SECS: Final = 30.0
STILL_SECS: Final = 1.5
IDLE_SECS: Final = 15
"""Longer than the replacement: a source that falls quiet would seal windows early, and that is no fault."""


async def _renew(run: Run) -> None:
    """Delete the topic and make it again."""
    admin: AIOKafkaAdminClient = await open_admin(run.config.kafka)
    try:
        await admin.delete_topics([PARTIALS])
        while PARTIALS in await admin.list_topics():  # noqa: ASYNC110 - a topic is no event
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
    while True:
        with contextlib.suppress(AssertionError, KafkaError):  # the name may not be free yet
            await make_topics(run.config)
            return
        await asyncio.sleep(0.1)


class Service:
    """Keeps one worker running, as a supervisor does; use as a context manager."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self._run, self._stack = run, stack
        self._over = threading.Event()
        self._wanted = threading.Lock()
        """Held while nobody wants the worker to run."""
        self._thread = threading.Thread(target=self._keep, name="service")
        self.worker: Child = run.worker(stack)
        self.restarts = 0

    def __enter__(self) -> Service:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Within it the worker is stopped, after the usual good-bye."""
        with self._wanted:
            self.worker.send(signal.SIGTERM)
            self.worker.wait(STOP_SECS)
            yield
            self.worker = self._run.worker(self._stack)

    def _keep(self) -> None:
        while not self._over.wait(0.2):
            with self._wanted:
                if not self.worker.running:
                    self.restarts += 1
                    self.worker = self._run.worker(self._stack)


def _stopped(run: Run, service: Service) -> None:
    """While no worker runs."""
    with service.stopped():
        asyncio.run(_renew(run))


def _running(run: Run, service: Service) -> None:
    """Under the worker's feet."""
    asyncio.run(_renew(run))


def _once(scale: Scale, replace: Callable[[Run, Service], None]) -> Outcome:
    events = traffic(scale.pick(4, 24))
    half = len(events) // 2
    name = replace.__name__.removeprefix("_")
    with kafka(scale.folder / f"kafka-{name}") as broker, ExitStack() as stack:
        run = Run(
            broker,
            scale.folder / name,
            PARTITIONS,
            checkpoint={"interval_secs": 0.3},
            monitoring={"every_secs": 0.2, "for_secs": 0.0},
            windows={"idle_secs": IDLE_SECS},
        )
        service = stack.enter_context(Service(run, stack))
        run.send_slowly(events[:half], FEED_SECS).join()
        eventually(_all_is_saved(run, service.worker, half), within_secs=60, what="nothing is on its way")
        replace(run, service)
        run.send_slowly(events[half:], FEED_SECS).join()
        eventually(
            lambda: _told(run),
            within_secs=90,
            what=lambda: f"an alert that the log was replaced; the worker said {run.last_words()}",
        )
        run.await_end(events)
        verdict = compare(run.results(events), offline(events))
        return Outcome(
            runs=1,
            faults=1,
            lost=verdict.lost,
            doubled=verdict.doubled,
            notes=f"{name}: {service.restarts} restarts",
            failures=(*verdict.examples, *["a crash loop"] * (service.restarts > 2)),
        )


def _all_is_saved(run: Run, worker: Child, records: int) -> Callable[[], bool]:
    """Whether all records are read, the log has not grown for a while, and the checkpoint is at its end."""
    group, seen = group_name(run.config, "detect"), (-1, time.monotonic())

    def look() -> bool:
        nonlocal seen
        size = asyncio.run(log_size(run.config, PARTIALS))
        if size != seen[0]:
            seen = size, time.monotonic()
        status = read_status(run.config.state_dir).get(("detect", worker.pid), {})
        done = asyncio.run(committed(run.config, group, PARTIALS, 1))[0]
        return status.get("records") == records and done == size and time.monotonic() - seen[1] > STILL_SECS

    return look


def _told(run: Run) -> bool:
    alerts = [orjson.loads(value) for value in run.read(ALERTS)]
    return any(a["segment"].get("subject") == "log_replaced" for a in alerts)


def replaced_log(scale: Scale) -> Outcome:
    """Short: while the worker is stopped; full: under a running one as well."""
    return together(
        [_once(scale, replace) for replace in ([_stopped] if scale.short else [_stopped, _running])]
    )


EXPERIMENTS = (
    Experiment(
        name="replaced-log",
        what="tidewatch.partials deleted and made again, with the worker stopped and under a running one",
        goal="recognised and told; no crash loop; nothing that was sealed before is lost or counted twice",
        needs=("kafka",),
        run=replaced_log,
    ),
)
