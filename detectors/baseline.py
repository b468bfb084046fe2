"""What is normal: recent and same-hour-of-week reference of every series, and how far a value is from it.

For a series with scored panes (x, n), x transformed (``detectors.scales``), n observations behind it:

* recent level    mu  = exponentially weighted mean of x, weight min(n, 4 mean n): heavy panes count more, but
  one giant pane cannot take the mean over;
  Beside a known shape of the week the level is remembered for a week (half-life 7 days), however busy the series;
* per-event spread s2 = exponentially weighted mean of n (x - mu)^2, which copes with any n and takes in
  over-dispersion; for ratios at least 0.02 x 0.98, for rates at least Poisson;
* seasonal shape  r(h) = mean of x in hour-of-week h over past weeks, interpolated between the middles of hours;
  once the hours around now were seen in an earlier week, x - r(t) has its own level and spread, and these are
  used instead: same hour of week where history allows, else recent;
* z = (x - expected) / sqrt(s2 (1/n + 1/W) + tolerance^2), W the weight behind the level;
* correlation between panes (tenants come in bursts) makes sums of z wander more than independent values would: the
  sums of batches of 32 panes have variance 32 v, v is tracked, and ``white`` = z / sqrt(max(1, v)) is for
  detectors that sum.

Learning comes after scoring. Learned deviations are clipped at ``clip_sigmas`` (Huber), so that outliers
hardly move it. Until ``min_panes`` panes with ``min_events`` events a series is *learning* and not judged,
unless its siblings lend it what it does not know yet (``detectors.lending``).

Sources: Huber, Robust Statistics, ch. 4 (clipping); exponentially weighted moments: Finch 2009; long-run
variance by batch means: Glynn and Whitt, Estimating the asymptotic variance with batch means, 1991.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from detectors.base import Bools, Columns, Floats, Ints, Params, State
from detectors.lending import LEAST_HISTORY, Lending, Loan, Own, shrunk
from detectors.scales import Scales
from detectors.season import Season

_WEIGHT_CAP: Final = 4.0
RATIO_FLOOR: Final = 0.02
"""Ratios nearer to 0 or 1 than this are treated as if they were at it: 0 of 10^4 says nothing about 1 of 10."""
_LEAST_OF_RECENT: Final = 0.5
"""The shape of the week takes no share, and none of what is left of 1, below this part of what it was lately."""
_BATCH_PANES: Final = 32
_BATCH_GAIN: Final = 0.05
_BATCH_PRIOR: Final = 3
"""The prior v = 1 counts as this many batches."""


class BaselineParams(Params):
    """How references are learned."""

    half_life_panes: int = Field(
        default=720, ge=10, le=1_000_000,
        description="Half-life of the recent reference, in panes with data; 720 windows of 10 s are two hours.",
    )  # fmt: skip
    rate_half_life_panes: int = Field(
        default=720, ge=10, le=1_000_000,
        description="The same for rates and spend, in rate panes; 720 panes of a minute are half a day.",
    )  # fmt: skip
    residual_half_life_days: float = Field(
        default=7.0, gt=0.01, le=1000,
        description="Half-life of the level and spread beside the shape of the week, once that is known; at least "
        "half_life_panes.",
    )  # fmt: skip
    min_panes: int = Field(
        default=30, ge=5, le=100_000,
        description="Panes with data before a series is judged; the spread is then known to 13 %.",
    )  # fmt: skip
    min_events: int = Field(
        default=100, ge=1, description="Observations before a series is judged; rates need panes only."
    )
    clip_sigmas: float = Field(
        default=3.0,
        gt=1,
        le=10,
        description="Deviations beyond this many sigmas are learned as if they were this.",
    )


class Reference(NamedTuple):
    """What the baseline says about some series now; arrays aligned with the asked series."""

    expected: Floats
    """In x."""
    event_variance: Floats
    weight: Floats
    ready: Bools
    """Whether the series' own history is enough."""
    season: Floats
    """r(t) where known, else NaN."""
    lenders: Ints
    """Siblings that lend to a series whose own history is not enough alone, else 0."""

    @property
    def judged(self) -> Bools:
        """Which series may be judged."""
        result: Bools = self.ready | (self.lenders > 0)
        return result

    def take(self, at: Ints) -> Reference:
        """The same for some of the series."""
        return Reference._make(column[at] for column in self)


