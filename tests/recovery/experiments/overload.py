"""Three times as much as a worker manages: nothing is lost, memory stays bounded, and the backlog goes away."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from streams.topics import INTERACTIONS
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import kafka
from tests.recovery.rig.measure import Usage
from tests.recovery.rig.offsets import Offsets
from tests.recovery.rig.run import MARKER_MS, START_MS, Run, end_ms, offline
from tests.recovery.rig.stream import SHORT_TRAFFIC, Feeder, LongTraffic, undisturbed
from tests.recovery.rig.verdict import Results, compare
from tests.support.processes import eventually

PARTITIONS: Final = 4
OVERLOAD: Final = 3.0
OVERLOAD_SECS: Final = 300.0
MIN_DRAIN_SHARE: Final = 0.5
"""A backlog drains at least at this share of the speed before: else it would be what slows the worker."""
MAX_DRAIN_RATIO: Final = 6.0
"""How many times as long as the overload lasted is waited; 2 is what arithmetic asks for."""
MAX_RSS_MB: Final = 512.0
CHUNK_RECORDS: Final = 1
"""What limits the worker: each record is handed over by itself, which costs most of its capacity."""
PROBE: Final = LongTraffic(80, 750.0)
"""Sent flat out to see what the worker manages."""
SETTLED_SHARE: Final = 0.7
"""Of the probe: what is left when the worker's speed is measured from."""


def overload(scale: Scale) -> Outcome:
    """At full length a probe, then three times the speed found; the short version starts with a backlog."""
    with ExitStack() as stack:
        broker = stack.enter_context(kafka(scale.folder / "kafka"))
        limited = {"session_timeout_secs": 6.0, "chunk_records": CHUNK_RECORDS}
        run = Run(broker, scale.folder / "run", PARTITIONS, kafka=limited)
        if scale.short:
            run.send(list(SHORT_TRAFFIC))
        worker = run.worker(stack)
        usage = stack.enter_context(Usage(lambda: [worker.pid]))
        offsets = stack.enter_context(Offsets(run.config, INTERACTIONS, PARTITIONS))
        parts, overload_secs, capacity, how = [SHORT_TRAFFIC], 0.0, 0.0, "all at once"
        if not scale.short:
            capacity = _probe(run, offsets)
            secs = round(OVERLOAD * capacity * OVERLOAD_SECS / PROBE.per_sec)
            parts = [PROBE, LongTraffic(secs, PROBE.per_sec, START_MS + PROBE.secs * 1000)]
            overload_secs = _send(run, parts[-1], OVERLOAD * capacity)
            how = (
                f"{OVERLOAD:g} times the {capacity:.0f} records/s that it managed, for {overload_secs:.0f} s"
            )
        fed = time.monotonic()
        end = parts[-1].end
        run.send_markers(end_ms(end) + MARKER_MS)
        run.await_end(end, within_secs=150 + MAX_DRAIN_RATIO * overload_secs)
        drain_secs = time.monotonic() - fed
        behind = max(lag for _, lag in offsets.lag)
        found = run.results(end)
    verdict = compare(found, _truth(parts))
    failures = list(verdict.examples)
    drained = behind / drain_secs
    if drained < MIN_DRAIN_SHARE * capacity:
        failures.append(f"the backlog drained at {drained:.0f} records/s, before it was {capacity:.0f}")
    if usage.worst_rss_mb > MAX_RSS_MB:
        failures.append(f"the worker grew to {usage.worst_rss_mb:.0f} MB")
    return Outcome(
        runs=1,
        faults=1,
        lost=verdict.lost,
        doubled=verdict.doubled,
        worst_rss_mb=usage.worst_rss_mb,
        notes=f"{how}: at most {behind} records behind; drained in {drain_secs:.0f} s, {drained:.0f} records/s",
        failures=tuple(failures),
    )


def _send(run: Run, events: LongTraffic, per_sec: float | None) -> float:
    """Send everything; returns how long it took."""
    with Feeder(run.config, events, per_sec) as feeder:
        feeder.wait()
        return time.monotonic() - feeder.began


def _probe(run: Run, offsets: Offsets) -> float:
    """Records a second that the worker manages while it has a backlog."""
    _send(run, PROBE, None)
    backlog = offsets.lag[-1][1]
    began, first = _when_below(offsets, SETTLED_SHARE * backlog)
    ended, last = _when_below(offsets, (1 - SETTLED_SHARE) * backlog)
    return (first - last) / (ended - began)


def _when_below(offsets: Offsets, behind: float) -> tuple[float, int]:
    """When so many records were left, and how many exactly."""
    eventually(lambda: offsets.lag[-1][1] <= behind, within_secs=300, what="the probe drains")
    return offsets.lag[-1]


def _truth(parts: Sequence[LongTraffic]) -> Results:
    if len(parts) == 1:
        return undisturbed(parts[0])
    return offline((event for part in parts for event in part), until_ms=end_ms(parts[-1].end))


EXPERIMENTS = (
    Experiment(
        name="overload",
        what="producers send three times what the worker manages, for 5 min",
        goal=f"equal results; memory at most {MAX_RSS_MB:g} MB; it drains at half the speed before, or faster",
        needs=("kafka",),
        run=overload,
    ),
)
