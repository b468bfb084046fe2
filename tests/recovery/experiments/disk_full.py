"""The file system of state_dir is full while checkpoints and rows are due, and is freed again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from sinks.clickhouse_config import ClickHouseConfig
from streams.operate.status import read_status
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import tansu
from tests.recovery.rig.measure import rss_mb
from tests.recovery.rig.run import Run, offline, traffic
from tests.recovery.rig.verdict import compare
from tests.support.disks import small_file_system
from tests.support.processes import Child, eventually
from tests.support.recorded import PARTITIONS, Held, Tables, store_undisturbed

SIZE_MB: Final = 96
UNDER_WAY_RECORDS: Final = 500
"""While the traffic goes on."""
RESUME_SECS: Final = 10.0
"""Goal, on top of the wait between two tries."""


class Ballast:
    """A file that takes what is left of the file system."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._path.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free(self) -> None:
        self._path.unlink(missing_ok=True)


class _Workers:
    """A detect and a record worker with everything they keep on a small disk; their logs are elsewhere."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self._run = run
        self._stack = stack
        self._detect = run.worker(stack)
        self._record = run.worker(stack, role="record")

    def start_anew(self) -> None:
        """kill -9 both, and start them again."""
        self._detect.kill()
        self._record.kill()
        self._detect = self._run.worker(self._stack)
        self._record = self._run.worker(self._stack, role="record")

    def waiting(self) -> tuple[bool, bool]:
        """Whether detect and record last said that they cannot write."""
        return (
            _last_of(self._detect, "the checkpoint can") in ("cannot be saved", "cannot be loaded"),
            _last_of(self._record, "the store can") == "cannot be written",
        )

    def caught_up(self) -> bool:
        """Whether RECORD has stored nearly all that there is, and DECIDE can save."""
        status = read_status(self._run.config.state_dir).get(("record", self._record.pid), {})
        lag = status.get("lag")
        keeps_up = lag is not None and lag <= UNDER_WAY_RECORDS
        return status.get("ready") is True and keeps_up and not any(self.waiting())

    def end(self) -> None:
        """Stop both as a person would, RECORD when it has all that DETECT has said."""
        for worker in (self._detect, self._record):
            if worker is self._record:
                eventually(self._run.is_recorded, within_secs=60, what="all rows are stored")
            worker.send(signal.SIGTERM)
            worker.wait(20)

    def complaints(self) -> list[str]:
        return [
            f"a worker ended: {worker.output()[-300:]}"
            for worker in (self._detect, self._record)
            if not worker.running
        ]

    def rss_mb(self) -> float:
        return max(rss_mb(worker.pid) or 0.0 for worker in (self._detect, self._record))


def _last_of(worker: Child, subject: str) -> str:
    """The three words from the ``can`` or ``cannot`` of what was last said on the subject."""
    _, found, rest = worker.output().rpartition(subject)
    return " ".join(("can" + rest).split()[:3]).strip('";') if found else ""


def _judge(run: Run) -> Held:
    import chdb

    path = run.folder / "judged"  # where there is room for the same rows again
    shutil.copytree(run.config.state_dir / "clickhouse", path, symlinks=True)
    store_undisturbed(run.config, ClickHouseConfig(path=path, database="undisturbed"))
    engine = chdb.connect(str(path))
    try:
        return Tables(engine, "tidewatch").held_against(Tables(engine, "undisturbed"))
    finally:
        engine.close()


def run(scale: Scale) -> Outcome:
    rng = scale.random()
    cycles = scale.pick(2, 12)
    events = traffic(8, 8.0) if scale.short else traffic()
    stalls: list[float] = []
    failures: list[str] = []
    unsaved = 0
    with ExitStack() as stack:
        broker = stack.enter_context(tansu())
        run = Run(broker, scale.folder / "run", PARTITIONS, record={"batch_secs": 0.2})
        disk = run.config.state_dir
        stack.enter_context(small_file_system(disk, SIZE_MB))
        ballast = Ballast(disk)
        workers = _Workers(run, stack)
        # All the time: a source that falls quiet would seal what it has.
        feeder = run.send_slowly(events, cycles * scale.pick(15.0, 40.0))
        stack.callback(feeder.join)
        run.await_progress()
        for number in range(1, cycles + 1):
            ballast.fill()
            eventually(lambda: workers.waiting()[1], within_secs=60, what="RECORD says that it waits")
            time.sleep(rng.uniform(1, 3))
            if number % 2 == 0:  # and workers that start while the disk is full
                workers.start_anew()
                time.sleep(rng.uniform(2, 5))
            unsaved += workers.waiting()[0]
            ballast.free()
            began = time.monotonic()
            eventually(
                workers.caught_up,
                within_secs=90,
                what=lambda: f"both go on: {run.last_words()}",
            )
            stalls.append(time.monotonic() - began)
            failures += workers.complaints()
        if not feeder.is_alive():
            failures.append("the traffic was over before the last fault")
        feeder.join()
        run.await_end(events)
        rss = workers.rss_mb()
        verdict = compare(run.results(events), offline(events))
        failures += verdict.examples
        workers.end()
        held = _judge(run)
    if not unsaved:
        failures.append("no checkpoint met the full disk")
    if max(stalls) > RESUME_SECS:
        failures.append(f"went on only {max(stalls):.1f} s after there was space; goal {RESUME_SECS:g} s")
    return Outcome(
        runs=1,
        faults=cycles,
        lost=verdict.lost + held.lost,
        doubled=verdict.doubled + held.doubled,
        worst_stall_secs=max(stalls),
        worst_rss_mb=rss,
        notes=f"{unsaved} × also the checkpoint; {held.rows:,} rows of 7 tables",
        failures=tuple(failures),
    )


EXPERIMENTS = (
    Experiment(
        "disk-full",
        what="the file system of state_dir is full while checkpoints and rows are due; workers start on it too",
        goal="nothing lost or doubled; both say so, wait, and go on within 10 s of there being space",
        needs=("tansu", "chdb", "mount"),
        run=run,
        short_secs=45,
    ),
)
