"""Producers whose clocks are wrong, on Apache Kafka, which stamps what it appends: nobody else notices.

The traffic is live: everybody else's records are sent when they occur, shuffled by less than the allowed lateness.
What the results must be is computed from the log: a record that claims to be from the future counts at the time
at which it was appended, one from the past does not count.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer

from streams.client import producer_settings
from streams.config import Config
from streams.partials import Watermark, decode_log_record
from streams.topics import ALERTS, DEADLETTERS, INTERACTIONS, PARTIALS, SUMMARIES
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import kafka
from tests.recovery.rig.outcomes import counts
from tests.recovery.rig.run import Event, Run, offline
from tests.recovery.rig.stream import LongTraffic
from tests.recovery.rig.verdict import RESULTS, Results, compare, results
from tests.support.brokers import log_size, read_all, send_in_order
from tests.support.processes import eventually

JUDGED: Final = tuple(topic for topic in RESULTS if topic != DEADLETTERS)
PARTITIONS: Final = 4
START_DELAY_SECS: Final = 2.0
"""Everybody's way to the broker: no honest record is stamped with a time before it occurred."""
BAD_SHARE: Final = 0.02
"""Records of each wrong clock, for one honest one."""
CENTURY_MS: Final = 100 * 365 * 86_400_000
HOUR_MS: Final = 3_600_000
MINUTES_AHEAD_MS: Final = 240_000
"""Less than what is refused: such a record counts, at the broker's time."""


class _Clock(NamedTuple):
    """A wrong clock, and what becomes of its records."""

    ahead_ms: int | None
    """None: it says 1970."""
    fate: str
    """A dead letter's reason, or ``late``, or ``counted``."""

    def time_ms(self, true_ms: int) -> int:
        return 5_000 if self.ahead_ms is None else true_ms + self.ahead_ms


CLOCKS: Final = {
    "1970": _Clock(None, "time_before_1971"),
    "hour slow": _Clock(-HOUR_MS, "late"),
    "minutes fast": _Clock(MINUTES_AHEAD_MS, "counted"),
    "hour fast": _Clock(HOUR_MS, "time_in_future"),
    "century fast": _Clock(CENTURY_MS, "time_in_future"),
}


class _Length(NamedTuple):
    secs: int
    per_sec: float
    base_secs: int
    lateness_secs: int

    @property
    def windows(self) -> dict[str, int]:
        return {"base_secs": self.base_secs, "allowed_lateness_secs": self.lateness_secs}

    def end_ms(self, at_ms: int) -> int:
        base_ms = self.base_secs * 1000
        return at_ms // base_ms * base_ms + base_ms


SHORT: Final = _Length(12, per_sec=150.0, base_secs=1, lateness_secs=4)
FULL: Final = _Length(600, per_sec=150.0, base_secs=10, lateness_secs=15)
APART_SHORT: Final = _Length(25, per_sec=60.0, base_secs=1, lateness_secs=4)
APART: Final = _Length(240, per_sec=60.0, base_secs=10, lateness_secs=15)
SLOW_KEY: Final = b"slow"


