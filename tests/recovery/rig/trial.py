"""One disturbed run: traffic in the background, workers that are started again when they end, a verdict."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from streams.topics import SUMMARIES
from tests.recovery.experiment import Outcome
from tests.recovery.rig.durable import Durable
from tests.recovery.rig.measure import Usage
from tests.recovery.rig.run import Event, Run, end_ms, offline, traffic
from tests.recovery.rig.verdict import Results, compare
from tests.support.brokers import Broker
from tests.support.processes import Child, eventually

RESTART_SECS = 0.5
"""Between the end of a worker and the start of the next."""
END_SECS = 300.0
"""For the backlog and the last windows, on a machine that has other work."""
SEGMENTS: Final[dict[str, Any]] = {"segments": {"by": [["provider", "model"], ["feature"], ["tenant"]]}}
"""Fewer than by default: faults are about records and offsets, and the same machine does many experiments."""


@cache
def truth(minutes: int) -> Results:
    return offline(traffic(minutes), **SEGMENTS)


class Trial:
    """Use ``trial``; the faults are the caller's."""

    def __init__(self, run: Run, stack: ExitStack, events: Sequence[Event], through: str | None) -> None:
        self.run = run
        self.events = events
        self.through = through
        self.env: dict[str, str] | None = None
        """Of the workers that are started from now on."""
        self.faults = 0
        self.stalls_secs: list[float] = []
        self.unasked: list[str] = []
        """How workers ended that nobody had killed."""
        self.notes: list[str] = []
        self.failures: list[str] = []
        self.at_end: list[Callable[[], None]] = []
        """Called when all is done and the broker still runs."""
        self.usage = Usage(self.pids)
        self.durable = Durable(run.config) if run.config.checkpoint.store == "sqlite" else None
        self._stack = stack
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.workers: list[Child] = []

    def start(self, workers: int) -> None:
        with self._lock:
            for _ in range(workers):
                self.workers.append(self.run.worker(self._stack, through=self.through, env=self.env))

    def kill(self, index: int = 0) -> None:
        """kill -9, and start another one at once."""
        with self._lock:
            self.workers[index].kill()
            self.faults += 1
            self._replace(index)

    def _replace(self, index: int) -> None:
        self.workers[index] = self.run.worker(self._stack, through=self.through, env=self.env)

    def keep_running(self) -> None:
        while not self._over.wait(RESTART_SECS):
            with self._lock:
                for index, worker in enumerate(self.workers):
                    if not worker.running:
                        self.unasked.append(f"{worker.log.name}: {worker.wait(1)}")
                        self._replace(index)

    def end(self) -> None:
        self._over.set()

    def stop(self, index: int = 0, *, within_secs: float) -> tuple[float, int]:
        """SIGTERM, and start another one; how long the end took, and the exit code."""
        with self._lock:
            worker = self.workers[index]
            began = time.monotonic()
            worker.send(signal.SIGTERM)
            code = worker.wait(within_secs)
            took_secs = time.monotonic() - began
            self.faults += 1
            self._replace(index)
        return took_secs, code

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.workers]

    def await_progress(self, within_secs: float = END_SECS) -> None:
        """Until another window closes, or all that have input are closed."""
        before = seen = self.run.summaries_written()
        last_ms = end_ms(self.events) - 10_000
        over = self._all_closed(last_ms)

        def went_on() -> bool:
            nonlocal seen, over
            if (written := self.run.summaries_written()) != seen:
                seen, over = written, self._all_closed(last_ms)
            return over or written > before

        eventually(
            went_on,
            within_secs=within_secs,
            what=lambda: f"the workers go on; the last one said: {self.run.last_words()}",
        )

    def _all_closed(self, last_ms: int) -> bool:
        return any(orjson.loads(value)["window_start_ms"] >= last_ms for value in self.run.read(SUMMARIES))

    def await_recovery(self, within_secs: float = END_SECS) -> float:
        """The same from now on, noted as a stall."""
        began = time.monotonic()
        self.await_progress(within_secs)
        self.stalls_secs.append(time.monotonic() - began)
        return self.stalls_secs[-1]


@contextmanager
def trial(
    broker: Broker,
    folder: Path,
    *,
    minutes: int,
    feed_secs: float,
    workers: int = 1,
    partitions: int = 4,
    through: str | None = None,
    **sections: Any,
) -> Iterator[tuple[Trial, list[Outcome]]]:
    """Feed ``minutes`` of traffic within ``feed_secs`` to workers, and judge at the end.

    When the block is left the traffic is over, the last window is closed, and the list has the outcome.
    """
    run = Run(broker, folder, partitions, **SEGMENTS, **sections)
    events = traffic(minutes)
    outcome: list[Outcome] = []
    with ExitStack() as stack:
        running = Trial(run, stack, events, through)
        keeper = threading.Thread(target=running.keep_running, name="keeper")
        feeder = run.send_slowly(events, feed_secs)
        stack.callback(feeder.join)
        running.start(workers)
        keeper.start()
        stack.callback(keeper.join)
        stack.callback(running.end)
        with running.usage, running.durable or nullcontext():
            yield running, outcome
            feeder.join()
            run.await_end(events, within_secs=END_SECS)
            for call in running.at_end:
                call()
    if running.durable is not None:
        running.failures += running.durable.failures()
    verdict = compare(run.results(events), truth(minutes))
    outcome.append(
        Outcome(
            runs=1,
            faults=running.faults,
            lost=verdict.lost,
            doubled=verdict.doubled,
            worst_stall_secs=max(running.stalls_secs, default=None),
            worst_rss_mb=running.usage.worst_rss_mb,
            notes="; ".join([f"{len(events):,} records", *running.notes]),
            failures=(*running.failures, *verdict.examples),
        )
    )
