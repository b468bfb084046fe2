"""Traffic, and workers on a broker that are fed with it: what experiments and the equality tests share."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

import orjson

from streams.app import group_name
from streams.config import Config
from streams.events import Stream
from streams.simulate.scenarios import silent_model_change
from streams.simulate.traffic import TrafficSpec, generate
from streams.topics import (
    CHANGES,
    FEEDBACK,
    INPUTS,
    INTERACTIONS,
    RECORDED,
    SUMMARIES,
    TOPIC_OF_STREAM,
    TOPICS,
    partitions_of,
)
from tests.recovery.rig.verdict import RESULTS, Results, results
from tests.support.brokers import Broker, committed, log_size, make_topics, read_all, send_in_order
from tests.support.processes import Child, eventually, tidewatch

START_MS: Final = 1_790_000_000_000
SECTIONS: Final[dict[str, Any]] = {
    "checkpoint": {"interval_secs": 0.5},
    "kafka": {"session_timeout_secs": 3.0, "chunk_records": 300},
}
LIMIT_SECS: Final = 150.0
MARKER_MS: Final = 30_000
"""After the end of the last window that counts: more than the allowed lateness."""
_MARKER: Final[dict[str, dict[str, Any]]] = {
    INTERACTIONS: {"event_id": "marker", "model_requested": "marker"},
    FEEDBACK: {"event_id": "marker", "name": "marker", "score": 1.0},
    CHANGES: {"change_id": "marker", "kind": "deploy"},
}


class Event(NamedTuple):
    stream: Stream
    key: bytes
    at_ms: int
    value: bytes


@cache
def traffic(minutes: int = 24, per_sec: float = 25.0) -> list[Event]:
    """Traffic with one incident, out of order by less than the allowed lateness, one in a hundred sent twice.

    Twenty-four minutes at the default rate are about 40,000 records: interactions, feedback and a change.
    """
    rng = random.Random(11)
    scenario = silent_model_change(START_MS + minutes * 60_000 * 2 // 3)
    spec = TrafficSpec(START_MS, minutes * 60.0, per_sec, seed=5, effects=scenario.effects)
    made = [Event(e.kind, e.key, e.occurred_at_ms, e.value) for batch in generate(spec) for e in batch]
    change = {"change_id": "c1", "occurred_at": START_MS + 90_000, "kind": "deploy", "summary": "v2"}
    made.append(Event("change", b"c1", START_MS + 90_000, orjson.dumps(change)))
    made += rng.sample(made, len(made) // 100)
    arrival = [event.at_ms + rng.randrange(0, 9_000) for event in made]
    order = sorted(range(len(made)), key=lambda n: (arrival[n], n))
    return [made[n] for n in order]


def end_ms(events: Sequence[Event]) -> int:
    """The end of the last window that has input."""
    return window_end_ms(max(event.at_ms for event in events))


def window_end_ms(at_ms: int) -> int:
    """The end of the window (of the default length) that a time falls into."""
    return at_ms // 10_000 * 10_000 + 10_000


class Run:
    """Workers on a broker, fed with slices of the events."""

    def __init__(self, broker: Broker, folder: Path, partitions: int, **sections: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.broker = broker
        self.folder = folder
        self.partitions = partitions
        self.sections = SECTIONS | {"topics": {"partitions": partitions}} | sections
        self.config = broker.config(folder / "state", **self.sections)
        (folder / "state").mkdir()
        self.config_file = broker.write_config(folder / "tidewatch.toml", folder / "state", **self.sections)
        asyncio.run(make_topics(self.config))
        self.started = 0
        self.feeder_paused_secs = 0.0
        """The longest time without a record of ``send_slowly``: beyond ``idle_secs`` windows close without it."""

    def worker(
        self,
        stack: ExitStack,
        *,
        role: str = "detect",
        through: str | None = None,
        env: dict[str, str] | None = None,
    ) -> Child:
        """Start a worker that is ended with ``stack``; ``through`` is another way to the broker, a proxy's."""
        self.started += 1
        config_file = self.config_file
        if through is not None:
            config_file = Broker(through, self.broker.real).write_config(
                self.folder / f"worker-{self.started}.toml", self.folder / "state", **self.sections
            )
        arguments = ("worker", role, "--config", str(config_file))
        log = self.folder / f"worker-{self.started}.log"
        return stack.enter_context(tidewatch(*arguments, log=log, cwd=self.folder, env=env))

    def send(self, events: Iterable[Event]) -> None:
        """All topics together, in the order of the events."""
        asyncio.run(send_in_order(self.config, (self.place(event) for event in events)))

    def send_slowly(self, events: Sequence[Event], seconds: float) -> Thread:
        """The same spread over some seconds, in the background: no partition falls quiet on the way."""
        places = [self.place(event) for event in events]

        def feed() -> None:
            paused_secs = asyncio.run(send_in_order(self.config, places, over_secs=seconds))
            self.feeder_paused_secs = max(self.feeder_paused_secs, paused_secs)

        thread = Thread(target=feed, name="feeder")
        thread.start()
        return thread

    def send_markers(self, at_ms: int) -> None:
        """One record of this event time to every input partition: what ends by the lateness before it is sealed.

        Else a run ends only when every source is idle, and a machine that is slow to send makes them so too early.
        """
        asyncio.run(send_in_order(self.config, self.markers(at_ms)))

    def markers(self, at_ms: int) -> list[tuple[str, int, bytes]]:
        """Topic, partition and value of each marker."""
        return [
            (topic, partition, orjson.dumps(_MARKER[topic] | {"occurred_at": at_ms}))
            for topic in INPUTS
            for partition in range(partitions_of(TOPICS[topic], self.config))
        ]

    def place(self, event: Event) -> tuple[str, int, bytes]:
        """Topic, partition and value: records of one key meet in one partition."""
        topic = TOPIC_OF_STREAM[event.stream]
        spread = TOPICS[topic].partitions is None
        return topic, zlib.crc32(event.key) % self.partitions if spread else 0, event.value

    def summaries_written(self) -> int:
        return asyncio.run(log_size(self.config, SUMMARIES))

    def committed(self, role: str = "detect") -> dict[tuple[str, int], int]:
        """The group's offsets of the input topics; what was never committed is left out."""
        group = group_name(self.config, role)
        found: dict[tuple[str, int], int] = {}
        for topic in INPUTS:
            offsets = asyncio.run(
                committed(self.config, group, topic, partitions_of(TOPICS[topic], self.config))
            )
            found |= {(topic, n): offset for n, offset in offsets.items() if offset is not None}
        return found

    def is_recorded(self) -> bool:
        """Whether RECORD has committed all that there is. (Its status says how things were a while ago.)"""
        group = group_name(self.config, "record")
        for topic in RECORDED:
            partitions = partitions_of(TOPICS[topic], self.config)
            done = asyncio.run(committed(self.config, group, topic, partitions))
            # Counted: for the end of a log the embedded broker tells where its last batch begins.
            if sum(offset or 0 for offset in done.values()) < len(self.read(topic)):
                return False
        return True

    def read(self, topic: str) -> list[bytes]:
        return [record.value for record in asyncio.run(read_all(self.config, topic))]

    def results(self, events: Sequence[Event]) -> Results:
        return results({topic: self.read(topic) for topic in RESULTS}, end_ms(events))

    def await_end(self, events: Sequence[Event], *, within_secs: float = LIMIT_SECS) -> None:
        """Wait until the last window that has input is closed."""
        last = end_ms(events) - 10_000
        seen = 0

        def last_window_closed() -> bool:
            nonlocal seen
            if (written := self.summaries_written()) == seen:
                return False
            new, seen = asyncio.run(read_all(self.config, SUMMARIES, since=seen)), written
            return any(orjson.loads(record.value)["window_start_ms"] >= last for record in new)

        eventually(
            last_window_closed,
            within_secs=within_secs,
            what=lambda: f"the last window closes; the last worker said: {self.last_words()}",
        )

    def await_progress(self, *, within_secs: float = LIMIT_SECS) -> None:
        """Wait until another window closes."""
        before = self.summaries_written()
        eventually(
            lambda: self.summaries_written() > before,
            within_secs=within_secs,
            what=lambda: f"the workers go on; the last one said: {self.last_words()}",
        )

    def last_words(self) -> str:
        """Of the three workers that were started last."""
        said = []
        for number in range(max(1, self.started - 2), self.started + 1):
            log = self.folder / f"worker-{number}.log"
            said.append(f"{log.name}: {log.read_text(errors='replace')[-700:] if log.exists() else ''}")
        return "\n".join(said)


def offline(
    events: Iterable[Event],
    *,
    until_ms: int | None = None,
    now_ms: int = START_MS + 86_400_000,
    **sections: Any,
) -> Results:
    """What the stages say without a broker, a fault or a clock: the truth that runs are held against.

    ``until_ms`` is the end of the last window that counts; without it, of the last one that has input.
    """
    from streams.messages import Message
    from streams.replay import Replay

    by_topic: dict[str, list[bytes]] = {topic: [] for topic in RESULTS}

    def keep(message: Message) -> None:
        if message.topic in by_topic:
            by_topic[message.topic].append(message.value)

    replay = Replay(Config.model_validate(SECTIONS | sections), keep, now_ms=now_ms)
    last_ms = 0
    for event in events:
        replay.feed(event.stream, event.value)
        last_ms = max(last_ms, event.at_ms)
    replay.finish()
    return results(by_topic, until_ms or window_end_ms(last_ms))
