"""Workers killed with -9: at random moments, and at every named place of the code."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from typing import Final

from streams.faultpoints import ENVIRONMENT, FAULTPOINTS
from tests.recovery.experiment import Component, Experiment, Outcome, Scale
from tests.recovery.rig.brokers import broker_of
from tests.recovery.rig.run import Run, traffic
from tests.recovery.rig.trial import END_SECS, SEGMENTS, trial, truth
from tests.recovery.rig.verdict import compare

ONCE: Final = ("decide.claimed", "decide.restored")
"""Places that a worker which gets the partials once passes once."""
REACH_SECS: Final = 60.0
"""For a worker to start, and to get to the place at which it dies."""
SLICE_RECORDS: Final = 28
"""About a second of the traffic."""
SLICE_SECS: Final = 0.4
TOPIC_STORE: Final = {"checkpoint": {"interval_secs": 0.5, "store": "topic"}}


def _at_random(scale: Scale, kind: Component, workers: int, partitions: int) -> Outcome:
    rng = scale.random()
    kills = scale.pick(4, 50)
    feed_secs = kills * 8.0
    moments = sorted(rng.uniform(3.0, feed_secs) for _ in range(kills))
    sections = TOPIC_STORE if kind == "kafka" else {}
    with (
        broker_of(kind, scale.folder) as broker,
        trial(
            broker,
            scale.folder / "run",
            minutes=scale.pick(8, 24),
            feed_secs=feed_secs,
            workers=workers,
            partitions=partitions,
            **sections,
        ) as (run, outcome),
    ):
        began = time.monotonic()
        for number, moment in enumerate(moments):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            run.kill(rng.randrange(workers))
            after = moments[number + 1] if number + 1 < kills else moment + END_SECS
            if after - moment > 15.0:  # else the next kill comes before anybody could tell
                run.await_recovery()
    return outcome[0]


def random_tansu(scale: Scale) -> Outcome:
    return _at_random(scale, "tansu", workers=1, partitions=4)


def random_kafka(scale: Scale) -> Outcome:
    return _at_random(scale, "kafka", workers=3, partitions=12)


def _at_every_point(scale: Scale, kind: Component, store: str, others: tuple[str, ...]) -> Outcome:
    """One worker after the other, each armed to die at a place; the last one ends the work."""
    rng = scale.random()
    names = [name for name in FAULTPOINTS if not name.startswith(("record.", *others))]
    passes = [1] if scale.short else [1, 2, 5]
    deaths = [(name, n) for name in names for n in passes if n == 1 or name not in ONCE]
    rng.shuffle(deaths)
    if scale.short:  # the store's own places, and some of the others
        deaths.sort(key=lambda death: not death[0].startswith(f"{store}."))
        del deaths[5:]
    minutes = scale.pick(8, 24)
    events = traffic(minutes)
    sent = 0
    failures: list[str] = []
    with broker_of(kind, scale.folder) as broker, ExitStack() as stack:
        checkpoint = {"checkpoint": {"interval_secs": 0.5, "store": store}}
        run = Run(broker, scale.folder / "run", 4, **SEGMENTS, **checkpoint)
        for name, n in deaths:
            worker = run.worker(stack, env={ENVIRONMENT: f"{name}:{n}"})
            began = time.monotonic()
            # No worker waits for input, and none is without: a source that falls quiet would seal what it has.
            while worker.running and time.monotonic() - began < REACH_SECS:
                run.send(events[sent : sent + SLICE_RECORDS])
                sent += SLICE_RECORDS
                time.sleep(SLICE_SECS)
            if worker.running:
                failures.append(f"{name}:{n} was not reached")
                worker.kill()
            elif (code := worker.wait(1)) != -signal.SIGKILL:
                failures.append(f"{name}:{n}: exit code {code}")
        if sent >= len(events):
            failures.append("the traffic was over before the last death")
        run.worker(stack)
        run.send(events[sent:])
        run.await_end(events, within_secs=END_SECS)
        verdict = compare(run.results(events), truth(minutes))
    return Outcome(
        1,
        len(deaths),
        verdict.lost,
        verdict.doubled,
        notes=f"{len({name for name, _ in deaths})} of {len(names)} places, {len(events):,} records",
        failures=(*failures, *verdict.examples),
    )


def points_sqlite(scale: Scale) -> Outcome:
    return _at_every_point(scale, "tansu", "sqlite", ("topic.",))


def points_topic(scale: Scale) -> Outcome:
    return _at_every_point(scale, "kafka", "topic", ("sqlite.",))


EXPERIMENTS = (
    Experiment(
        "kill-random-tansu",
        "kill -9 at random moments, one worker, SQLite store",
        "equality with the undisturbed run",
        ("tansu",),
        random_tansu,
    ),
    Experiment(
        "kill-random-kafka",
        "kill -9 at random moments, three workers, topic store",
        "equality with the undisturbed run",
        ("kafka",),
        random_kafka,
    ),
    Experiment(
        "kill-points-sqlite",
        "kill -9 at every named place of the code, SQLite store",
        "equality with the undisturbed run",
        ("tansu",),
        points_sqlite,
    ),
    Experiment(
        "kill-points-topic",
        "kill -9 at every named place of the code, topic store",
        "equality with the undisturbed run",
        ("kafka",),
        points_topic,
    ),
)