def clocks(scale: Scale) -> Outcome:
    length = SHORT if scale.short else FULL
    with ExitStack() as stack:
        broker = stack.enter_context(kafka(scale.folder / "kafka"))
        letters_each = {"dead_letters_per_1000": 1000}  # so that their reasons can be counted
        run = Run(broker, scale.folder / "run", PARTITIONS, windows=length.windows, limits=letters_each)
        run.worker(stack)
        start_ms = time.time_ns() // 1_000_000
        disorder_ms = (length.lateness_secs - 1) * 600
        honest = list(LongTraffic(length.secs, length.per_sec, start_ms, disorder_ms))
        wrong = round(BAD_SHARE * len(honest))
        asyncio.run(_send_live(run, _with_wrong_clocks(honest, wrong, scale.random())))
        until_ms = length.end_ms(max(event.at_ms for event in honest))
        found = _results_at_the_end(run, length, until_ms)
        letters = Counter(orjson.loads(value)["reason"] for value in run.read(DEADLETTERS))
        late = _late(run.read(PARTIALS))
        counted = [*honest, *asyncio.run(_as_appended(run.config))]
    counted.sort(key=lambda event: event.at_ms)
    truth = offline(counted, until_ms=until_ms, now_ms=until_ms + HOUR_MS, windows=length.windows)
    verdict = compare(found, truth)
    wanted = Counter({"late": 0})
    for clock in CLOCKS.values():
        wanted[clock.fate] += wrong
    told = Counter({**letters, "late": late, "counted": len(counted) - len(honest)})
    failures = [*verdict.examples]
    if told != wanted:
        failures.append(f"said of the wrong clocks' records: {dict(told)}; should be {dict(wanted)}")
    return Outcome(
        runs=1,
        faults=wrong * len(CLOCKS),
        lost=verdict.lost,
        doubled=verdict.doubled,
        notes=f"{len(honest)} honest records, {wrong} of each wrong clock: {counts(wanted)}",
        failures=tuple(failures),
    )


