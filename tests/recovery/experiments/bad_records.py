"""Records that are no records, mutated by the million into the decoders."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from itertools import islice
from typing import Final, get_args

from streams.deadletters import dead_letter, encode_dead_letter
from streams.decode import Chunk, decode_chunk
from streams.diagnosis import Reason
from streams.events import STREAMS, Event, Stream
from streams.messages import LocalRecord
from streams.topics import TOPIC_OF_STREAM
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.measure import rss_mb
from tests.recovery.rig.mutations import mutated
from tests.recovery.rig.run import START_MS, traffic

NOW_MS: Final = START_MS + 86_400_000
LONGEST_SECS: Final = 0.005
GROWTH_MB: Final = 64.0


def fuzz(scale: Scale) -> Outcome:
    """Mutated records into the decoders of all three topics: a record or a dead letter, soon, each time."""
    records = scale.pick(30_000, 1_000_000)
    seeds = [event.value for event in traffic(4) if len(event.value) > 2]
    reasons: Counter[str] = Counter()
    failures: list[str] = []
    slowest, slowest_reason = 0.0, ""
    before = rss_mb(os.getpid()) or 0.0
    gc.collect()
    gc.freeze()  # else a collection of all that this process holds would count for the record it falls on
    for at, value in enumerate(islice(mutated(seeds, scale.random()), records)):
        stream = STREAMS[at % len(STREAMS)]
        record = LocalRecord(TOPIC_OF_STREAM[stream], 0, at, value)
        try:
            chunk, letters, took = _timed(stream, record)
            if took > LONGEST_SECS:  # the processor may have been taken away: what counts is what it needs
                took = min(_timed(stream, record)[2] for _ in range(3))
        except Exception as error:
            failures.append(f"record {at} as {stream}: {type(error).__name__}")
            continue
        if len(chunk.events) + len(letters) + len(chunk.empty) != 1:
            failures.append(f"record {at} as {stream}: neither a record nor a letter")
        outcome = chunk.bad[0][1].reason if chunk.bad else "empty" if chunk.empty else "record"
        reasons[outcome] += 1
        if took > slowest:
            slowest, slowest_reason = took, f"{outcome}, {len(value)} bytes"
    gc.unfreeze()
    growth = (rss_mb(os.getpid()) or 0.0) - before
    if unknown := reasons.keys() - {"record", *get_args(Reason)}:
        failures.append(f"reasons that are none: {sorted(unknown)}")
    if slowest > LONGEST_SECS:
        failures.append(f"the slowest took {slowest * 1000:.1f} ms ({slowest_reason})")
    if growth > GROWTH_MB:
        failures.append(f"memory grew by {growth:.0f} MB")
    common = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    return Outcome(
        runs=1,
        faults=records,
        lost=0,
        doubled=0,
        notes=f"slowest {slowest * 1000:.1f} ms of CPU, memory +{growth:.0f} MB; {common}",
        failures=tuple(failures[:10]),
    )


def _timed(stream: Stream, record: LocalRecord) -> tuple[Chunk[Event], list[bytes], float]:
    """What becomes of a record: the decoded chunk, its letters, and the CPU seconds of both."""
    began = time.thread_time()
    chunk = decode_chunk(stream, (record,), NOW_MS)
    letters = [encode_dead_letter(dead_letter(record, bad, stream)) for _, bad in chunk.bad]
    return chunk, letters, time.thread_time() - began


EXPERIMENTS = (
    Experiment(
        "decoder-fuzz",
        "mutated records into the decoders of all three topics",
        "a record or a dead letter each, none slower than 5 ms, no memory kept",
        (),
        fuzz,
        short_secs=15,
    ),
)
