"""Hours of work with faults every few minutes: results stay exact, and the worker stays as large as it was."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from statistics import linear_regression, median
from typing import Final, NamedTuple

from streams.operate.status import read_status
from streams.topics import INTERACTIONS
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import kafka, port_of
from tests.recovery.rig.kafka_proxy import KafkaProxy
from tests.recovery.rig.measure import Usage
from tests.recovery.rig.offsets import Offsets
from tests.recovery.rig.outcomes import counts
from tests.recovery.rig.run import MARKER_MS, Run, end_ms
from tests.recovery.rig.stream import SHORT_TRAFFIC, Feeder, LongTraffic, undisturbed
from tests.recovery.rig.verdict import Results, compare
from tests.support.brokers import log_size
from tests.support.processes import Child

HOURS_VARIABLE: Final = "TIDEWATCH_SOAK_HOURS"
"""Environment variable: how long the full version runs."""
PARTITIONS: Final = 4
WARM_UP_SHARE: Final = 0.4
"""Of the run: until every cache and baseline has its size."""
MIN_DECIDING: Final = 120
"""Seconds with DECIDE after the warm-up: less says nothing about its memory."""
MAX_GROWTH_RATIO: Final = 1.10
MAX_MORE_FILES: Final = 16
"""A restarted neighbour and a rebalance open connections for a moment."""
DOWN_SECS: Final = 5.0
SESSION_SECS: Final = 2 * DOWN_SECS
"""Longer than an outage: whoever is thought dead meanwhile is fenced when it saves a checkpoint, and ends."""


class _Length(NamedTuple):
    events: LongTraffic
    sent_per_sec: float
    every_secs: float
    """Between faults."""


SHORT: Final = _Length(SHORT_TRAFFIC, sent_per_sec=800.0, every_secs=2.5)


def _full() -> _Length:
    """A thousand records a second, feedback included: event time passes as fast as real time."""
    secs = round(float(os.environ.get(HOURS_VARIABLE, "0.25")) * 3600)
    return _Length(LongTraffic(secs, 735.0), sent_per_sec=1070.0, every_secs=100.0)


class _Workers:
    """One worker that is left alone and measured, one that is killed now and then, both behind a proxy."""

    def __init__(self, run: Run, stack: ExitStack, proxy: KafkaProxy) -> None:
        self._run = run
        self._stack = stack
        self._proxy = proxy
        self.steady = self._start()
        self._other = self._start()
        self._kinds = cycle(("cut", "kill", "outage"))
        self.faults: dict[str, int] = {}

    def _start(self) -> Child:
        return self._run.worker(self._stack, through=self._proxy.address)

    def deciding(self) -> list[int]:
        """The worker that is left alone, while it has DECIDE, which goes to either with each rebalance."""
        said = read_status(self._run.config.state_dir).get(("detect", self.steady.pid), {})
        return [self.steady.pid] if said.get("decide") else []

    def fault(self) -> None:
        kind = next(self._kinds)
        self.faults[kind] = self.faults.get(kind, 0) + 1
        if kind == "cut":
            self._proxy.cut()
        elif kind == "kill":
            self._other.kill()
            self._other = self._start()
        else:
            self._proxy.refuse()
            time.sleep(DOWN_SECS)
            self._proxy.restore()


def soak(scale: Scale) -> Outcome:
    length = SHORT if scale.short else _full()
    events = length.events
    with ExitStack() as stack:
        broker = stack.enter_context(kafka(scale.folder / "kafka"))
        proxy = stack.enter_context(KafkaProxy(port_of(broker)))
        run = Run(
            broker,
            scale.folder / "run",
            PARTITIONS,
            checkpoint={"interval_secs": 2.0 if scale.short else 10.0, "store": "topic"},
            kafka={"session_timeout_secs": SESSION_SECS, "chunk_records": 300},
        )
        workers = _Workers(run, stack, proxy)
        usage = stack.enter_context(Usage(lambda: [workers.steady.pid], every_secs=1.0))
        deciding = stack.enter_context(Usage(workers.deciding, every_secs=1.0))
        offsets = stack.enter_context(Offsets(run.config, INTERACTIONS, PARTITIONS))
        feeder = stack.enter_context(Feeder(run.config, events, length.sent_per_sec))
        truth = _truth(stack, events, short=scale.short)
        due = time.monotonic() + length.every_secs
        while feeder.running:
            feeder.wait(max(0.0, due - time.monotonic()))
            if feeder.running:
                workers.fault()
                due += length.every_secs
        feeder.wait()
        fed = time.monotonic()
        fed_secs = fed - feeder.began
        run.send_markers(end_ms(events.end) + MARKER_MS)
        run.await_end(events.end)
        if not scale.short:
            offsets.await_done()
        alive = workers.steady.running
        sent = asyncio.run(log_size(run.config, INTERACTIONS))
        found, wanted = run.results(events.end), truth()
    verdict = compare(found, wanted)
    warm = fed - (1 - WARM_UP_SHARE) * fed_secs
    # Like is held against like: what DECIDE knows is the larger part of a worker.
    memory = _Trend.of([(at, mb) for at, _, mb in deciding.rss_mb if warm <= at <= fed])
    files = _Trend.of([(at, float(count)) for at, _, count in usage.open_files if warm <= at <= fed])
    failures = list(verdict.examples)
    if not alive:
        failures.append("the worker that was left alone ended")
    if not scale.short and memory.samples < MIN_DECIDING:
        failures.append(f"the worker had DECIDE for {memory.samples} s after the warm-up; too short to judge")
    if not scale.short and memory.late > MAX_GROWTH_RATIO * memory.early:
        failures.append(f"memory grew from {memory.early:.0f} to {memory.late:.0f} MB after the warm-up")
    if not scale.short and files.late > files.early + MAX_MORE_FILES:
        failures.append(f"open files grew from {files.early:.0f} to {files.late:.0f} after the warm-up")
    return Outcome(
        runs=1,
        faults=sum(workers.faults.values()),
        lost=verdict.lost,
        doubled=verdict.doubled,
        worst_stall_secs=offsets.worst_secs,
        worst_rss_mb=usage.worst_rss_mb,
        notes=(
            f"{fed_secs / 60:.1f} min at {sent / fed_secs:.0f} interactions/s; {counts(workers.faults)}; after the "
            f"warm-up {memory}, {files.early:.0f} to {files.late:.0f} files; "
            f"at most {max(lag for _, lag in offsets.lag)} records behind"
        ),
        failures=tuple(failures),
    )


def _truth(stack: ExitStack, events: LongTraffic, *, short: bool) -> Callable[[], Results]:
    """What must come out; for the many records of the full length it is computed while they are sent."""
    if short:
        return lambda: undisturbed(events)
    context = multiprocessing.get_context("spawn")
    pool = stack.enter_context(
        ProcessPoolExecutor(1, mp_context=context, initializer=os.nice, initargs=(10,))
    )
    return pool.submit(undisturbed, events).result


class _Trend(NamedTuple):
    """How something went: medians of the first and the last quarter of the samples, and the slope."""

    early: float
    late: float
    per_hour: float
    samples: int

    @classmethod
    def of(cls, samples: Sequence[tuple[float, float]]) -> _Trend:
        """Zero if there are too few, as in the short version."""
        if len(samples) < 2:
            return cls(0.0, 0.0, 0.0, len(samples))
        quarter = max(1, len(samples) // 4)
        values = [value for _, value in samples]
        slope = linear_regression([at for at, _ in samples], values).slope
        return cls(median(values[:quarter]), median(values[-quarter:]), slope * 3600, len(samples))

    def __str__(self) -> str:
        return f"{self.early:.0f} to {self.late:.0f} MB with DECIDE ({self.per_hour:+.0f} MB/h)"


EXPERIMENTS = (
    Experiment(
        name="soak",
        what="15 min of steady traffic (hours on demand); every 100 s a cut, a kill or an outage of 5 s",
        goal="equal results; memory and open files flat after the warm-up; the lag returns to 0",
        needs=("kafka",),
        run=soak,
    ),
)
