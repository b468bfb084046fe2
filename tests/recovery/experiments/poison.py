"""One record in ten is malformed: what a worker still manages, and what becomes of the bad ones."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from streams.deadletters import RATE_CAPPED, DeadLetter, decode_dead_letter
from streams.decode import decode_chunk
from streams.messages import LocalRecord
from streams.simulate.traffic import TrafficSpec, generate
from streams.topics import DEADLETTERS, INTERACTIONS, PARTIALS
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import tansu
from tests.recovery.rig.mutations import mutated
from tests.recovery.rig.run import MARKER_MS, START_MS, Event, Run, end_ms, offline
from tests.recovery.rig.verdict import Results, Verdict, compare, total
from tests.support.brokers import log_size
from tests.support.processes import eventually

EVERY: Final = 10
NOW_MS: Final = START_MS + 86_400_000
PARTITIONS: Final = 2
SOURCES: Final = 2 * PARTITIONS + 1
"""Partitions of all input topics."""
KEPT_RATIO: Final = 0.8
KAFKA: Final = {"session_timeout_secs": 6.0}
"""And the chunks of the product."""
END_SECS: Final = 300.0
"""For the backlog, on a machine that has other work."""
BAD_RECORDS: Final = 5_000


class _Round(NamedTuple):
    cpu_secs: float
    """Of the worker, until the last window is closed; without its start."""
    found: Results
    letters: list[DeadLetter]


def poison(scale: Scale) -> Outcome:
    """Rounds with and without bad records take turns, each with a worker and a broker of its own.

    Throughput is records for each second of processor time: the worker is bound by it, and other work of the
    machine does not count. The short version has too few records for that: it looks at the results.
    """
    clean = _traffic(*scale.pick((60, 2_000), (240, 120_000)))
    spoilt = _spoilt(clean, scale)
    truths = {
        "clean": _judged(offline(clean, now_ms=NOW_MS)),
        "spoilt": _judged(offline(spoilt, now_ms=NOW_MS)),
    }
    spent: dict[str, list[float]] = {"clean": [], "spoilt": []}
    verdicts: list[Verdict] = []
    rounds = scale.pick(1, 3)
    own = 0
    for number in range(rounds):
        for name, events in (("clean", clean), ("spoilt", spoilt))[scale.short :]:
            done = _round(events, scale.folder / f"{name}-{number}")
            spent[name].append(done.cpu_secs)
            verdicts.append(compare(done.found, truths[name]))
            verdicts.append(_accounted(events, done.letters))
            own = sum(letter.reason != RATE_CAPPED for letter in done.letters)
    verdict = total(verdicts)
    bad = len(clean) // EVERY
    failures = list(verdict.examples)
    notes = [
        f"of {bad:,} bad records {own:,} have a letter of their own, the rest are counted in shared ones"
    ]
    if not scale.short:
        ratio = min(spent["clean"]) / min(spent["spoilt"])
        per_sec = len(clean) / min(spent["clean"])
        notes.append(
            f"{ratio:.2f} of the clean throughput "
            f"({per_sec:,.0f} records a second of processor time, best of {rounds})"
        )
        if ratio < KEPT_RATIO:
            failures.append(f"{ratio:.2f} of the clean throughput")
    return Outcome(
        runs=len(verdicts) // 2,
        faults=rounds * bad,
        lost=verdict.lost,
        doubled=verdict.doubled,
        notes="; ".join(notes),
        failures=tuple(failures),
    )


def _judged(found: Results) -> Results:
    """Without the letters, whose cap counts by partition: they are held against the records themselves."""
    return Results({topic: rows for topic, rows in found.rows.items() if topic != DEADLETTERS})


def _accounted(events: Sequence[Event], letters: Sequence[DeadLetter]) -> Verdict:
    """Bad records without a letter, and those in several."""
    ends: Counter[int] = Counter()
    covered: Counter[tuple[int, int]] = Counter()
    for event in events:
        partition = crc32(event.key) % PARTITIONS
        if _refused(event.value):
            covered[partition, ends[partition]] = 0
        ends[partition] += 1
    wrong = 0
    for letter in letters:
        offsets = range(letter.source_offset, letter.source_offset_last + 1)
        places = [place for offset in offsets if (place := (letter.source_partition, offset)) in covered]
        wrong += abs(letter.count - len(places))
        covered.update(places)
    lost = sum(times == 0 for times in covered.values())
    doubled = sum(times > 1 for times in covered.values()) + wrong
    return Verdict(lost, doubled, ("bad records are not accounted for",) if lost or doubled else ())


def _traffic(secs: int, sessions: int) -> list[Event]:
    """Long enough for the work to outweigh how the processor time of a start varies."""
    spec = TrafficSpec(START_MS, secs, sessions / secs, seed=2)
    events = (e for batch in generate(spec) for e in batch if e.stream == "interaction")
    return [Event(e.kind, e.key, e.occurred_at_ms, e.value) for e in events]


def _spoilt(clean: Sequence[Event], scale: Scale) -> list[Event]:
    """Every tenth replaced by a mutation that is no record."""
    rng = scale.random()
    values = [event.value for event in clean]
    bad = [value for value in islice(mutated(values, rng), BAD_RECORDS) if _refused(value)]
    return [
        event._replace(value=rng.choice(bad)) if at % EVERY == EVERY - 1 else event
        for at, event in enumerate(clean)
    ]


def _refused(value: bytes) -> bool:
    return bool(decode_chunk("interaction", (LocalRecord(INTERACTIONS, 0, 0, value),), NOW_MS).bad)


def _round(events: Sequence[Event], folder: Path) -> _Round:
    """A backlog is worked off: as it comes, how records are cut into chunks would count as well."""
    with ExitStack() as stack:
        run = Run(stack.enter_context(tansu()), folder, PARTITIONS, kafka=KAFKA)
        started = run.worker(stack)
        eventually(
            lambda: asyncio.run(log_size(run.config, PARTIALS)) >= SOURCES,
            within_secs=60,
            what="every input partition is announced",
        )
        start_secs = _cpu_secs(started.pid)
        started.end()
        run.send(events)
        run.send_markers(end_ms(events) + MARKER_MS)
        worker = run.worker(stack)
        run.await_end(events, within_secs=END_SECS)
        cpu_secs = _cpu_secs(worker.pid) - start_secs
        letters = [decode_dead_letter(value) for value in run.read(DEADLETTERS)]
        return _Round(cpu_secs, _judged(run.results(events)), letters)


def _cpu_secs(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


EXPERIMENTS = (
    Experiment(
        "poison",
        "one record in ten is malformed",
        "equal results, a dead letter for every bad record, at 80 % of the clean throughput",
        ("tansu",),
        poison,
        short_secs=40,
    ),
)
