"""A consumer group that never comes to rest: workers join, leave, are killed and paused, on Apache Kafka."""

from __future__ import annotations

import random
import signal
import time
from contextlib import ExitStack
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Final, NamedTuple, Self

from streams.topics import INTERACTIONS
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import kafka
from tests.recovery.rig.measure import Usage
from tests.recovery.rig.offsets import Offsets
from tests.recovery.rig.outcomes import counts, together
from tests.recovery.rig.run import MARKER_MS, Run, end_ms
from tests.recovery.rig.stream import SHORT_TRAFFIC, LongTraffic, undisturbed
from tests.recovery.rig.verdict import compare
from tests.support.processes import Child, eventually

PARTITIONS: Final = 12
STALL_SECS: Final = 15.0
"""Beyond the session timeout, at most; judged at full length only, where starting workers is not all there is."""
LEAVE_SECS: Final = 10.0
START_SECS: Final = 20.0
MIN_WORKERS, START_WORKERS, MAX_WORKERS = 2, 3, 4
FAULTS: Final = ("join", "leave", "kill", "pause")


class _Length(NamedTuple):
    traffic: LongTraffic
    feed_secs: float
    every_secs: float
    """Between faults; also how long a pause lasts: longer than the session, so that the paused one is a zombie."""
    session_secs: float


SHORT: Final = _Length(SHORT_TRAFFIC, feed_secs=15.0, every_secs=3.0, session_secs=2.0)
FULL: Final = _Length(LongTraffic(1200, 150.0), feed_secs=600.0, every_secs=10.0, session_secs=6.0)


class _Group:
    """The workers of one group, what is done to them, and a supervisor that replaces those that ended."""

    def __init__(self, run: Run, stack: ExitStack, rng: random.Random) -> None:
        self._run = run
        self._stack = stack
        self._rng = rng
        self._workers = [run.worker(stack) for _ in range(START_WORKERS)]
        self._paused: Child | None = None
        self._lock = Lock()
        self._over = Event()
        self._supervisor = Thread(target=self._supervise, name="supervisor")
        self.faults: dict[str, int] = dict.fromkeys(FAULTS, 0)
        self.restarts = 0
        """Workers that ended by themselves, as one does that lost its partitions in a pause, and were replaced."""
        self.problems: list[str] = []

    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def fault(self) -> None:
        """One fault, chosen so that the group stays between its smallest and largest size."""
        self.resume()
        with self._lock:
            size = len(self._workers)
            possible = [name for name in FAULTS if size < MAX_WORKERS or name != "join"]
            if size <= MIN_WORKERS:
                possible = ["join", "pause"]
            kind = min(possible, key=lambda name: (self.faults[name], self._rng.random()))
            self.faults[kind] += 1
            victim = self._rng.choice(self._workers)
            if kind == "join":
                self._workers.append(self._run.worker(self._stack))
            elif kind == "pause":
                victim.send(signal.SIGSTOP)
                self._paused = victim
            else:
                self._workers.remove(victim)
        if kind == "kill":
            victim.kill()
        elif kind == "leave":
            # Not while Python itself starts, which nobody can ask anything.
            eventually(
                lambda: victim.catches(signal.SIGTERM) or not victim.running,
                within_secs=START_SECS,
                what="a worker that was started sets its handlers",
            )
            victim.send(signal.SIGTERM)
            if (code := victim.wait(LEAVE_SECS)) != 0:
                self.problems.append(f"a worker that was asked to leave ended with {code}")

    def resume(self) -> None:
        if self._paused is not None:
            self._paused.send(signal.SIGCONT)
            self._paused = None

    def _supervise(self) -> None:
        while not self._over.wait(0.2):
            with self._lock:
                for worker in [worker for worker in self._workers if not worker.running]:
                    self._workers.remove(worker)
                    self._workers.append(self._run.worker(self._stack))
                    self.restarts += 1

    def __enter__(self) -> Self:
        self._supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._supervisor.join()


def _churn(scale: Scale, length: _Length, store: str) -> Outcome:
    events = list(length.traffic)
    with kafka(scale.folder / f"kafka-{store}") as broker, ExitStack() as stack:
        run = Run(
            broker,
            scale.folder / store,
            PARTITIONS,
            checkpoint={"interval_secs": 2.0 if scale.short else 10.0, "store": store},
            kafka={"session_timeout_secs": length.session_secs, "chunk_records": 300},
        )
        group = stack.enter_context(_Group(run, stack, scale.random()))
        usage = stack.enter_context(Usage(group.pids))
        offsets = stack.enter_context(Offsets(run.config, INTERACTIONS, PARTITIONS))
        feeder = run.send_slowly(events, length.feed_secs)
        stack.callback(feeder.join)
        due = time.monotonic()
        while feeder.is_alive():
            due += length.every_secs
            feeder.join(max(0.0, due - time.monotonic()))
            if feeder.is_alive():
                group.fault()
        group.resume()
        run.send_markers(end_ms(events) + MARKER_MS)
        run.await_end(events)
        verdict = compare(run.results(events), undisturbed(length.traffic))
    failures = [*group.problems, *verdict.examples]
    if run.feeder_paused_secs >= run.config.windows.idle_secs:
        failures.append(
            f"the machine is too busy: nothing was sent for {run.feeder_paused_secs:.0f} s, so that windows closed"
        )
    if not scale.short and offsets.worst_secs > length.session_secs + STALL_SECS:
        failures.append(f"a partition stood still for {offsets.worst_secs:.1f} s")
    return Outcome(
        runs=1,
        faults=sum(group.faults.values()),
        lost=verdict.lost,
        doubled=verdict.doubled,
        worst_stall_secs=offsets.worst_secs,
        worst_rss_mb=usage.worst_rss_mb,
        notes=f"{store}: {len(events)} records; {counts(group.faults)}; {group.restarts} workers started again",
        failures=tuple(failures),
    )


def rebalance(scale: Scale) -> Outcome:
    """With the checkpoint in the topic, and at full length once more with it in SQLite."""
    if scale.short:
        return _churn(scale, SHORT, "topic")
    return together([_churn(scale, FULL, store) for store in ("topic", "sqlite")])


EXPERIMENTS = (
    Experiment(
        name="rebalance",
        what="three workers, twelve partitions: every 10 s one joins, leaves, is killed or paused, for 10 min",
        goal=f"equal results; no partition stands still for {STALL_SECS:g} s beyond the session timeout",
        needs=("kafka",),
        run=rebalance,
    ),
)
