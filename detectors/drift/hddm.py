"""HDDM: River's HDDM_A on the panes of ratios, both sides, laid out in columns.

Idea: Hoeffding's inequality bounds how far the mean of n values in an interval of width 1 lies from its
expectation, whatever their distribution: eps(n) = sqrt(ln(1/delta) / 2n). The beginning of the stream until its
mean plus eps was lowest is remembered; the series fires for a rise when the mean of everything exceeds the mean of
that part by more than chance allows,

    mean_n - mean_m >= sqrt( (n - m) / (2 m n) ln(2/delta) )        m of n observations until the lowest point

for a fall with the highest point, and begins anew. A pane counts for as many observations as it is worth, held
against what the baseline expected (``detectors.drift.shares``): River's running means with weights. With one
observation a pane it equals ``river.drift.binary.HDDMA(two_sided_test=True)`` bit for bit (tested), its warning
zone left out. Of the two HDDM it is the one that asks only for sums: HDDM_W weighs observations by their order,
which a count of k among n has lost.

What it sees: lasting changes of ratios near one half as surely as anything; rare properties late, since the bound
allows for the spread of a coin: at 2 % it wants 3.6 times the distance, in sigmas, that a binomial test would.
Everything since it began counts, so it gets slower with age like DDM, without DDM's guesses about small samples.

False alarms: delta bounds one test of independent observations. Panes may have heavier tails; with 1e-9, and a
pane clipped at 4 sigmas, a million panes with the tails of Student t 4 or an exponential gave none (tested).
Price: 0.15 us an update in columns of 2,000 series, 56 bytes a series.

``statistic`` is 2 m n / (n - m) (mean_n - mean_m)^2 in nats, its threshold ln(2/delta).

Source: Frias-Blanco et al., Online and non-parametric drift detection methods based on Hoeffding's bounds, IEEE
TKDE 27, 2015; river 0.26.1 river/drift/binary/hddm_a.py.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final, Literal, NamedTuple

import numpy as np
from pydantic import Field

from detectors.base import Batch, Bools, Columns, Floats, Hits, Ints, Params, State
from detectors.drift.shares import Rebased

_CLIP_SIGMAS: Final = 4.0
_COLUMNS: Final = ("n", "mean", "low_n", "low_mean", "high_n", "high_mean")


class HddmParams(Params):
    """Parameters of HDDM_A on the panes of ratios."""

    delta: float = Field(
        default=1e-9, gt=0, lt=1,
        description="Confidence of one test: a bound on its false alarms (River: 0.001).",
    )  # fmt: skip


class _Mean(NamedTuple):
    """Means of some observations of each series."""

    n: Floats
    mean: Floats

    def where(self, condition: Bools, other: _Mean) -> _Mean:
        """These where ``condition``, else the others."""
        return _Mean(np.where(condition, self.n, other.n), np.where(condition, self.mean, other.mean))


class Hddm:
    """One two-sided HDDM_A per ratio."""

    name: ClassVar[str] = "hddm"
    family: ClassVar[Literal["drift", "outlier"]] = "drift"

    def __init__(self, params: HddmParams) -> None:
        self.params = params
        self._shares = Rebased(_CLIP_SIGMAS)
        self._state = Columns(**dict.fromkeys(_COLUMNS, (np.float64, 0.0)))

    def grow(self, size: int) -> None:
        self._shares.grow(size)
        self._state.grow(size)

    def update(self, batch: Batch) -> Hits:
        return self._shares.update(batch, self.step)

    def step(self, index: Ints, n: Floats, share: Floats) -> Hits:
        """River's update with weight ``n`` for the series in ``index``; series that fire begin anew."""
        s, bound = self._state, math.log(2.0 / self.params.delta)
        total = s["n"][index] + n
        mean = s["mean"][index]
        whole = _Mean(total, mean + (n / total) * (share - mean))
        eps = self._eps(whole.n)
        low = _Mean(s["low_n"][index], s["low_mean"][index])
        low = whole.where(low.n == 0, low)
        low = whole.where(low.mean + self._eps(low.n) >= whole.mean + eps, low)
        high = _Mean(s["high_n"][index], s["high_mean"][index])
        high = whole.where(high.n == 0, high)
        high = whole.where(high.mean - self._eps(high.n) <= whole.mean - eps, high)
        up, fired_up = _beyond(low, whole, whole.mean - low.mean, bound)
        down, fired_down = _beyond(high, whole, high.mean - whole.mean, bound)
        for name, value in zip(_COLUMNS, (*whole, *low, *high), strict=True):
            s[name][index] = value
        s.reset(index[fired_up | fired_down])
        return Hits(up, down, fired_up, fired_down, np.full(len(index), bound))

    def _eps(self, n: Floats) -> Floats:
        result: Floats = np.sqrt(1.0 / (2.0 * n) * math.log(1.0 / self.params.delta))
        return result

    def reset(self, index: Ints) -> None:
        self._shares.reset(index)
        self._state.reset(index)

    def to_state(self) -> State:
        return {"shares": self._shares.to_state(), "means": self._state.to_state()}

    def from_state(self, state: State) -> None:
        self._shares.from_state(state["shares"])
        self._state.from_state(state["means"])


def _beyond(part: _Mean, whole: _Mean, difference: Floats, bound: float) -> tuple[Floats, Bools]:
    """(nats of the difference, whether it is more than chance allows)."""
    later = part.n != whole.n
    m = np.where(later, (whole.n - part.n) / part.n * (1.0 / whole.n), 1.0)
    nats = np.where(later, 2.0 * np.maximum(difference, 0.0) ** 2 / m, 0.0)
    return nats, later & (difference >= np.sqrt(m / 2.0 * bound))
