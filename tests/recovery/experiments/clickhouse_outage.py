"""ClickHouse goes away in every way that a network and a server have, while RECORD writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import tansu
from tests.recovery.rig.measure import Usage
from tests.recovery.rig.proxy import SERVICE_UNAVAILABLE, Proxy
from tests.recovery.rig.run import Run
from tests.support.brokers import Broker, send_in_order
from tests.support.clickhouse import Front, chdb_over_http
from tests.support.processes import eventually
from tests.support.recorded import (
    PARTITIONS,
    Expected,
    Held,
    Place,
    Tables,
    recorded_traffic,
    store_undisturbed,
)

RESUME_SECS: Final = 10.0
MEMORY_MB: Final = 150.0
"""What an outage may add to the worker's memory, however long it is."""
READ_TIMEOUT_SECS: Final = 2


class Outage(NamedTuple):
    """A way to be away; ``faults`` counts what it did to requests, where the proxy does not."""

    name: str
    begin: Callable[[Proxy, Front], None]


def _hang_after_storing(proxy: Proxy, front: Front) -> None:
    front.fault = "hang_after"


OUTAGES: Final = (
    Outage("refused", lambda proxy, front: proxy.refuse()),
    Outage("cut after the body", lambda proxy, front: proxy.lose_answers()),
    Outage("hanging", lambda proxy, front: proxy.hang()),
    Outage("503", lambda proxy, front: proxy.answer(SERVICE_UNAVAILABLE)),
    Outage("stored, and no answer", _hang_after_storing),
    Outage("cut within the body", lambda proxy, front: proxy.cut_after(3_000)),
)


class Recording:
    """A record worker that reaches ``front`` through ``proxy``."""

    def __init__(self, broker: Broker, folder: Path, front: Front, port: int, database: str) -> None:
        self.front = front
        self.tables = Tables(front.engine, database)
        self.run = Run(
            broker,
            folder,
            PARTITIONS,
            clickhouse={
                "interface": "http",
                "port": port,
                "database": database,
                "read_timeout_secs": READ_TIMEOUT_SECS,
            },
            record={"batch_secs": 0.2},
        )

    def send(self, places: list[Place]) -> None:
        asyncio.run(send_in_order(self.run.config, places))

    def await_rows(self, expected: Expected, within_secs: float) -> float:
        """Wait until every table has the rows; returns how long it took."""
        began = time.monotonic()
        try:
            eventually(lambda: self._stored() >= expected.total, within_secs=within_secs)
        except AssertionError:
            raise AssertionError(
                f"{self._stored()} rows are stored, not {expected.rows}; the worker said: {self.run.last_words()}"
            ) from None
        return time.monotonic() - began

    def _stored(self) -> int:
        try:
            return sum(self.tables.distinct().values())
        except RuntimeError:  # no tables yet
            return 0


def run(scale: Scale) -> Outcome:
    rng = scale.random()
    cycles = scale.pick(len(OUTAGES), 4 * len(OUTAGES))
    backlog = scale.pick(0, 60_000)
    places = recorded_traffic(scale.pick(8, 24), 8.0 if scale.short else 25.0)
    size = len(places) // (cycles + 1)
    slices = [places[n * size : (n + 1) * size if n < cycles else None] for n in range(cycles + 1)]
    expected = Expected()
    stalls: list[float] = []
    failures: list[str] = []
    with ExitStack() as stack:
        broker = stack.enter_context(tansu())
        front = stack.enter_context(chdb_over_http(scale.folder / "engine"))
        proxy = stack.enter_context(Proxy(front.config.server_port))
        recording = Recording(broker, scale.folder / "disturbed", front, proxy.port, "disturbed")
        proxy.refuse()  # away already when the worker starts
        worker = recording.run.worker(stack, role="record")
        usage = stack.enter_context(Usage(lambda: [worker.pid]))
        recording.send(slices[0])
        expected.add(slices[0])
        time.sleep(rng.uniform(1, 2))
        proxy.restore()
        recording.await_rows(expected, 60)
        calm_mb = usage.worst_rss_mb
        for number in range(cycles):
            outage = OUTAGES[number % len(OUTAGES)]
            outage.begin(proxy, front)
            recording.send(slices[number + 1])
            expected.add(slices[number + 1])
            time.sleep(rng.uniform(0.5, 1.5) if scale.short else rng.uniform(2, 8))
            _end(proxy, front)
            stalls.append(recording.await_rows(expected, 60))
        if backlog:
            proxy.refuse()
            more = _more(backlog)
            recording.send(more)
            expected.add(more)
            time.sleep(15)
            _end(proxy, front)
            recording.await_rows(expected, 120)
        if not worker.running:
            failures.append("the worker ended")
        held = _judge(front, recording)
    if max(stalls) > RESUME_SECS:
        failures.append(f"all caught up only {max(stalls):.1f} s after an outage; goal {RESUME_SECS:g} s")
    grown_mb = usage.worst_rss_mb - calm_mb
    if grown_mb > MEMORY_MB:
        failures.append(f"memory grew by {grown_mb:.0f} MB; goal {MEMORY_MB:g} MB")
    return Outcome(
        runs=1,
        faults=cycles + 1 + bool(backlog),
        lost=held.lost,
        doubled=held.doubled + held.repeats,
        worst_stall_secs=max(stalls),
        worst_rss_mb=usage.worst_rss_mb,
        notes=f"{held.rows:,} rows of 7 tables; memory grew by {max(0.0, grown_mb):.0f} MB",
        failures=tuple(failures),
    )


def _end(proxy: Proxy, front: Front) -> None:
    front.fault = None
    proxy.restore()


def _more(records: int) -> list[Place]:
    """Small interactions, many."""
    return [
        (
            "llm.interactions",
            n % PARTITIONS,
            b'{"event_id":"more-%d","occurred_at":1790000000000,"model_requested":"m"}' % n,
        )
        for n in range(records)
    ]


def _judge(front: Front, recording: Recording) -> Held:
    """The tables held against the same records stored once."""
    store_undisturbed(
        recording.run.config,
        front.config.model_copy(update={"database": "undisturbed", "read_timeout_secs": 60}),
    )
    return recording.tables.held_against(Tables(front.engine, "undisturbed"))


EXPERIMENTS = (
    Experiment(
        "clickhouse-outage",
        what="ClickHouse refuses, hangs, answers 503, or is cut off within and after the body of an insert",
        goal="nothing lost or doubled; caught up within 10 s of the end; memory bounded",
        needs=("tansu", "chdb"),
        run=run,
        short_secs=40,
    ),
)
