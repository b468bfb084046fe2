"""From completed panes to what detectors look at: transformed, compared with the baseline, as likelihood sums."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.base import Batch, Bools, Floats, Ints
from detectors.baseline import Baseline, Reference
from detectors.drift.glr import BERNOULLI, GAUSSIAN, NEGATIVE_BINOMIAL
from detectors.panes import Completed
from detectors.scales import Scales

BAND_SIGMAS: Final = 3.0
"""Half the width of the band in which a value normally stays."""
_SPEND_SIGMAS: Final = 4.0
_SMALL_PANE: Final = 5.0
"""Observations: the least that a mean is judged by."""
_RELATIVE_TOLERANCE: Final = 0.1
"""Half a point is a trifle of a quarter, but not of one in a thousand: ratios tolerate at most this share."""


class Scored(NamedTuple):
    """The panes that ended with a window, beside what was to be expected; aligned arrays."""

    panes: Completed
    ref: Reference
    x: Floats
    z: Floats
    white: Floats
    sigma: Floats
    """Of ``white``, in x."""


class Hoped(NamedTuple):
    """What is expected, as a likelihood needs it; arrays aligned with the asked series."""

    family: Ints
    share: Floats
    """Of a ratio, off 0 and 1 by what the reference can tell."""
    amount: Floats
    """Of a rate, per pane."""
    variance: Floats
    """Of one observation of x."""
    weight: Floats
    tolerance: Floats


class Scoring:
    """Compares panes with the baseline, each signal on its scale and in its family."""

    def __init__(self, scales: Scales, baseline: Baseline) -> None:
        self._scales = scales
        self._baseline = baseline
        self._signals = len(scales.rows)
        self._family = np.where(
            scales.is_rate, NEGATIVE_BINOMIAL, np.where(scales.is_ratio, BERNOULLI, GAUSSIAN)
        )

    def score(self, done: Completed, now_ms: int) -> Scored:
        index = done.series
        x = self._scales.forward(index % self._signals, done.value)
        ref = self._baseline.reference(index, now_ms)
        return Scored(done, ref, x, *self._baseline.standardise(index, ref, x, done.n))

    def batch(self, scored: Scored, at: Ints, learn: Bools) -> Batch:
        """The panes at ``at`` as detectors see them; ``learn`` is aligned with ``at``."""
        panes, ref = scored.panes, scored.ref.take(at)
        index = panes.series[at]
        column = index % self._signals
        hoped = self.hoped(index, ref)
        family, n = hoped.family, panes.n[at]
        rate, ratio = family == NEGATIVE_BINOMIAL, family == BERNOULLI
        # One dear request is no change of spend: a pane counts for what its usual panes make likely.
        likely = ref.expected + _SPEND_SIGMAS * np.sqrt(np.maximum(ref.event_variance, 0.0))
        x = np.where(self._scales.is_spend[column], np.minimum(scored.x[at], likely), scored.x[at])
        amount = np.exp(np.minimum(x, 60.0)) - 1.0
        expected = np.where(rate, hoped.amount, np.where(ratio, n * hoped.share, 0.0))
        deviation = np.where(rate, amount - expected, n * (x - np.where(ratio, hoped.share, ref.expected)))
        return Batch(
            index, family, n, deviation, expected, hoped.variance, hoped.weight, hoped.tolerance,
            panes.start_ms[at], scored.z[at], scored.white[at], scored.sigma[at], learn,
            np.where(self._scales.robust[column], np.maximum(n / _SMALL_PANE, 1.0), 1.0),
        )  # fmt: skip

    def hoped(self, index: Ints, ref: Reference) -> Hoped:
        """What some series are compared with."""
        column = index % self._signals
        family = self._family[column]
        rate, ratio = family == NEGATIVE_BINOMIAL, family == BERNOULLI
        # Of a rate, x = log(1 + amount): compare amounts; the mean of a logarithm is not the logarithm of the mean.
        amount = np.exp(np.minimum(ref.expected + 0.5 * np.where(rate, ref.event_variance, 0.0), 60.0)) - 1.0
        p = off_the_ends(ref.expected, ref.weight)
        variance = np.where(ratio, p * (1.0 - p), np.maximum(ref.event_variance, 1e-12))
        tolerance = self._scales.tolerance[column]
        trifle = np.minimum(tolerance, _RELATIVE_TOLERANCE * p * (1.0 - p))
        return Hoped(
            family, p, np.maximum(amount, 0.0), variance, np.maximum(ref.weight, 1.0),
            np.where(ratio, trifle, tolerance),
        )  # fmt: skip

    def sigma(self, scored: Scored, at: int) -> float:
        """How far a pane like the one at ``at`` normally lies from what is expected, in x."""
        index, ref = scored.panes.series[at : at + 1], scored.ref.take(np.array([at]))
        return float(np.sqrt(self._baseline.variance(index, ref, scored.panes.n[at : at + 1]))[0])

    def band(self, scored: Scored, at: int, n: float) -> tuple[float, float, float]:
        """Expected value of ``n`` observations and where it normally stays, in the signal's unit."""
        index = scored.panes.series[at : at + 1]
        ref = scored.ref.take(np.array([at]))
        column = index % self._signals
        sigma = np.sqrt(self._baseline.variance(index, ref, np.array([n])))
        offsets = np.array([0.0, -BAND_SIGMAS, BAND_SIGMAS]) * sigma
        values = self._scales.inverse(np.repeat(column, 3), ref.expected + offsets)
        return float(values[0]), float(values[1]), float(values[2])


def off_the_ends(share: Floats, n: Floats) -> Floats:
    """Shares of ``n`` observations, off 0 and 1 by half of one: what was never seen is not impossible."""
    least = 0.5 / (n + 1.0)
    result: Floats = np.clip(share, least, 1.0 - least)
    return result
