"""A traffic specification, and the events it stands for.

Time is cut into blocks on a grid that starts at the epoch. All random numbers of a block come from (seed,
block), so ``generate`` may start anywhere: the events of [a, b) and [b, c) together are exactly those of [a,
c).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.simulate.arrivals import BURST_CV, DAY_MS, arrivals
from streams.simulate.effects import Columns, Effect
from streams.simulate.events import Event, encode
from streams.simulate.feedback import LONGEST_DELAY_MS, feedback
from streams.simulate.interactions import interactions
from streams.simulate.reference import independent, share_of

Batch = list[Event]
_MORE_SEEDS: Final = 1_000_003
"""Distance between the seeds of the usual traffic and of what effects add."""
BLOCK_EVENTS: Final = 2048
"""A block is as long as it takes for about this many interactions, so that columns pay off at any rate."""
BLOCKS_MS: Final = (1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 7_200_000)


@dataclass(frozen=True)
class TrafficSpec:
    """What traffic to generate.

    ``rate_per_sec`` is the mean over a weekday; the daily cycle has ratio ``peak_trough`` (peak 14:00 UTC);
    Saturday and Sunday have ``weekend`` times the traffic. ``burst_cv`` is the coefficient of variation of a
    minute's intensity around that; 0 leaves plain Poisson arrivals.
    Errors: ValueError for a number out of range.
    """

    start_ms: int
    duration_secs: float
    rate_per_sec: float
    seed: int = 0
    effects: Sequence[Effect] = ()
    peak_trough: float = 3.0
    weekend: float = 0.6
    burst_cv: float = BURST_CV

    def __post_init__(self) -> None:
        for name in ("duration_secs", "rate_per_sec", "weekend"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}: must be a positive number, got {value!r}")
        if self.peak_trough < 1.0 or self.burst_cv < 0.0 or self.start_ms < 0 or self.seed < 0:
            raise ValueError("need peak_trough >= 1, burst_cv >= 0, start_ms >= 0 and seed >= 0")

    @classmethod
    def per_day(cls, start_ms: int, days: float, rate_per_day: float, **rest: Any) -> TrafficSpec:
        """The same from a daily volume, as scenarios state it."""
        return cls(start_ms, days * DAY_MS / 1000, rate_per_day / 86_400, **rest)

    @property
    def end_ms(self) -> int:
        return self.start_ms + round(self.duration_secs * 1000)

    @property
    def block_ms(self) -> int:
        wanted_ms = 1000 * BLOCK_EVENTS / self.rate_per_sec
        return next((b for b in BLOCKS_MS if b >= wanted_ms), BLOCKS_MS[-1])


def generate(spec: TrafficSpec) -> Iterator[Batch]:
    """All records with ``spec.start_ms <= occurred_at < spec.end_ms`` in time order, in batches of about two
    thousand.

    Feedback on interactions before the start is included, as it would be when one begins to listen.
    """
    block_ms = spec.block_ms
    waiting: list[Event] = []  # feedback that comes in a later block
    first = max(0, spec.start_ms - LONGEST_DELAY_MS) // block_ms
    for block in range(first, -(-spec.end_ms // block_ms)):
        until_ms = min((block + 1) * block_ms, spec.end_ms)
        batch: Batch = []
        for seed, times, forced in _sources(spec, block):
            columns, hidden = interactions(seed, block, times, spec.effects, forced)
            replies = feedback(seed, block, columns, hidden, spec.effects)
            waiting += encode("feedback", _where(replies, replies["occurred_at"] >= spec.start_ms))
            wanted = (columns["occurred_at"] >= spec.start_ms) & (columns["occurred_at"] < spec.end_ms)
            batch += encode("interaction", _where(columns, wanted))
        waiting.sort(key=itemgetter(2))
        due = next((i for i, event in enumerate(waiting) if event.occurred_at_ms >= until_ms), len(waiting))
        batch += waiting[:due]
        batch.sort(key=itemgetter(2))
        del waiting[:due]
        if batch:
            yield batch


def _sources(spec: TrafficSpec, block: int) -> Iterator[tuple[int, NDArray[np.int64], Mapping[str, str]]]:
    """(seed, arrival times, forced dimensions): the usual traffic, then what effects add to a segment's volume."""
    yield spec.seed, arrival_times(spec, block), {}
    for number, effect in enumerate(spec.effects):
        span_ms = (block * spec.block_ms, (block + 1) * spec.block_ms)
        if effect.volume <= 1.0 or effect.onset_ms >= span_ms[1] or effect.end_ms <= span_ms[0]:
            continue
        seed = spec.seed + _MORE_SEEDS * (number + 1)
        rate_per_sec = spec.rate_per_sec * share_of(independent(effect.segment)) * (effect.volume - 1.0)
        times = arrival_times(replace(spec, seed=seed), block, rate_per_sec)
        thinned = np.random.default_rng([seed, block]).random(len(times)) < effect.strength(times)
        yield seed, times[thinned], effect.segment


def arrival_times(spec: TrafficSpec, block: int, rate_per_sec: float | None = None) -> NDArray[np.int64]:
    """When the interactions of one block of the grid end, whole block, epoch ms ascending."""
    return arrivals(
        spec.seed,
        block,
        spec.block_ms,
        spec.rate_per_sec if rate_per_sec is None else rate_per_sec,
        burst_cv=spec.burst_cv,
        peak_trough=spec.peak_trough,
        weekend=spec.weekend,
    )


def _where(columns: Columns, mask: NDArray[Any]) -> Columns:
    return columns if mask.all() else {name: values[mask] for name, values in columns.items()}
