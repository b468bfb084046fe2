"""What the siblings of a new or thin series lend it, so that it is judged before its own history is enough.

Siblings are the series of the same signal in segments of the same dimensions: all tenants, all versions of prompts.
Every half hour those that are known well and have learned enough tell, for each signal on its scale,

    mu0    the median of what is expected of them now, the course of the week included
    tau    how far a newcomer may lie from it, see below
    s0^2   the spread per event that nine tenths of them do not exceed
    phi    the median inflation of every time scale (``detectors.drift.glr``)

and a series that has a third of the history that it needs, W observations of the level xbar in k panes, is compared
with

    s^2   = (5 s0^2 + (k - 1) s_own^2) / (k + 4)     the siblings' spread counts for 5 degrees of freedom
    W0    = s^2 / tau^2                              what their level is worth, in observations
    w     = min(1, 5 / (4 + z^2))                    z = (xbar - mu0) / sqrt(tau^2 + s^2 / W)
    level = (W xbar + w W0 mu0) / (W + w W0)         known like the mean of W + w W0 observations

until its own history is enough. Its inflation is the siblings' so long.

A series is never held against its siblings alone. One newcomer in some dozens is of a kind that no sibling is of,
and nobody can tell that from being ill from the first minute: such findings cost more of the budget of false alarms
than they are worth. So its own first observations dominate the level, the more the less it is like the others: w is
the weight that Student's t with 4 degrees of freedom gives. What the siblings' spread and inflation buy is time: a
change shows in a series that has a third of the history. Measured by ``python -m tests.benchmarks.newcomers``.

How much siblings differ is known from a few of them, and real differences have heavy tails. Therefore

    tau = (1 + 10 / K) max(3 tau_robust, 3 tolerance, the distance that 99 % of the K siblings do not exceed)

tau_robust^2 is the squared median distance from mu0 (scaled for the normal distribution) beyond sampling noise; the
last term is the farthest sibling of up to a hundred, less what two sigmas of sampling noise explain; the first
factor allows for those of another kind that a few siblings do not show.

Nothing is lent by fewer than ``LEAST_LENDERS``, of rates (tenants differ by orders of magnitude), and of ratios
that most siblings have next to never: a handful that never had it does not tell how rare it is.

Sources: James and Stein, Estimation with quadratic loss, 1961; Efron and Morris, Data analysis using Stein's
estimator and its generalizations, JASA 70, 1975; Lange, Little and Taylor, Robust statistical modeling using the t
distribution, JASA 84, 1989.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from detectors.base import Bools, Floats, Ints, State
from detectors.rows import Rows
from detectors.scales import Scales

LEAST_LENDERS: Final = 5
LEAST_HISTORY: Final = 1.0 / 3.0
"""Of the panes and observations that make a history enough: from then on siblings lend."""
_SPREAD_FREEDOM: Final = 5.0
"""Degrees of freedom of the siblings' spread beside a series' own."""
_TAIL_FREEDOM: Final = 4.0
"""Of Student's t that differences between siblings are taken to follow."""
_MOST_LENDERS: Final = 256
"""Of more siblings so many are asked, spread over all: enough to know a quantile, and cheap in large fleets."""
_RENEW_MS: Final = 1_800_000
_MAD_TO_SIGMA: Final = 1.4826
_WIDER: Final = 3.0
_FARTHEST: Final = 0.99
_NOISE: Final = 4.0
"""Two sigmas, squared: so far a sibling of little history may seem to be from the others."""
_FEW: Final = 10.0
_SPREAD: Final = 0.9
_MOST_WORTH: Final = 1000.0
_LEAST_RATIO: Final = 0.001
_ALIKE_RATIO: Final = 0.5
"""Ratios are never believed to be more alike than by half of what they are, or by the tolerance."""
_PARTS: Final = ("level", "between", "spread", "lenders")
_LENDERS: Final = _PARTS.index("lenders")


class Learned(NamedTuple):
    """What is known of some series by their own history; aligned arrays."""

    level: Floats
    spread: Floats
    """Variance of x of one observation."""
    weight: Floats
    ready: Bools
    phi: Floats
    """[series, scale]."""


class Loan(NamedTuple):
    """What siblings lend to some series; aligned arrays, 0 where ``lenders`` is 0."""

    level: Floats
    between: Floats
    """tau^2."""
    spread: Floats
    lenders: Ints


class Own(NamedTuple):
    """What some series know of themselves; aligned arrays."""

    level: Floats
    spread: Floats
    weight: Floats
    panes: Ints


def shrunk(own: Own, loan: Loan, is_ratio: Bools) -> tuple[Floats, Floats, Floats]:
    """(level, spread, weight) of thin series with what is lent to them; everyone has a loan and some weight."""
    freedom = np.maximum(own.panes - 1.0, 0.0)
    spread = (_SPREAD_FREEDOM * loan.spread + freedom * own.spread) / (_SPREAD_FREEDOM + freedom)
    variance = np.where(is_ratio, loan.level * (1.0 - loan.level), spread)
    z2 = (own.level - loan.level) ** 2 / (loan.between + variance / own.weight)
    alike = np.minimum((_TAIL_FREEDOM + 1.0) / (_TAIL_FREEDOM + z2), 1.0)
    worth = alike * np.minimum(variance / loan.between, _MOST_WORTH)
    weight = own.weight + worth
    return (own.weight * own.level + worth * loan.level) / weight, spread, weight


