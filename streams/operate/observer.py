"""Twice a second: ask the broker how far things are, let the watchdog judge, publish report and status."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from streams import __version__, allocator
from streams.app import ChunkApp
from streams.chunks import Standing
from streams.config import Config
from streams.logs import LIMIT
from streams.operate.health import HealthServer, Report
from streams.operate.metrics import Sample, Value, sample_of
from streams.operate.monitor import Monitor
from streams.operate.status import write_status
from streams.operate.vitals import Vitals
from streams.transport import TP
from streams.watchdog import Stalled, Watchdog

EVERY_SECS: Final = 0.5
ASK_SECS: Final = 8.0
LONGEST_TICK_SECS: Final = 2.0
"""A pause of the whole process (or a suspended laptop) is not a stall: no look counts for more."""


class Observed(Protocol):
    """What the observer needs of a worker."""

    role: str
    config: Config
    app: ChunkApp
    vitals: Vitals
    health: HealthServer
    monitor: Monitor

    def progress(self) -> dict[TP, int | None]: ...
    def event_ms(self) -> dict[TP, int]: ...
    def reasons(self) -> list[str]: ...
    def measure(self) -> Iterator[Value]: ...
    def status(self) -> dict[str, Any]: ...
    def fail(self, error: BaseException) -> None: ...


class Observer:
    """Watches one worker until it fails or is stopped."""

    def __init__(self, worker: Observed) -> None:
        self._worker = worker
        session_secs = max(worker.config.kafka.session_timeout_secs, 10.0)
        limits = worker.config.watchdog
        self._watchdog = Watchdog(limits, worker.vitals, begin_secs=limits.stall_secs + session_secs)

    async def run(self) -> None:
        before = trimmed = time.monotonic()
        while True:
            standing = await self._ask()
            now = time.monotonic()
            elapsed_secs, before = min(now - before, LONGEST_TICK_SECS), now
            if not self._judge(standing, elapsed_secs):
                return
            self._publish(standing)
            if now - trimmed >= allocator.TRIM_EVERY_SECS:
                allocator.trim()
                trimmed = now
            await asyncio.sleep(EVERY_SECS)

    async def _ask(self) -> dict[TP, Standing] | None:
        """How far our partitions are; None while the broker does not answer."""
        consumer = self._worker.app.chunk_consumer
        try:
            async with asyncio.timeout(ASK_SECS):
                return await consumer.standing(consumer.assignment())
        except Exception:
            return None

    def _judge(self, standing: Mapping[TP, Standing] | None, elapsed_secs: float) -> bool:
        """Whether the worker goes on."""
        worker, consumer = self._worker, self._worker.app.chunk_consumer
        failure = consumer.failure() or worker.app.exact_producer.failure()
        assigned = consumer.assignment() if consumer.joined else None
        try:
            if failure is not None:
                raise Stalled(f"a client of the broker is dead: {failure!r}") from failure
            self._watchdog.look(assigned, standing, worker.progress(), elapsed_secs)
        except Stalled as stalled:
            worker.fail(stalled)
            return False
        return True

    def _publish(self, standing: Mapping[TP, Standing] | None) -> None:
        worker = self._worker
        reasons = (*worker.reasons(), *self._watchdog.reasons())
        lags = None if standing is None else _lags(standing, worker.progress())
        worker.health.publish(Report(reasons, self._sample(not reasons, lags)))
        status = {
            "ready": not reasons,
            "reasons": reasons,
            "lag": None if lags is None else sum(lags.values()),
            "port": worker.health.port,
        }
        with contextlib.suppress(OSError):  # a full disk: only the views on this host miss it
            write_status(worker.config.state_dir, worker.role, status | worker.status())

    def _sample(self, ready: bool, lags: Mapping[TP, int] | None) -> Sample:
        worker = self._worker
        values: defaultdict[tuple[str, ...], float] = defaultdict(float, worker.vitals.counters)
        for value in (*worker.measure(), *worker.monitor.measure()):
            values[value.metric, *value.labels] += value.value
        for tp in worker.progress():
            values["tidewatch_partitions", tp.topic] += 1
        event_ms = worker.event_ms()
        for tp, lag in (lags or {}).items():
            values["tidewatch_lag_records", tp.topic] += lag
            late_secs = time.time() - event_ms[tp] / 1000 if lag and tp in event_ms else 0.0
            known = values["tidewatch_lag_seconds", tp.topic]
            values["tidewatch_lag_seconds", tp.topic] = max(known, late_secs)
        values["tidewatch_log_lines_suppressed_total",] = LIMIT.suppressed
        values["tidewatch_ready",] = int(ready)
        values["tidewatch_build_info", __version__, worker.role, worker.config.fleet] = 1
        delays = worker.vitals.alert_delays if worker.role == "detect" else None
        return sample_of((Value(key[0], key[1:], number) for key, number in values.items()), delays)


def _lags(standing: Mapping[TP, Standing], progress: Mapping[TP, int | None]) -> dict[TP, int]:
    """Partition -> records between what is done and its end."""
    return {
        tp: max(0, view.end - done) for tp, view in standing.items() if (done := progress.get(tp)) is not None
    }
