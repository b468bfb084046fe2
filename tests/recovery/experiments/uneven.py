"""One input partition comes in slowly, the others are there at once: what waits for it in DECIDE has a bound."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from streams.aggregating import INBOX_CHUNKS
from streams.app import QUEUED_CHUNKS
from streams.operate.status import read_status
from tests.recovery.experiment import Component, Experiment, Outcome, Scale
from tests.recovery.rig.brokers import broker_of
from tests.recovery.rig.measure import Usage
from tests.recovery.rig.run import Event, Run, traffic
from tests.recovery.rig.sampler import Sampler
from tests.recovery.rig.trial import END_SECS, SEGMENTS, truth
from tests.recovery.rig.verdict import compare

AHEAD: Final = 12
"""Windows that a partition may be ahead; what is in hand then is worked on, and adds some."""
CHUNK_RECORDS: Final = 5
IN_HAND: Final = CHUNK_RECORDS * (4 + QUEUED_CHUNKS + INBOX_CHUNKS + 1)
"""Records of one partition, if all is its: a fetch, Faust's queue, the inbox, and what is being worked on."""
SLOW: Final = 0
"""The partition of interactions and feedback that is behind."""


class _Waiting(Sampler):
    """The most windows that waited in DECIDE, and partitions that were held; as the workers say."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("waiting", 0.2)
        self._state_dir = state_dir
        self.pending = 0
        self.held = 0

    def _watch(self) -> None:
        while not self._over.wait(self._every_secs):
            said = [status for (role, _), status in read_status(self._state_dir).items() if role == "detect"]
            pending = [status["decide"]["windows_pending"] for status in said if status.get("decide")]
            self.pending = max(self.pending, *pending, 0)
            self.held = max(self.held, sum(status.get("held", 0) for status in said))


def _uneven(scale: Scale, kind: Component, workers: int, partitions: int) -> Outcome:
    minutes = scale.pick(8, 24)
    events = traffic(minutes)
    # The beginning comes evenly: by then it is known how far DECIDE is.
    beginning = len(events) // 8
    sections = {
        "limits": {"windows_ahead": AHEAD},
        "kafka": {"session_timeout_secs": 3.0, "chunk_records": CHUNK_RECORDS},
    }
    with (
        broker_of(kind, scale.folder) as broker,
        ExitStack() as stack,
    ):
        run = Run(broker, scale.folder / "run", partitions, **SEGMENTS, **sections)
        children = [run.worker(stack) for _ in range(workers)]
        usage = stack.enter_context(Usage(lambda: [child.pid for child in children]))
        waiting = stack.enter_context(_Waiting(run.config.state_dir))
        run.send_slowly(events[:beginning], 6.0).join()
        slow, others = _apart(run, events[beginning:])
        # Never quiet for long: it would be idle, and its windows sealed.
        feeder = run.send_slowly(slow, scale.pick(15, 120))
        run.send(others)
        feeder.join()
        run.await_end(events, within_secs=END_SECS)
        verdict = compare(run.results(events), truth(minutes))
        failures = [f"a worker ended: {child.log.name}" for child in children if not child.running]
    failures += verdict.examples
    most = AHEAD + _windows_in_hand(run, events)
    if waiting.pending > most:
        failures.append(f"{waiting.pending} windows waited, at most {most} should")
    if not waiting.held:
        failures.append("no partition was held: nothing was shown")
    return Outcome(
        runs=1,
        faults=1,
        lost=verdict.lost,
        doubled=verdict.doubled,
        worst_rss_mb=usage.worst_rss_mb,
        notes=f"{len(events):,} records; at most {waiting.pending} windows waited (bound {most}), "
        f"{waiting.held} partitions held",
        failures=tuple(failures),
    )


def _windows_in_hand(run: Run, events: Sequence[Event]) -> int:
    """The most windows that ``IN_HAND`` records of one partition span."""
    times: dict[tuple[str, int], list[int]] = {}
    for event in events:
        if event.stream != "change":
            times.setdefault(run.place(event)[:2], []).append(event.at_ms)
    spans_ms = [
        later - at_ms
        for of_one in times.values()
        for at_ms, later in zip(sorted(of_one), sorted(of_one)[IN_HAND:], strict=False)
    ]
    return max(spans_ms) // run.config.base_window_ms + 1


def _apart(run: Run, events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
    """What is in the slow partition, and the rest."""
    parts: tuple[list[Event], list[Event]] = ([], [])
    for event in events:
        slow = event.stream == "interaction" and run.place(event)[1] == SLOW
        parts[not slow].append(event)
    return parts


def uneven_tansu(scale: Scale) -> Outcome:
    return _uneven(scale, "tansu", workers=1, partitions=4)


def uneven_kafka(scale: Scale) -> Outcome:
    return _uneven(scale, "kafka", workers=3, partitions=12)


EXPERIMENTS = (
    Experiment(
        "uneven-tansu",
        "one input partition comes in slowly, the others are there at once; one worker",
        "equality with the undisturbed run; what waits in DECIDE has a bound",
        ("tansu",),
        uneven_tansu,
    ),
    Experiment(
        "uneven-kafka",
        "one input partition comes in slowly, the others are there at once; three workers",
        "equality with the undisturbed run; what waits in DECIDE has a bound",
        ("kafka",),
        uneven_kafka,
    ),
)
