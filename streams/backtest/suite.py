"""Many branches in a pool of processes; what is done is kept, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.backtest.branch import Result, run_branch
from streams.backtest.jobs import Job
from streams.backtest.warmup import Snapshots, WarmUp, code_key
from streams.config import Config
from streams.pools import pool_of

_DECODER: Final = msgspec.json.Decoder(Result)


class Settings(NamedTuple):
    """How a suite is run."""

    warm_up: WarmUp
    max_days: float
    """The longest branch."""
    processes: int
    folder: Path
    """Where snapshots and journals are kept."""
    fresh: bool
    """Do not use what an earlier run has left."""


def run_suite(
    config: Config,
    jobs: Sequence[Job],
    settings: Settings,
    warming: Callable[[float], None],
    done: Callable[[Result], None],
) -> list[Result]:
    """The results of all jobs, in their order. ``done`` hears of each as it comes, also of those of an earlier run.

    Raises:
        OSError: the folder cannot be used.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    path = journal_path(config, settings)
    if settings.fresh:
        path.unlink(missing_ok=True)
    found: dict[Job, Result] = {}
    for result in read_journal(path):
        if result.job in jobs and result.job not in found:
            found[result.job] = result
            done(result)
    left = [job for job in jobs if job not in found]
    if left:
        snapshots = Snapshots(settings.folder, config, settings.warm_up)
        snapshots.make(warming, fresh=settings.fresh)
        with path.open("ab") as journal:
            journal.write(b"\n")  # a line that was cut off stays alone
            for result in _branches(config, settings, snapshots, left):
                journal.write(msgspec.json.encode(result) + b"\n")
                journal.flush()
                found[result.job] = result
                done(result)
    return [found[job] for job in jobs]


def journal_path(config: Config, settings: Settings) -> Path:
    """Where the results of this program with these settings are kept."""
    digest = hashlib.blake2b(code_key(config).encode(), digest_size=12)
    digest.update(repr((settings.warm_up, settings.max_days)).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return settings.folder / f"results-{digest.hexdigest()}.jsonl"


def read_journal(path: Path) -> Iterator[Result]:
    """What is there; a last line that was cut off by a kill is passed over."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield _DECODER.decode(line)
        except msgspec.MsgspecError:
            continue


def _branches(
    config: Config, settings: Settings, snapshots: Snapshots, jobs: Sequence[Job]
) -> Iterator[Result]:
    run = partial(run_branch, config, settings.warm_up, snapshots, settings.max_days)
    if settings.processes == 1 or len(jobs) == 1:
        yield from map(run, jobs)
        return
    processes = min(settings.processes, len(jobs))
    with pool_of(processes) as pool:
        waiting: set[Future[Result]] = {pool.submit(run, job) for job in jobs}
        try:
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
