"""Workers that are paused until others have taken their work, and go on as zombies; workers asked to stop."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path
from typing import Final

from streams.topics import SUMMARIES
from tests.recovery.experiment import Component, Experiment, Outcome, Scale
from tests.recovery.rig.brokers import broker_of
from tests.recovery.rig.outcomes import together
from tests.recovery.rig.run import SECTIONS
from tests.recovery.rig.trial import Trial, trial

SESSION_SECS: Final[float] = SECTIONS["kafka"]["session_timeout_secs"]
STOP_SECS: Final = 10.0


def _zombies(folder: Path, kind: Component, store: str, minutes: int, pauses: int) -> Outcome:
    with (
        broker_of(kind, folder) as broker,
        trial(
            broker,
            folder / "run",
            minutes=minutes,
            feed_secs=pauses * (2 * SESSION_SECS + 12.0) + 10.0,
            workers=2,
            checkpoint={"interval_secs": 0.5, "store": store},
        ) as (run, outcome),
    ):
        run.await_progress()
        for number in range(pauses):
            paused = run.workers[number % 2]
            paused.send(signal.SIGSTOP)
            run.faults += 1
            time.sleep(2 * SESSION_SECS)
            run.await_recovery()  # by the other one
            paused.send(signal.SIGCONT)
            run.await_progress()
    return outcome[0]


def zombies_tansu(scale: Scale) -> Outcome:
    return _zombies(scale.folder, "tansu", "sqlite", scale.pick(8, 24), scale.pick(1, 10))


def zombies_kafka(scale: Scale) -> Outcome:
    stores = ("topic",) if scale.short else ("topic", "sqlite")
    return together(
        [_zombies(scale.folder / s, "kafka", s, scale.pick(8, 24), scale.pick(1, 10)) for s in stores]
    )


def sigterm(scale: Scale) -> Outcome:
    """What was closed before a stop is not said again after it, and no committed offset goes back."""
    rng = scale.random()
    stops = scale.pick(2, 20)
    # At most from one to the next: a stop after the traffic is over would meet a worker with nothing to do.
    every_secs = scale.pick(8.0, 16.0)
    with (
        broker_of("tansu", scale.folder) as broker,
        trial(broker, scale.folder / "run", minutes=scale.pick(8, 24), feed_secs=stops * every_secs) as (
            run,
            outcome,
        ),
    ):
        slowest_secs = 0.0
        before: dict[tuple[str, int], int] = {}
        for _ in range(stops):
            run.await_progress()
            time.sleep(rng.uniform(0.0, 2.0))
            took_secs, code = run.stop(within_secs=60.0)
            slowest_secs = max(slowest_secs, took_secs)
            if code != 0 or took_secs > STOP_SECS:
                run.failures.append(f"SIGTERM: exit code {code} after {took_secs:.1f} s")
            committed = run.run.committed()
            run.failures += [f"{tp} went back" for tp in before if committed[tp] < before[tp]]
            before = committed
        run.notes.append(f"slowest stop {slowest_secs:.1f} s")
        run.at_end.append(partial(_said_once, run))
    return outcome[0]


def _said_once(run: Trial) -> None:
    said = run.run.read(SUMMARIES)
    if repeats := len(said) - len(set(said)):
        run.failures.append(f"{repeats} records of summaries said again after a stop")


EXPERIMENTS = (
    Experiment(
        "zombie-tansu",
        "SIGSTOP for two session time-outs, takeover, SIGCONT; SQLite store",
        "equality",
        ("tansu",),
        zombies_tansu,
    ),
    Experiment(
        "zombie-kafka",
        "SIGSTOP for two session time-outs, takeover, SIGCONT; both stores",
        "equality",
        ("kafka",),
        zombies_kafka,
    ),
    Experiment(
        "sigterm",
        "SIGTERM under load",
        "exit code 0 within 10 s; nothing that was committed is worked on again",
        ("tansu",),
        sigterm,
    ),
)
