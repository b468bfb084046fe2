"""Change of a ratio or of an event rate: evidence on hits of trials, or on counts of exposures.

    ratio   l = hits shift - trials log(1 + p (e^shift - 1))         Bernoulli, binomial
    rate    l = count shift - exposure mu (e^shift - 1)              Poisson

with p and mu the means so far. Over-dispersion (bursts, a negative binomial, tenants that come and go) and
correlation divide l by the measured dispersion, which is at least 1. A row counts for at most 4 standard
deviations and one event, so no single burst raises an alarm.

Parameters: a shift is the lesser of ``BASE_SHIFTS`` (log-odds of a ratio, or log of a rate: what an operator
would care for) and ``NOISE_SHIFTS`` standard deviations of a row (what can be told apart when rows hold
thousands of trials).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, Literal

from detectors.series.dispersion import Dispersion
from detectors.series.evidence import Evidence, Tilt
from detectors.series.families import (
    bernoulli_information,
    poisson_information,
    tilted_ratio,
)
from detectors.series.onset import bernoulli_fit, poisson_fit, rows_since_onset
from detectors.series.ranks import REFERENCE_ROWS

BASE_SHIFTS: Final[dict[str, tuple[float, ...]]] = {"ratio": (0.5, 1.0, 2.0), "count": (0.35, 0.7, 1.4)}
NOISE_SHIFTS: Final = (0.3, 0.8, 2.0)
WARM_UP_ROWS: Final = 30
MEMORY_ROWS: Final = 4096.0
CLIP_SIGMAS: Final = 4.0
_LARGEST: Final = 1e15
"""Counts beyond are taken for this: no product of what is finite becomes infinite."""
PRIOR_HITS: Final = 0.5
"""Jeffreys: a ratio that was always 0 or 1 is not certain."""


class CountsChange:
    """Evidence of one series. Amortised O(1) a row."""

    def __init__(self, family: Literal["ratio", "count"], threshold: float) -> None:
        self._is_ratio = family == "ratio"
        self._bases = BASE_SHIFTS[family]
        self._evidence = Evidence(2 * len(self._bases), threshold)
        self._dispersion = Dispersion(floor=1.0)
        self._dispersion.single_trials = self._is_ratio
        self._kept: deque[tuple[float, float]] = deque(maxlen=REFERENCE_ROWS)
        self._hits = self._trials = self._rows = 0.0
        self._mean = 0.5

    @property
    def nearness(self) -> float:
        return self._evidence.nearness

    def update(self, value: float, weight: float) -> int:
        """Rows since the onset if this row is the first to show the change, else 0.

        ``value`` is the ratio, or the count per unit of exposure; ``weight`` the trials or the exposure.
        """
        weight = min(weight, _LARGEST)
        hits = min(value * weight, _LARGEST)
        if hits not in (0.0, weight) or weight > 1.0:
            self._dispersion.single_trials = False
        since = 0
        if self._rows >= WARM_UP_ROWS:
            self._kept.append((hits, weight))
            mean = self._mean
            sigma = math.sqrt(weight * mean * (1.0 - mean if self._is_ratio else 1.0))
            expected = weight * mean
            bound = CLIP_SIGMAS * math.sqrt(self._dispersion.values[0]) * sigma + 1.0
            hits = min(max(hits, expected - bound), expected + bound)
            if self._evidence.update(hits, weight):
                since = self._onset()
            elif self._dispersion.update((hits - expected) / sigma):
                self._refresh()
        self._learn(hits, weight)
        if since:
            self._restart(since)
        return since

    def _learn(self, hits: float, weight: float) -> None:
        if self._rows >= MEMORY_ROWS:
            keep = 1.0 - 1.0 / MEMORY_ROWS
            self._hits *= keep
            self._trials *= keep
        else:
            self._rows += 1.0
        self._hits += hits
        self._trials += weight
        if self._rows == WARM_UP_ROWS:
            self._refresh()

    def _refresh(self) -> None:
        """Mean, tilts and their scales from what has been learned."""
        prior = 2.0 * PRIOR_HITS if self._is_ratio else self._trials / self._rows
        self._mean = mean = max((self._hits + PRIOR_HITS) / (self._trials + prior), 1e-12)
        weight = self._trials / self._rows
        dispersion = self._dispersion.values
        sigma = math.sqrt(weight * mean * (1.0 - mean if self._is_ratio else 1.0) / dispersion[0])
        shifts = [min(base, noise / sigma) for base, noise in zip(self._bases, NOISE_SHIFTS, strict=True)]
        tilts: list[Tilt] = []
        nats: list[float] = []
        for shift in (signed for size in shifts for signed in (size, -size)):
            if self._is_ratio:
                tilts.append((-math.log1p(mean * math.expm1(shift)), shift, 0.0))
                nats.append(weight * bernoulli_information(tilted_ratio(mean, shift), mean))
            else:
                tilts.append((-mean * math.expm1(shift), shift, 0.0))
                nats.append(weight * poisson_information(mean * math.exp(shift), mean))
        self._evidence.scale(tilts, nats, [dispersion] * len(tilts))

    def _onset(self) -> int:
        hits, weights = zip(*self._kept, strict=True)
        return rows_since_onset(hits, weights, bernoulli_fit if self._is_ratio else poisson_fit)

    def _restart(self, since: int) -> None:
        """The rows since the onset are the new normal."""
        rows = list(self._kept)[-since:]
        self._evidence.reset()
        self._dispersion.forget_partial_blocks()
        self._kept.clear()
        self._hits = self._trials = self._rows = 0.0
        for hits, weight in rows:
            self._learn(hits, weight)
        if self._rows >= WARM_UP_ROWS:
            self._refresh()
