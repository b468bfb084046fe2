"""The same input gives the same results: offline, on one worker, on several, and over kill -9.

The verdict is by content: every window summary, anomaly and incident up to the last input window, bit for bit.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import orjson
import pytest

from streams.config import Config
from streams.events import Stream
from streams.messages import Message
from streams.replay import Replay
from streams.simulate.scenarios import silent_model_change
from streams.simulate.traffic import TrafficSpec, generate
from streams.topics import ANOMALIES, INCIDENTS, SUMMARIES, TOPIC_OF_STREAM, TOPICS
from tests.support.brokers import Broker, log_size, make_topics, read_all, send_in_order
from tests.support.processes import Child, eventually, tidewatch

START_MS = 1_790_000_000_000
MINUTES = 24
NOW_MS = START_MS + 86_400_000
SECTIONS: dict[str, Any] = {
    "checkpoint": {"interval_secs": 0.5},
    "kafka": {"session_timeout_secs": 3.0, "chunk_records": 300},
}
LIMIT_SECS = 150.0
FEED_SECS = 60.0


class Event(NamedTuple):
    stream: Stream
    key: bytes
    at_ms: int
    value: bytes


class Results(NamedTuple):
    """What a run said, up to the last input window: content by identity."""

    summaries: dict[str, bytes]
    anomalies: set[bytes]
    incidents: set[bytes]


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """Traffic with one incident, out of order by less than the allowed lateness, one in a hundred sent twice."""
    rng = random.Random(11)
    scenario = silent_model_change(START_MS + MINUTES * 60_000 * 2 // 3)
    spec = TrafficSpec(START_MS, MINUTES * 60.0, 25.0, seed=5, effects=scenario.effects)
    made = [Event(e.kind, e.key, e.occurred_at_ms, e.value) for batch in generate(spec) for e in batch]
    change = {"change_id": "c1", "occurred_at": START_MS + 90_000, "kind": "deploy", "summary": "v2"}
    made.append(Event("change", b"c1", START_MS + 90_000, orjson.dumps(change)))
    made += rng.sample(made, len(made) // 100)
    arrival = [event.at_ms + rng.randrange(0, 9_000) for event in made]
    order = sorted(range(len(made)), key=lambda n: (arrival[n], n))
    return [made[n] for n in order]


@pytest.fixture(scope="module")
def offline(events: list[Event]) -> Results:
    messages: list[Message] = []
    replay = Replay(Config.model_validate(SECTIONS), messages.append, now_ms=NOW_MS)
    for event in events:
        replay.feed(event.stream, event.value)
    replay.finish()
    by_topic: dict[str, list[bytes]] = {SUMMARIES: [], ANOMALIES: [], INCIDENTS: []}
    for message in messages:
        by_topic.setdefault(message.topic, []).append(message.value)
    found = results(by_topic, events)
    assert found.anomalies
    assert found.incidents
    return found


def results(by_topic: dict[str, list[bytes]], events: list[Event]) -> Results:
    last_ms = max(event.at_ms for event in events) // 10_000 * 10_000 + 10_000
    summaries: dict[str, bytes] = {}
    for value in by_topic[SUMMARIES]:
        record = orjson.loads(value)
        if record["window_end_ms"] > last_ms:
            continue
        for row in record["rows"]:
            where = orjson.dumps(
                [record["window_start_ms"], row[0], row[1]], option=orjson.OPT_SORT_KEYS
            ).decode()
            content = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
            assert summaries.setdefault(where, content) == content, "one window, two contents"
    anomalies = {v for v in by_topic[ANOMALIES] if orjson.loads(v)["evidence"]["window_end_ms"] <= last_ms}
    incidents = {v for v in by_topic[INCIDENTS] if _incident_time(orjson.loads(v)) <= last_ms}
    return Results(summaries, anomalies, incidents)


def _incident_time(incident: dict[str, Any]) -> int:
    return max(incident["last_seen_ms"], incident["detected_at_ms"], incident["resolved_at_ms"] or 0)


class Run:
    """Workers on a broker, fed with slices of the events."""

    def __init__(self, broker: Broker, folder: Path, partitions: int) -> None:
        self.folder = folder
        self.partitions = partitions
        sections = SECTIONS | {"topics": {"partitions": partitions}}
        self.config = broker.config(folder / "state", **sections)
        (folder / "state").mkdir()
        self.config_file = broker.write_config(folder / "tidewatch.toml", folder / "state", **sections)
        asyncio.run(make_topics(self.config))
        self.started = 0

    def worker(self, stack: ExitStack) -> Child:
        self.started += 1
        arguments = ("worker", "detect", "--config", str(self.config_file))
        log = self.folder / f"worker-{self.started}.log"
        return stack.enter_context(tidewatch(*arguments, log=log, cwd=self.folder))

    def send(self, events: Iterable[Event]) -> None:
        """All topics together, in the order of the events."""
        asyncio.run(send_in_order(self.config, (self._place(event) for event in events)))

    def send_slowly(self, events: list[Event], seconds: float) -> Thread:
        """The same spread over some seconds, in the background: no partition falls quiet on the way."""
        places = [self._place(event) for event in events]
        feeding = send_in_order(self.config, places, over_secs=seconds)
        thread = Thread(target=asyncio.run, args=(feeding,), name="feeder")
        thread.start()
        return thread

    def _place(self, event: Event) -> tuple[str, int, bytes]:
        topic = TOPIC_OF_STREAM[event.stream]
        spread = TOPICS[topic].partitions is None
        return topic, zlib.crc32(event.key) % self.partitions if spread else 0, event.value

    def summaries_written(self) -> int:
        return asyncio.run(log_size(self.config, SUMMARIES))

    def read(self, topic: str) -> list[bytes]:
        return [record.value for record in asyncio.run(read_all(self.config, topic))]

    def results(self, events: list[Event]) -> Results:
        return results({topic: self.read(topic) for topic in (SUMMARIES, ANOMALIES, INCIDENTS)}, events)

    def await_end(self, events: list[Event]) -> None:
        last = max(event.at_ms for event in events) // 10_000 * 10_000
        seen = 0

        def last_window_closed() -> bool:
            nonlocal seen
            if (written := self.summaries_written()) == seen:
                return False
            seen = written
            return any(orjson.loads(v)["window_start_ms"] >= last for v in self.read(SUMMARIES))

        eventually(
            last_window_closed,
            within_secs=LIMIT_SECS,
            what=f"the last window closes; the last worker said: {self.last_words()}",
        )

    def last_words(self) -> str:
        return (self.folder / f"worker-{self.started}.log").read_text()[-2000:]


def assert_equal(found: Results, expected: Results) -> None:
    lost = expected.summaries.keys() - found.summaries.keys()
    assert not lost, f"{len(lost)} summaries lost, of windows {sorted({key.split(',')[0] for key in lost})}"
    assert not found.summaries.keys() - expected.summaries.keys(), "summaries that should not be"
    differing = [key for key, value in expected.summaries.items() if found.summaries[key] != value]
    assert not differing, f"{len(differing)} summaries differ, such as {differing[0]}"
    assert found.anomalies == expected.anomalies
    assert found.incidents == expected.incidents


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(400)
def test_one_worker_on_the_embedded_broker(
    tansu: Broker, tmp_path: Path, events: list[Event], offline: Results
) -> None:
    run = Run(tansu, tmp_path, partitions=4)
    run.send(events)
    with ExitStack() as stack:
        run.worker(stack)
        run.await_end(events)
    assert_equal(run.results(events), offline)


def killed_five_times(run: Run, events: list[Event], workers: int, seed: int) -> None:
    """While the events come in, five times: wait until windows close, then kill -9 a worker and start another."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        alive = [run.worker(stack) for _ in range(workers)]
        feeder = run.send_slowly(events, FEED_SECS)
        stack.callback(feeder.join)
        for _ in range(5):
            before = run.summaries_written()
            eventually(
                lambda before=before: run.summaries_written() > before,  # type: ignore[misc]
                within_secs=LIMIT_SECS,
                what=f"the workers go on; the last one said: {run.last_words()}",
            )
            victim = alive.pop(rng.randrange(workers))
            victim.kill()
            alive.append(run.worker(stack))
        feeder.join()
        run.await_end(events)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(600)
def test_one_worker_killed_five_times(
    tansu: Broker, tmp_path: Path, events: list[Event], offline: Results
) -> None:
    run = Run(tansu, tmp_path, partitions=4)
    killed_five_times(run, events, workers=1, seed=1)
    assert_equal(run.results(events), offline)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(900)
def test_three_workers_on_kafka_killed_five_times(
    kafka: Broker, tmp_path: Path, events: list[Event], offline: Results
) -> None:
    run = Run(kafka, tmp_path, partitions=12)
    killed_five_times(run, events, workers=3, seed=2)
    assert_equal(run.results(events), offline)