def _levels() -> Columns:
    return Columns(weight=(np.float64, 0.0), mu=(np.float64, 0.0), s2=(np.float64, 0.0), panes=(np.int64, 0))


class Baseline:
    """References of all series; ``size`` grows with the monitor."""

    def __init__(
        self, params: BaselineParams, scales: Scales, signals: int, lending: Lending | None = None
    ) -> None:
        self.params = params
        self._lending = lending
        self.scales = scales
        self._signals = signals
        self._recent = _levels()
        self._residual = _levels()
        self._common = Columns(
            events=(np.int64, 0),
            mean_n=(np.float64, 0.0),
            batch=(np.float64, 0.0),
            batch_panes=(np.int64, 0),
            batches=(np.int64, 0),
            inflation=(np.float64, 1.0),
            learned_ms=(np.int64, -1),
            alone=(np.bool_, 0),
        )
        self._season = Season(signals)
        half = np.where(scales.is_rate, params.rate_half_life_panes, params.half_life_panes)
        self._alpha: Floats = 1.0 - 0.5 ** (1.0 / half)

    def grow(self, size: int) -> None:
        for columns in (self._recent, self._residual, self._common):
            columns.grow(size)
        self._season.grow(size // self._signals)

    def reset(self, index: Ints, *, forget_season: bool) -> None:
        """Start learning anew; a new normal keeps the shape of the week and learns its level alone."""
        for columns in (self._recent, self._residual, self._common):
            columns.reset(index)
        self._common["alone"][index] = not forget_season
        if forget_season:
            self._season.reset(np.unique(index // self._signals))

    def begin(self, index: Ints, x: float, weight: float, panes: int, now_ms: int) -> None:
        """Begin with what is known already: the level of so many observations, in so many panes."""
        self.reset(index, forget_season=True)
        level, common = self._recent, self._common
        level["mu"][index], level["weight"][index], level["panes"][index] = x, weight, panes
        common["events"][index], common["learned_ms"][index] = round(weight), now_ms
        common["mean_n"][index] = weight / max(panes, 1)

    def begin_beside(self, index: Ints, siblings: Ints, x: float, now_ms: int) -> None:
        """Begin a part of a whole with the history of the other parts, in which it had this level."""
        self.reset(index, forget_season=True)
        for columns, names in ((self._recent, ("weight", "panes")), (self._common, ("events", "mean_n"))):
            for name in names:
                columns[name][index] = columns[name][siblings].max()
        self._recent["mu"][index], self._common["learned_ms"][index] = x, now_ms

    def reference(self, index: Ints, now_ms: int) -> Reference:
        """What some series are compared with, what they are lent included."""
        ref = self.own(index, now_ms)
        return ref if self._lending is None else self._with_loans(self._lending, index, ref)

    def own(self, index: Ints, now_ms: int) -> Reference:
        """What is known of some series by their own history."""
        column = index % self._signals
        season = self._season.at(index, now_ms)
        seasonal = ~np.isnan(season) & (self._residual["panes"][index] >= self.params.min_panes)
        level = {
            name: np.where(seasonal, self._residual[name][index], self._recent[name][index])
            for name in ("weight", "mu", "s2")
        }
        expected = level["mu"] + np.where(seasonal, season, 0.0)
        recent = self._recent["mu"][index]
        # A small share plus a shape that is only estimated can come out as nothing, of which one is a miracle.
        near = np.clip(expected, _LEAST_OF_RECENT * recent, 1.0 - _LEAST_OF_RECENT * (1.0 - recent))
        expected = np.where(seasonal & self.scales.is_ratio[column], near, expected)
        lenders = np.zeros(len(index), np.int64)
        return Reference(expected, level["s2"], level["weight"], self.ready(index), season, lenders)

    def ready(self, index: Ints) -> Bools:
        """Which series are known well enough by their own history."""
        enough = self._common["events"][index] >= self.params.min_events
        result: Bools = (self._recent["panes"][index] >= self.params.min_panes) & (
            enough | self.scales.is_rate[index % self._signals]
        )
        return result

    def _with_loans(self, lending: Lending, index: Ints, ref: Reference) -> Reference:
        """The reference of series whose own history is not enough, and what their siblings lend them."""
        at = np.flatnonzero(~ref.ready)
        panes, events = self._recent["panes"][index[at]], self._common["events"][index[at]]
        params = self.params
        begun = (panes >= LEAST_HISTORY * params.min_panes) & (events >= LEAST_HISTORY * params.min_events)
        at = at[begun & ~self._common["alone"][index[at]]]
        if not len(at):
            return ref
        loan = lending.of(index[at])
        lent = loan.lenders > 0
        at, loan = at[lent], Loan._make(part[lent] for part in loan)
        if not len(at):
            return ref
        some = index[at]
        own = Own(*(self._recent[name][some] for name in ("mu", "s2", "weight", "panes")))
        borrowed = shrunk(own, loan, self.scales.is_ratio[some % self._signals])
        ref.expected[at], ref.event_variance[at], ref.weight[at] = borrowed
        ref.lenders[at] = loan.lenders
        return ref

    def mean_n(self, index: Ints) -> Floats:
        """Observations behind a pane of each series, on average; 0 before the first."""
        result: Floats = self._common["mean_n"][index]
        return result

    def between_hours(self, index: Ints, ref: Reference, x: Floats, now_ms: int) -> Reference:
        """Of ratios with a strong shape of the week: as near to ``x`` as the two hours around now allow."""
        low, high = self._season.around(index, now_ms)
        level, recent = self._residual["mu"][index], self._recent["mu"][index]
        season = np.where(np.isnan(ref.season), np.nan, np.clip(x - level, low, high))
        used = ~np.isnan(season) & (self._residual["panes"][index] >= self.params.min_panes)
        # What is large may go as far down as it likes; how the small are held off 0 see ``reference``.
        least = np.minimum(_LEAST_OF_RECENT * recent, RATIO_FLOOR)
        most = 1.0 - np.minimum(_LEAST_OF_RECENT * (1.0 - recent), RATIO_FLOOR)
        expected = np.where(used, np.clip(level + season, least, most), ref.expected)
        return ref._replace(expected=expected, season=season)

    def variance(self, index: Ints, ref: Reference, n: Floats) -> Floats:
        """Variance of x of ``n`` observations around the expected value, tolerance included."""
        column = index % self._signals
        p = np.clip(ref.expected, RATIO_FLOOR, 1.0 - RATIO_FLOOR)
        poisson = np.exp(-np.clip(ref.expected, 0.0, 60.0))
        floor = np.where(self.scales.is_ratio[column], p * (1.0 - p), 0.0)
        floor = np.where(self.scales.is_rate[column], poisson, floor)
        s2 = np.maximum(ref.event_variance, floor)
        result: Floats = (
            s2 * (1.0 / n + 1.0 / np.maximum(ref.weight, 1.0)) + self.scales.tolerance[column] ** 2
        )
        return result

    def standardise(self, index: Ints, ref: Reference, x: Floats, n: Floats) -> tuple[Floats, Floats, Floats]:
        """(z, white, sigma of white) of new values; meaningful where the series is ready."""
        plain = np.sqrt(self.variance(index, ref, n))
        inflation = np.sqrt(np.maximum(1.0, self._common["inflation"][index]))
        z = (x - ref.expected) / plain
        return z, z / inflation, plain * inflation

    def learn(self, index: Ints, ref: Reference, x: Floats, n: Floats, z: Floats, now_ms: int) -> None:
        """Take in new values of series that are neither frozen nor under suspicion."""
        if not len(index):
            return
        column = index % self._signals
        alpha = self._alpha[column]
        common = self._common
        mean_n = common["mean_n"][index]
        mean_n = np.where(mean_n > 0, mean_n + alpha * (n - mean_n), n)
        weight = np.minimum(n, _WEIGHT_CAP * mean_n)
        shrink = np.where(
            ref.ready, np.minimum(1.0, self.params.clip_sigmas / np.maximum(np.abs(z), 1e-9)), 1.0
        )
        taken = ref.expected + (x - ref.expected) * shrink
        taken = np.where(ref.ready, taken, x)
        self._step(self._recent, index, taken, weight, alpha)
        known = ~np.isnan(ref.season)
        if known.any():
            slow = self._slow(index, now_ms)
            self._step(self._residual, index[known], (taken - ref.season)[known], weight[known], slow[known])
        common["learned_ms"][index] = now_ms
        self._add_to_batches(index[ref.ready], z[ref.ready])
        common["mean_n"][index] = mean_n
        common["events"][index] += n.astype(np.int64)

    def _slow(self, index: Ints, now_ms: int) -> Floats:
        """What the residual forgets now: by time, so that a busy series knows its level as a week allows."""
        since_ms = np.maximum(now_ms - self._common["learned_ms"][index], 0)
        by_time = 1.0 - 0.5 ** (since_ms / (self.params.residual_half_life_days * 86_400_000.0))
        result: Floats = np.minimum(by_time, self._alpha[index % self._signals])
        return result

    def learn_season(self, index: Ints, ref: Reference, x: Floats, n: Floats, now_ms: int) -> None:
        """Take values into the shape of the week, unclipped: an hour not seen before is often a surprise."""
        if len(index):
            mean_n = self._common["mean_n"][index]
            weight = np.where(mean_n > 0, np.minimum(n, _WEIGHT_CAP * mean_n), n)
            self._season.learn(index, x, weight, ref.event_variance, now_ms)

    def _add_to_batches(self, index: Ints, z: Floats) -> None:
        common = self._common
        common["batch"][index] += np.clip(z, -self.params.clip_sigmas, self.params.clip_sigmas)
        common["batch_panes"][index] += 1
        full = index[common["batch_panes"][index] >= _BATCH_PANES]
        gain = np.maximum(1.0 / (common["batches"][full] + 1 + _BATCH_PRIOR), _BATCH_GAIN)
        inflation = common["inflation"][full]
        common["inflation"][full] = inflation + gain * (common["batch"][full] ** 2 / _BATCH_PANES - inflation)
        common["batches"][full] += 1
        common["batch"][full] = 0.0
        common["batch_panes"][full] = 0

    @staticmethod
    def _step(level: Columns, index: Ints, x: Floats, weight: Floats, alpha: Floats) -> None:
        panes = level["panes"][index] + 1
        total = level["weight"][index] * (1.0 - alpha) + weight
        before = x - level["mu"][index]
        mu = level["mu"][index] + np.where(panes > 1, weight / total, 1.0) * before
        spread = weight * before * (x - mu)
        gain = np.maximum(1.0 / np.maximum(panes - 1, 1), alpha)
        s2 = level["s2"][index]
        level["s2"][index] = np.where(panes > 1, s2 + gain * (spread - s2), 0.0)
        level["mu"][index] = mu
        level["weight"][index] = total
        level["panes"][index] = panes

    def to_state(self) -> State:
        return {
            "recent": self._recent.to_state(),
            "residual": self._residual.to_state(),
            "common": self._common.to_state(),
            "season": self._season.to_state(),
        }

    def from_state(self, state: State) -> None:
        self._recent.from_state(state["recent"])
        self._residual.from_state(state["residual"])
        self._common.from_state(state["common"], since=("alone",))
        self._season.from_state(state["season"])