class Lending:
    """The loans of every signal within each group of siblings."""

    def __init__(self, scales: Scales, rows: Rows, phi_scales: int) -> None:
        self._scales = scales
        self._rows = rows
        self._signals = len(scales.rows)
        self._phi_scales = phi_scales
        self._renewed = -1
        self._begin(0)

    def _begin(self, groups: int) -> None:
        """Nothing is lent. The last group is nobody's: of who has no siblings, or came since they were asked."""
        self._groups = groups
        self._loans: Floats = np.zeros((len(_PARTS), groups + 1, self._signals))
        self._phi: Floats = np.zeros((groups + 1, self._signals, self._phi_scales))

    def of(self, index: Ints) -> Loan:
        """What is lent to some series."""
        group, column = self._place(index)
        level, between, spread, lenders = self._loans[:, group, column]
        return Loan(level, between, spread, lenders.astype(np.int64))

    def phi(self, index: Ints) -> Floats:
        """The inflation of each time scale that siblings lend to some series, [series, scale]."""
        result: Floats = self._phi[self._place(index)]
        return result

    def _place(self, index: Ints) -> tuple[Ints, Ints]:
        group = self._rows.kin(index // self._signals)
        return np.where((group < 0) | (group > self._groups), self._groups, group), index % self._signals

    def renew(self, now_ms: int, learned: Callable[[Ints], Learned]) -> None:
        """Ask the siblings anew when it is time; ``learned`` tells what they know by themselves."""
        if now_ms // _RENEW_MS == self._renewed:
            return
        self._renewed = now_ms // _RENEW_MS
        groups = len(self._rows.groups)
        self._begin(groups)
        rows = np.arange(self._rows.size)
        kin = np.where(self._rows.known_well(rows), self._rows.kin(rows), -1)
        for group in range(groups):
            siblings = np.flatnonzero(kin == group)
            if len(siblings) >= LEAST_LENDERS:
                self._ask(group, siblings[:: math.ceil(len(siblings) / _MOST_LENDERS)], learned)

    def _ask(self, group: int, rows: Ints, learned: Callable[[Ints], Learned]) -> None:
        shape = (len(rows), self._signals)
        known = learned((rows[:, None] * self._signals + np.arange(self._signals)).ravel())
        level, spread, weight = (part.reshape(shape) for part in (known.level, known.spread, known.weight))
        ready = known.ready.reshape(shape)
        count = ready.sum(axis=0)
        mu0 = _median(level, ready)
        distance = np.abs(level - mu0)
        noise = spread / np.maximum(weight, 1.0)
        robust = (_MAD_TO_SIGMA * _median(distance, ready)) ** 2 - _median(noise, ready)
        is_ratio = self._scales.is_ratio
        chance = mu0 * (1.0 - mu0)
        alike = _WIDER * self._scales.tolerance
        alike = np.where(is_ratio, np.minimum(alike, _ALIKE_RATIO * chance), alike)
        farthest = _quantile(distance**2 - _NOISE * noise, ready, _FARTHEST)
        few = 1.0 + _FEW / np.maximum(count, 1.0)
        between = few**2 * np.maximum.reduce([_WIDER**2 * robust, alike**2, farthest])
        s0 = _quantile(spread, ready, _SPREAD)
        lends = (count >= LEAST_LENDERS) & ~self._scales.is_rate & (between > 0)
        lends &= ~is_ratio | (np.minimum(mu0, 1.0 - mu0) >= _LEAST_RATIO)
        self._loans[:, group] = np.where(lends, (mu0, between, s0, count), 0.0)
        phi = known.phi.reshape(*shape, self._phi_scales)
        middle = _median(phi, np.repeat(ready[:, :, None], self._phi_scales, axis=2))
        self._phi[group] = np.where(lends[:, None], middle, 0.0)

    def to_state(self) -> State:
        """Of the groups that lend, by name: their numbers depend on who came first."""
        names = self._rows.groups[: self._groups]
        lending = [at for at in range(self._groups) if self._loans[_LENDERS, at].any()]
        groups = sorted(lending, key=names.__getitem__)
        return {
            "renewed": self._renewed,
            "groups": [list(names[at]) for at in groups],
            "loans": self._loans[:, groups].astype("<f8").tobytes(),
            "phi": self._phi[groups].astype("<f8").tobytes(),
        }

    def from_state(self, state: State) -> None:
        groups = [self._rows.group_of(tuple(dimensions)) for dimensions in state["groups"]]
        self._begin(max(groups, default=-1) + 1)
        self._renewed = int(state["renewed"])
        shape = (len(groups), self._signals)
        self._loans[:, groups] = np.frombuffer(state["loans"], "<f8").reshape(len(_PARTS), *shape)
        self._phi[groups] = np.frombuffer(state["phi"], "<f8").reshape(*shape, self._phi_scales)


def _median(values: Floats, known: Bools) -> Floats:
    """Of the known values along the first axis; 0 where there are none. Bits do not depend on their order."""
    ordered, count = np.sort(np.where(known, values, np.inf), axis=0), known.sum(axis=0)
    low, high = (np.maximum(count - 1, 0) // 2)[None], (count // 2)[None]
    high = np.minimum(high, len(values) - 1)
    middle = 0.5 * (np.take_along_axis(ordered, low, 0) + np.take_along_axis(ordered, high, 0))[0]
    return np.where(count > 0, middle, 0.0)


def _quantile(values: Floats, known: Bools, q: float) -> Floats:
    """The smallest known value that a share ``q`` of them does not exceed; 0 where there are none."""
    ordered, count = np.sort(np.where(known, values, np.inf), axis=0), known.sum(axis=0)
    at = np.maximum(np.ceil(q * count).astype(np.int64) - 1, 0)[None]
    return np.where(count > 0, np.take_along_axis(ordered, at, 0)[0], 0.0)
