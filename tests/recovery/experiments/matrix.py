"""The same input, whatever it is cut into and whichever hash seed Python has: the same results."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from streams.replay import FILE_OF_TOPIC
from streams.topics import DEADLETTERS
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import tansu
from tests.recovery.rig.outcomes import together
from tests.recovery.rig.run import MARKER_MS, Event, Run, end_ms
from tests.recovery.rig.stream import SHORT_TRAFFIC, undisturbed
from tests.recovery.rig.verdict import compare
from tests.support.processes import tidewatch

PARTITIONS: Final = (1, 4, 12)
CHUNKS: Final = (1, 7, 500)
HASH_SEEDS: Final = ("0", "1", "random")
SHORT: Final = ((12, 7, "1"), (1, 500, "random"))
FULL: Final = tuple(
    (partitions, chunk, HASH_SEEDS[(i + j) % 3])
    for i, partitions in enumerate(PARTITIONS)
    for j, chunk in enumerate(CHUNKS)
)
"""Every value of each list meets every value of the others."""


class _Cut(NamedTuple):
    partitions: int
    chunk_records: int
    hash_seed: str

    def __str__(self) -> str:
        return f"{self.partitions} partitions, chunks of {self.chunk_records}, hash seed {self.hash_seed}"


def matrix(scale: Scale) -> Outcome:
    cuts = SHORT if scale.short else FULL
    outcomes = [_replays(scale.folder)]
    outcomes += [_live(scale.folder / f"live-{n}", _Cut(*cut)) for n, cut in enumerate(cuts)]
    found = together(outcomes)
    return Outcome(found.runs, 0, found.lost, found.doubled, notes=_NOTES, failures=found.failures)


_NOTES: Final = "replays byte for byte; workers by summaries, anomalies, incidents and alerts"


def _live(folder: Path, cut: _Cut) -> Outcome:
    events = list(SHORT_TRAFFIC)
    with tansu() as broker, ExitStack() as stack:
        run = Run(
            broker,
            folder,
            cut.partitions,
            kafka={"session_timeout_secs": 3.0, "chunk_records": cut.chunk_records},
        )
        run.send(events)
        run.send_markers(end_ms(events) + MARKER_MS)
        run.worker(stack, env={"PYTHONHASHSEED": cut.hash_seed})
        run.await_end(events)
        verdict = compare(run.results(events), undisturbed(SHORT_TRAFFIC))
    failures = tuple(f"{cut}: {example}" for example in verdict.examples)
    return Outcome(1, 0, verdict.lost, verdict.doubled, failures=failures)


def _replays(folder: Path) -> Outcome:
    """`tidewatch replay` of the same file under every hash seed: its files must be equal to the byte."""
    file = folder / "events.jsonl"
    file.write_bytes(b"".join(map(_line, SHORT_TRAFFIC)))
    failures = []
    with ExitStack() as stack:
        running = {
            seed: stack.enter_context(
                tidewatch(
                    *("replay", str(file), "--output", str(folder / seed), "--json"),
                    log=folder / f"{seed}.log",
                    cwd=folder,
                    env={"PYTHONHASHSEED": seed},
                )
            )
            for seed in HASH_SEEDS
        }
        for seed, process in running.items():
            if process.wait(120):
                failures.append(f"the replay under hash seed {seed} failed: {process.output()[-200:]}")
    for name in FILE_OF_TOPIC.values():
        contents = {(folder / seed / name).read_bytes() for seed in HASH_SEEDS}
        if len(contents) != 1 or (b"" in contents and name != FILE_OF_TOPIC[DEADLETTERS]):
            failures.append(f"{name} depends on the hash seed, or is empty")
    return Outcome(len(HASH_SEEDS), 0, 0, 0, failures=tuple(failures))


def _line(event: Event) -> bytes:
    return orjson.dumps({"kind": event.stream} | orjson.loads(event.value)) + b"\n"


EXPERIMENTS = (
    Experiment(
        name="matrix",
        what="the same input in 1, 4, 12 partitions, chunks of 1, 7, 500 records, hash seeds 0, 1, random",
        goal="identical summaries, anomalies, incidents and alerts",
        needs=("tansu",),
        run=matrix,
    ),
)
