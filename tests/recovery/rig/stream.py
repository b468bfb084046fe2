"""Traffic that is too long to keep: made again whenever it is asked for, always the same."""

from __future__ import annotations

import asyncio
import heapq
import multiprocessing
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Final, Self

import orjson

from streams.config import Config
from streams.producing import Pace, produce
from streams.simulate.scenarios import silent_model_change
from streams.simulate.traffic import TrafficSpec, generate
from tests.recovery.rig.run import START_MS, Event, end_ms, offline
from tests.recovery.rig.verdict import Results

DISORDER_MS: Final = 9_000
"""Less than the allowed lateness."""


@dataclass(frozen=True)
class LongTraffic:
    """Like ``run.traffic``, as an iterable, and with an announced change every minute."""

    secs: int
    per_sec: float
    start_ms: int = START_MS
    disorder_ms: int = DISORDER_MS

    def __iter__(self) -> Iterator[Event]:
        rng = random.Random(11)
        waiting: list[tuple[int, int, Event]] = []
        for number, event in enumerate(self._in_order()):
            while waiting and waiting[0][0] <= event.at_ms:
                yield heapq.heappop(waiting)[2]
            for copy in range(2 if rng.random() < 0.01 else 1):
                heapq.heappush(
                    waiting, (event.at_ms + rng.randrange(self.disorder_ms), 2 * number + copy, event)
                )
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _in_order(self) -> Iterator[Event]:
        scenario = silent_model_change(self.start_ms + self.secs * 1000 * 2 // 3)
        spec = TrafficSpec(self.start_ms, self.secs, self.per_sec, seed=5, effects=scenario.effects)
        change_ms = self.start_ms + 30_000
        for batch in generate(spec):
            for event in batch:
                if event.occurred_at_ms >= change_ms:
                    yield _change(change_ms)
                    change_ms += 60_000
                yield Event(event.kind, event.key, event.occurred_at_ms, event.value)

    @property
    def end(self) -> Sequence[Event]:
        """An event of the last window: all that ``Run.await_end`` and ``Run.results`` look at."""
        return [_change(self.start_ms + self.secs * 1000 - 1)]


def _change(at_ms: int) -> Event:
    name = f"c{at_ms}"
    value = {"change_id": name, "occurred_at": at_ms, "kind": "deploy", "summary": "another version"}
    return Event("change", name.encode(), at_ms, orjson.dumps(value))


@cache
def undisturbed(events: LongTraffic) -> Results:
    """What ``offline`` says about it; once for all experiments of a process."""
    return offline(events, until_ms=end_ms(events.end))


SHORT_TRAFFIC: Final = LongTraffic(600, 12.0)
"""Ten minutes, one incident: the input of short versions."""


class Feeder:
    """Sends traffic at a steady rate from a process of its own: making it costs as much as aggregating it."""

    def __init__(self, config: Config, events: Iterable[Event], per_sec: float | None) -> None:
        """``per_sec`` None: as fast as the broker takes it."""
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=_feed, args=(config, events, per_sec), daemon=True)
        self.began = time.monotonic()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def wait(self, timeout_secs: float | None = None) -> None:
        """Until everything is acknowledged, or so long. Raises RuntimeError when sending failed."""
        self._process.join(timeout_secs)
        if self._process.exitcode:
            raise RuntimeError(f"the feeder ended with {self._process.exitcode}")

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()


def _feed(config: Config, events: Iterable[Event], per_sec: float | None) -> None:
    asyncio.run(produce(events, config.kafka, pace=Pace(rate_per_sec=per_sec)))
