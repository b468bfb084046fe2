"""The process that owns the embedded store is killed in the middle of what the store does."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import orjson

from sinks.clickhouse_config import ClickHouseConfig
from streams.broker import die_with_parent
from streams.faultpoints import ENVIRONMENT, FAULTPOINTS
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import tansu
from tests.recovery.rig.run import Run
from tests.support.brokers import send_in_order
from tests.support.processes import eventually
from tests.support.recorded import (
    PARTITIONS,
    Expected,
    Held,
    Tables,
    recorded_traffic,
    store_undisturbed,
)
from tests.support.store_writer import ROWS

OPEN_SECS: Final = 5.0
OPERATIONS: Final = ("insert", "merge", "delete")
DEATHS: Final = tuple(f"{name}:{n}" for name in FAULTPOINTS if name.startswith("record.") for n in (1, 2))
"""Places of the record worker, and at which pass it dies there."""


class _Ledger:
    """What a store must hold, from what its writers said before they were killed."""

    def __init__(self) -> None:
        self.acknowledged: set[int] = set()
        self.erased: set[int] = set()
        self.unsure: set[int] = set()
        """Batches whose insert or delete was not acknowledged: all there, or nothing."""
        self.inserting: list[int] = []
        self.next_number = 0
        self.lost = 0
        self.doubled = 0
        self.failures: list[str] = []
        self.worst_open_secs = 0.0
        self.opened = 0
        self.written_unacknowledged = 0

    def said(self, line: dict[str, Any]) -> None:
        number = line.get("number", -1)
        match line.get("begin"), line.get("done"):
            case "insert", _:
                self.next_number = max(self.next_number, number + 1)
                self.unsure.add(number)
                self.inserting = [number]
            case "delete", _:
                self.acknowledged.discard(number)
                self.unsure.add(number)
            case _, "insert":
                self.unsure.discard(number)
                self.acknowledged.add(number)
                self.inserting = []
            case _, "delete":
                self.unsure.discard(number)
                self.erased.add(number)

    def found(self, line: dict[str, Any]) -> None:
        """Hold what a new process found against what must be there."""
        final = {int(user): count for user, count in line["found"].items()}
        self.opened += 1
        self.worst_open_secs = max(self.worst_open_secs, line["open_secs"])
        self.lost += sum(ROWS - final.get(number, 0) for number in self.acknowledged)
        self.lost += sum(count for number, count in final.items() if number in self.erased)
        self.doubled += sum(max(0, count - ROWS) for count in line["raw"].values())
        if torn := [number for number, count in final.items() if count != ROWS]:
            self.failures.append(f"batch {torn[0]} is there in part: {final[torn[0]]} of {ROWS} rows")
        self.written_unacknowledged += sum(number in final for number in self.inserting)


def _kill_writers(folder: Path, rng: random.Random, kills: int) -> tuple[_Ledger, Counter[str]]:
    ledger = _Ledger()
    killed_in: Counter[str] = Counter()
    longest_secs = dict.fromkeys(OPERATIONS, 0.02)
    for kill in range(kills + 1):
        arguments = [
            str(folder),
            str(rng.randrange(1 << 30)),
            str(ledger.next_number),
            *map(str, ledger.inserting),
        ]
        with subprocess.Popen(
            [sys.executable, "-m", "tests.support.store_writer", *arguments],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),
        ) as writer:
            lines = _lines(writer)
            ledger.found(next(lines))
            if kill < kills:
                target = OPERATIONS[kill % len(OPERATIONS)]
                killed_in[_kill_within(writer, lines, ledger, target, rng, longest_secs)] += 1
            writer.kill()
            for line in lines:  # what was said before the end
                ledger.said(line)
    return ledger, killed_in


def _kill_within(
    writer: subprocess.Popen[bytes],
    lines: Iterator[dict[str, Any]],
    ledger: _Ledger,
    target: str,
    rng: random.Random,
    longest_secs: dict[str, float],
) -> str:
    """Kill the writer at a random moment of an operation of the kind; what it was doing by then."""
    wait = rng.randrange(2, 6)
    began = 0.0
    for line in lines:
        ledger.said(line)
        if line.get("done") == target:
            longest_secs[target] = max(longest_secs[target], min(time.monotonic() - began, 0.5))
        if line.get("begin") == target:
            began = time.monotonic()
            wait -= 1
            if wait <= 0:
                time.sleep(rng.uniform(0, longest_secs[target]))
                writer.kill()
                return target
    raise RuntimeError(f"the writer ended by itself with code {writer.wait()}")


def _lines(writer: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    assert writer.stdout is not None
    for line in writer.stdout:
        if line.endswith(b"\n"):
            yield orjson.loads(line)


def _kill_workers(
    folder: Path, ends: Sequence[str | None], rng: random.Random, minutes: int, per_sec: float
) -> Held:
    """The real record worker with the embedded store, killed while it works: at a place, or at random (None)."""
    import chdb

    places = recorded_traffic(minutes, per_sec)
    expected = Expected()
    expected.add(places)
    with ExitStack() as stack:
        broker = stack.enter_context(tansu())
        run = Run(
            broker,
            folder,
            PARTITIONS,
            record={"batch_secs": 0.1, "batch_rows": 500},
            monitoring={"restarts": 100},  # an alert about the kills would be a row that nobody sent
        )
        size = len(places) // (len(ends) + 1) + 1
        for number, end in enumerate(ends):
            worker = run.worker(stack, role="record", env={ENVIRONMENT: end} if end else None)
            asyncio.run(send_in_order(run.config, places[number * size : (number + 1) * size]))
            if end is None:
                eventually(
                    lambda pid=worker.pid: _rows(run, pid) > 0,  # type: ignore[misc]
                    within_secs=120,
                    what="the worker stores rows",
                )
                time.sleep(rng.uniform(0, 0.5))
                worker.kill()
            elif (code := worker.wait(120)) != -signal.SIGKILL:
                raise RuntimeError(f"{end}: exit code {code}")
        worker = run.worker(stack, role="record")
        asyncio.run(send_in_order(run.config, places[len(ends) * size :]))
        eventually(run.is_recorded, within_secs=120, what="the worker catches up")
        worker.end()
        store_undisturbed(
            run.config, ClickHouseConfig(path=run.config.state_dir / "clickhouse", database="undisturbed")
        )
        engine = chdb.connect(str(run.config.state_dir / "clickhouse"))
        stack.callback(engine.close)
        tables = Tables(engine, "tidewatch")
        if tables.distinct() != expected.rows:
            raise RuntimeError(f"stored {tables.distinct()}; sent {expected.rows}")
        return tables.held_against(Tables(engine, "undisturbed"))


def _status(run: Run, pid: int) -> dict[str, Any]:
    try:
        found: dict[str, Any] = orjson.loads(
            (run.config.state_dir / "status" / f"record-{pid}.json").read_bytes()
        )
    except OSError:
        return {}
    return found


def _rows(run: Run, pid: int) -> int:
    return int(_status(run, pid).get("rows", 0))


def run(scale: Scale) -> Outcome:
    rng = scale.random()
    ledger, killed_in = _kill_writers(scale.folder / "direct", rng, scale.pick(3, 100))
    ends = [None, rng.choice(DEATHS)] if scale.short else [*[None] * 20, *DEATHS]
    rng.shuffle(ends)
    held = _kill_workers(scale.folder / "worker", ends, rng, scale.pick(8, 24), 8.0 if scale.short else 25.0)
    failures = list(ledger.failures)
    if ledger.worst_open_secs > OPEN_SECS:
        failures.append(f"opened only after {ledger.worst_open_secs:.1f} s; goal {OPEN_SECS:g} s")
    where = ", ".join(f"{count} × {what}" for what, count in sorted(killed_in.items()))
    return Outcome(
        runs=2,
        faults=killed_in.total() + len(ends),
        lost=ledger.lost + held.lost,
        doubled=ledger.doubled + held.doubled,
        worst_stall_secs=ledger.worst_open_secs,
        notes=(
            f"killed within {where}, and {len(ends)} × the record worker; the stall is opening the store; "
            f"{ledger.written_unacknowledged} batches were stored and not acknowledged, repeated and stored once"
        ),
        failures=tuple(failures),
    )


EXPERIMENTS = (
    Experiment(
        "chdb-kill",
        what="the owner of the embedded store is killed -9 within inserts, merges and deletes",
        goal="no acknowledged row lost, no batch in part, open again within 5 s",
        needs=("tansu", "chdb"),
        run=run,
        short_secs=30,
    ),
)
