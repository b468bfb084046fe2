"""When interactions end: a doubly stochastic (Cox) process with a daily and weekly cycle and bursts.

The intensity is ``rate * cycle(t) * week(t) * exp(s*g(t) - s**2/2)``, g a stationary Gaussian process of unit
variance made of three layers of value noise (periods in ``LAYERS``). A layer's knots are drawn from the seed
and the knot's place in time, so the intensity at t depends on nothing but t and the seed. Given the
intensity, counts per slot are Poisson: the variance of a minute's count is mean + (cv * mean)**2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.simulate.reference import Floats

BURST_CV: Final = 0.28
"""Coefficient of variation of a minute's intensity: 92 / 323 in the Azure 2023 conversation trace (0.21 in
its whole minutes); at 100,000 requests a day it makes a minute's variance about six times Poisson's."""
LAYERS: Final = ((90_000, 0.45), (420_000, 0.35), (2_400_000, 0.20))
"""Knot distance in ms and share of the variance. Autocorrelated over minutes, as sessions and batch jobs make
it."""
SLOTS: Final = 64
"""Slots per block within which the intensity is constant."""
DAY_MS: Final = 86_400_000
PEAK_MS: Final = 14 * 3_600_000
"""Time of day of the peak, UTC."""
_KNOTS, _COUNTS = 1, 2
"""Tags that keep the random streams of knots and of counts apart."""


@lru_cache(maxsize=4096)
def _knot(seed: int, layer: int, index: int) -> float:
    return float(np.random.default_rng([seed, _KNOTS, layer, index]).standard_normal())


def burst(seed: int, at_ms: Floats) -> Floats:
    """The unit-variance Gaussian process g at each time; the cosine and sine weights keep its variance at
    one."""
    total = np.zeros_like(at_ms)
    for layer, (period_ms, share) in enumerate(LAYERS):
        position = at_ms / period_ms
        index = np.floor(position).astype(np.int64)
        first, last = int(index[0]), int(index[-1]) + 1
        knots = np.array([_knot(seed, layer, i) for i in range(first, last + 1)])
        angle = (position - index) * (np.pi / 2)
        value = np.cos(angle) * knots[index - first] + np.sin(angle) * knots[index - first + 1]
        total += np.sqrt(share) * value
    return total


def cycle(at_ms: Floats, peak_trough: float, weekend: float) -> Floats:
    """Daily cycle with mean one and this peak-to-trough ratio, times ``weekend`` on Saturdays and Sundays
    (UTC)."""
    height = (peak_trough - 1.0) / (peak_trough + 1.0)
    daily = 1.0 + height * np.cos((at_ms - PEAK_MS) * (2 * np.pi / DAY_MS))
    weekday = (np.floor(at_ms / DAY_MS) + 3) % 7  # 1 January 1970 was a Thursday; Monday is 0
    return daily * np.where(weekday >= 5, weekend, 1.0)


def arrivals(
    seed: int,
    block: int,
    block_ms: int,
    rate_per_sec: float,
    *,
    burst_cv: float,
    peak_trough: float,
    weekend: float,
) -> NDArray[np.int64]:
    """Times (epoch ms, ascending) at which the interactions of one block end."""
    slot_ms = block_ms / SLOTS
    start_ms = block * block_ms + slot_ms * np.arange(SLOTS, dtype=np.float64)
    middle_ms = start_ms + slot_ms / 2
    sd = float(np.sqrt(np.log1p(burst_cv**2)))
    intensity = cycle(middle_ms, peak_trough, weekend) * np.exp(sd * burst(seed, middle_ms) - sd * sd / 2)
    rng = np.random.default_rng([seed, _COUNTS, block])
    counts = rng.poisson(rate_per_sec * slot_ms / 1000 * intensity)
    starts = np.repeat(start_ms, counts)
    times = np.floor(starts + rng.random(len(starts)) * slot_ms).astype(np.int64)
    times.sort()
    return times