def _with_wrong_clocks(honest: Sequence[Event], each: int, rng: random.Random) -> list[Event]:
    """The honest records, and among them, at their true times, ``each`` of every wrong clock.

    Not right at the start: the first record of a partition is what tells its time.
    """
    settled = [n for n in range(len(honest) // 4, len(honest)) if honest[n].stream == "interaction"]
    among: dict[int, list[Event]] = {}
    for name, clock in CLOCKS.items():
        for number, position in enumerate(rng.sample(settled, each)):
            model = honest[position]
            record = orjson.loads(model.value)
            record["event_id"] = f"{name} {number}"
            record["occurred_at"] = clock.time_ms(model.at_ms)
            key = record["event_id"].encode()
            wrong = Event("interaction", key, model.at_ms, orjson.dumps(record))
            among.setdefault(position, []).append(wrong)
    return [event for n, true in enumerate(honest) for event in (true, *among.get(n, ()))]


async def _send_live(run: Run, events: Sequence[Event]) -> None:
    """Send in the given order, nothing before ``START_DELAY_SECS`` after it occurred."""
    producer = AIOKafkaProducer(**producer_settings(run.config.kafka), linger_ms=5)
    await producer.start()
    try:
        futures = []
        for event in events:
            ahead_secs = event.at_ms / 1000 + START_DELAY_SECS - time.time()
            if ahead_secs > 0.02:
                await asyncio.sleep(ahead_secs)
            topic, partition, value = run.place(event)
            futures.append(await producer.send(topic, value, partition=partition))
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


def _results_at_the_end(run: Run, length: _Length, until_ms: int) -> Results:
    """What a run has said, once its last window is closed."""
    asyncio.run(_send_markers(run, until_ms + length.lateness_secs * 1000 + length.base_secs * 1000))
    eventually(
        lambda: any(orjson.loads(value)["window_end_ms"] >= until_ms for value in run.read(SUMMARIES)),
        within_secs=120,
        what=lambda: f"the last window closes; the worker said: {run.last_words()}",
    )
    return results({topic: run.read(topic) for topic in JUDGED}, until_ms)


async def _send_markers(run: Run, at_ms: int) -> None:
    """As live as the rest."""
    await asyncio.sleep(max(0.0, at_ms / 1000 + START_DELAY_SECS - time.time()))
    await send_in_order(run.config, run.markers(at_ms))


def _late(log: Sequence[bytes]) -> int:
    """Late interactions, as the sources counted them."""
    last: dict[str, int] = {}
    for value in log:
        record = decode_log_record(value)
        if isinstance(record, Watermark):
            last[record.source] = record.late
    return sum(last.values())


async def _as_appended(config: Config) -> list[Event]:
    """The records that were a little fast, as they count: at the time at which the broker appended them."""
    found = []
    for stored in await read_all(config, INTERACTIONS):
        record = orjson.loads(stored.value)
        if record["event_id"].startswith("minutes fast"):
            record["occurred_at"] = stored.timestamp
            found.append(Event("interaction", b"", stored.timestamp, orjson.dumps(record)))
    return found


class _Apart(Run):
    """A run in which the slow clock has the last partition to itself."""

    def place(self, event: Event) -> tuple[str, int, bytes]:
        topic, partition, value = super().place(event)
        if event.key == SLOW_KEY:
            return topic, PARTITIONS - 1, value
        return topic, partition % (PARTITIONS - 1), value


def apart(scale: Scale) -> Outcome:
    """A slow clock alone in a partition: nothing of it is late there, and the windows wait for it."""
    length = APART_SHORT if scale.short else APART
    slow_ms = scale.pick(30_000, 120_000)
    monitoring = {"held_up_secs": slow_ms / 2000, "for_secs": 2, "every_secs": 0.5}
    with ExitStack() as stack:
        broker = stack.enter_context(kafka(scale.folder / "kafka"))
        run = _Apart(broker, scale.folder / "run", PARTITIONS, windows=length.windows, monitoring=monitoring)
        start_ms = time.time_ns() // 1_000_000
        honest = list(LongTraffic(length.secs, length.per_sec, start_ms, (length.lateness_secs - 1) * 600))
        slow = _slow(honest, slow_ms)
        live = sorted([*honest, *slow], key=lambda event: (event.at_ms, event.key == SLOW_KEY))
        sender = threading.Thread(target=lambda: asyncio.run(_send_live(run, live)), name="sender")
        sender.start()
        # It must be there when the partition is first read: one that is silent at first is not waited for.
        eventually(
            lambda: asyncio.run(log_size(run.config, INTERACTIONS)) > 0, within_secs=30, what="records"
        )
        run.worker(stack)
        sender.join()
        until_ms = length.end_ms(max(event.at_ms for event in honest))
        found = _results_at_the_end(run, length, until_ms)
        alerts = [orjson.loads(value) for value in run.read(ALERTS)]
        late = _late(run.read(PARTIALS))
    claimed = [
        event._replace(at_ms=event.at_ms - slow_ms) if event.key == SLOW_KEY else event for event in live
    ]
    claimed.sort(key=lambda event: event.at_ms)
    truth = offline(claimed, until_ms=until_ms, now_ms=until_ms + HOUR_MS, windows=length.windows)
    verdict = compare(found, truth)
    failures = [*verdict.examples]
    told = {alert["segment"]["subject"] for alert in alerts if alert["detector"] == "monitoring:held_up"}
    if told != {f"{INTERACTIONS}-{PARTITIONS - 1}"}:
        failures.append(f"who the windows waited for was told as {sorted(told)}")
    if late:
        failures.append(f"{late} records were late")
    return Outcome(
        runs=1,
        faults=len(slow),
        lost=verdict.lost,
        doubled=verdict.doubled,
        notes=f"{len(honest)} honest records, {len(slow)} of a clock {slow_ms // 1000} s slow: they count at the "
        "time that they tell, windows wait, and `held_up` names the partition",
        failures=tuple(failures),
    )


def _slow(honest: Sequence[Event], slow_ms: int) -> list[Event]:
    """Records of a clock that is slow, one a second, at their true times."""
    second = -1
    found = []
    for event in honest:
        if event.stream == "interaction" and event.at_ms // 1000 != second:
            second = event.at_ms // 1000
            record = orjson.loads(event.value)
            record |= {"event_id": f"slow {len(found)}", "occurred_at": event.at_ms - slow_ms}
            found.append(Event("interaction", SLOW_KEY, event.at_ms, orjson.dumps(record)))
    return found


EXPERIMENTS = (
    Experiment(
        name="clocks",
        what="producers at 1970, an hour slow, 4 minutes, an hour and 100 years fast, among live shuffled traffic",
        goal="results as if the slow and the refused had sent nothing; each wrong record counted by reason",
        needs=("kafka",),
        run=clocks,
    ),
    Experiment(
        name="clocks-apart",
        what="a slow clock that has an input partition to itself, beside live traffic",
        goal="nobody's records are late: its own count at the time that they tell, windows wait, an alert names it",
        needs=("kafka",),
        run=apart,
    ),
)
