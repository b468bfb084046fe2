"""What detectors of yes-or-no streams are given: each pane of a ratio as so many observations with such a share.

DDM and HDDM take every answer for an independent draw with one fixed chance. Traffic is neither: answers come in
bursts, and the expected share follows the hour. So a pane of ``n`` observations with the share ``x`` enters as

    n' = min(n, e (1 - e) / sigma^2)        share' = x - e + b

e being what the baseline expects of this pane, sigma how far such panes lie from it (bursts, serial correlation
and tolerance included), and b what was expected when the series began: the course of the day is gone, a burst
counts for as much as it tells, and independent observations that stay at e enter as they are. share' may leave
[0, 1] a little; it still has the width of 1 that Hoeffding's bound asks for. Where asked for, one pane counts for
no more than some sigmas, or one observation if that is more: what one wild pane shows is no lasting change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detectors.base import Batch, Columns, Floats, Hits, Ints, State, without_nan
from detectors.drift.glr import BERNOULLI


class Shares(NamedTuple):
    """The panes of a batch that are ratios; aligned arrays."""

    at: Ints
    """Positions in the batch."""
    n: Floats
    """Observations that the pane is worth, above 0."""
    share: Floats


def widened(hits: Hits, at: Ints, size: int) -> Hits:
    """What was found at some positions of a batch of ``size`` series; the others are quiet."""
    whole = Hits(
        np.zeros(size), np.zeros(size), np.zeros(size, bool), np.zeros(size, bool), np.full(size, np.inf)
    )
    for column, some in zip(whole, hits, strict=True):
        column[at] = some
    return whole


class Rebased:
    """Panes of ratios, held against what was expected of them."""

    def __init__(self, clip_sigmas: float = np.inf) -> None:
        self._clip_sigmas = clip_sigmas
        self._began = Columns(share=(np.float64, np.nan))

    def grow(self, size: int) -> None:
        self._began.grow(size)

    def of(self, batch: Batch) -> Shares:
        """Panes of anything but a ratio and empty ones are left out: they change nothing."""
        at = np.flatnonzero((batch.family == BERNOULLI) & (batch.n > 0))
        n, index = batch.n[at], batch.series[at]
        expected = batch.expected[at] / n
        began = self._began["share"]
        began[index] = np.where(np.isnan(began[index]), expected, began[index])
        sigma = batch.sigma[at]
        limit = np.minimum(np.maximum(self._clip_sigmas * sigma, 1.0 / n), 1.0)
        off = np.clip(without_nan(batch.deviation[at] / n), -limit, limit)
        worth = expected * (1.0 - expected) / sigma**2
        return Shares(at, np.minimum(n, worth), began[index] + off)

    def update(self, batch: Batch, step: Callable[[Ints, Floats, Floats], Hits]) -> Hits:
        """What a detector's ``step`` (series, observations, shares) finds in the ratios; what fires begins anew."""
        at, n, share = self.of(batch)
        some = step(batch.series[at], n, share)
        self.reset(batch.series[at[some.fired_up | some.fired_down]])
        return widened(some, at, len(batch.series))

    def reset(self, index: Ints) -> None:
        self._began.reset(index)

    def to_state(self) -> State:
        return self._began.to_state()

    def from_state(self, state: State) -> None:
        self._began.from_state(state)
