"""Dyadic GLR: since some time ago this series has not been what it was; since when, how far, and how surely.

For every series the sums since each of about 2 log2(n) candidate change points are kept (``dyadic``). The statistic
is the largest generalised likelihood ratio over the candidates, in nats:

    G = max over s of  n_s D(mean since s, reference)      D the divergence of the family (``families``)

so no size of change has to be guessed: large ones show in the short stretches, small ones in the long. The
candidate that attains it is the estimated change point, the mean since then the new level.

Real series wander more than independent values do, and at each time scale differently (bursts, cycles, drift).
Each series learns that: whenever a block of 2^l values is complete and nothing is wrong, its squared standardised
deviation updates phi_l, the variance inflation at that scale; the ratio of a stretch is divided by the phi of its
scale. A scale with little history borrows from the next smaller one.

Chernoff bounds the chance of G > h at one moment by 2 x candidates x e^-h for the stated families. What real
traffic adds is measured afterwards (``detectors.tails``), which turns nats into false alarms a week.

Sources: Willsky and Jones, A generalized likelihood ratio approach, IEEE TAC 21, 1976; Lorden, Procedures for
reacting to a change in distribution, Ann. Math. Stat. 42, 1971.
"""

from __future__ import annotations

import itertools
from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from detectors.base import Batch, Bools, Change, Columns, Floats, Grid, Hits, Ints, Params, State, without_nan
from detectors.drift.dyadic import LEVELS, Dyadic, Formed
from detectors.drift.families import bernoulli, gaussian, negative_binomial
from detectors.slots import Slots

GAUSSIAN: Final = 0
BERNOULLI: Final = 1
NEGATIVE_BINOMIAL: Final = 2
_SCALE_OF_BLOCK: Final = np.minimum(np.r_[0, 1, np.repeat(np.arange(1, LEVELS), 2) + 1], LEVELS - 1)
"""A stretch that begins with a block of level l is 2^(l+1) values or a little more long."""

_MOST_SIGMAS: Final = 1e6
"""Farther away is as good as infinitely far, and sums of it are finite."""


class GlrParams(Params):
    """Parameters of the dyadic GLR."""

    report_nats: float = Field(
        default=8.0,
        gt=1,
        le=100,
        description="Evidence is reported from this many nats; TRIAGE decides on it.",
    )
    clip_sigmas: float = Field(
        default=4.0, gt=1, le=100, description="One pane of a mean counts for no more than this deviation."
    )
    suspect_nats: float = Field(
        default=6.0, gt=1, le=100, description="From this many nats neither baseline nor inflation learn."
    )
    max_suspect_panes: int = Field(
        default=720, ge=1, le=1_000_000,
        description="Panes in a row that suspicion may keep from the baseline: nothing blinds a series for ever.",
    )  # fmt: skip
    phi_prior: float = Field(
        default=4.0, gt=0, le=1000,
        description="The inflation of the next smaller scale counts for this many blocks.",
    )  # fmt: skip
    phi_gain: float = Field(
        default=0.02, gt=0, le=1, description="Least weight of a new block in the inflation of its scale."
    )
    phi_clip: float = Field(
        default=25.0, gt=1, le=1000, description="A block's squared deviation counts for no more than this."
    )


class Glr:
    """The dyadic GLR of every series."""

    name: ClassVar[str] = "glr"
    family: ClassVar[Literal["drift", "outlier"]] = "drift"

    def __init__(self, params: GlrParams) -> None:
        self.params = params
        self._slots = Slots()
        """A kilobyte and a quarter each: only for series that were ever judged."""
        self._blocks = Dyadic()
        self._phi = Grid(LEVELS, fill=1.0)
        self._seen = Grid(LEVELS)
        """Blocks that phi was learned from."""
        self._change = Columns(
            nats=(np.float64, 0.0), since_ms=(np.int64, 0), n=(np.float64, 0.0), deviation=(np.float64, 0.0),
            expected=(np.float64, 0.0), suspected=(np.int64, 0),
        )  # fmt: skip

        self._grow_rows()

    def grow(self, size: int) -> None:
        self._slots.grow(size)
        self._change.grow(size)

    def _grow_rows(self) -> None:
        for part in (self._blocks, self._phi, self._seen):
            part.grow(self._slots.room)

    def _take(self, index: Ints) -> Ints:
        """The rows of some series, to be written."""
        rows = self._slots.take(index)
        self._grow_rows()
        return rows

    def update(self, batch: Batch) -> Hits:
        # Families side by side are slices; anything else would copy the sums of every block.
        order = np.argsort(batch.family, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return Hits._make(column[back] for column in self._update(batch.take(order)))

    def _update(self, batch: Batch) -> Hits:
        index, slots = batch.series, self._take(batch.series)
        clipped, seen = self._deviations(batch, slots)
        sums = np.stack((batch.n, clipped, batch.expected, seen))
        formed = self._blocks.push(slots, sums, batch.start_ms)
        since, starts = self._blocks.suffixes(slots)
        nats = np.where(starts > 0, self._ratios(batch, slots, since[0], since[1], since[2]), 0.0)
        best, series = nats.argmax(axis=0), np.arange(len(index))
        statistic = nats[best, series]
        n, deviation, expected, whole = since[:, best, series]
        self._remember(index, Change(statistic, starts[best, series], n, whole, expected))
        calm = batch.learn & ~self.suspected(index)
        self._learn(batch, slots, calm, [Formed(series, 0, sums), *formed])
        above = deviation > 0
        fired = statistic >= self.params.report_nats
        return Hits(
            np.where(above, statistic, 0.0),
            np.where(above, 0.0, statistic),
            fired & above,
            fired & ~above,
            np.full(len(index), self.params.report_nats),
        )

    def _remember(self, index: Ints, change: Change) -> None:
        for name, column in change._asdict().items():
            self._change[name][index] = column
        suspect = change.nats >= self.params.suspect_nats
        self._change["suspected"][index] = np.where(suspect, self._change["suspected"][index] + 1, 0)

    def suspected(self, index: Ints, patience: Ints | None = None) -> Bools:
        """Which series may have changed, so that what they show now must not be taken for normal.

        ``patience``: for so many panes in a row at most, if that is less than ``max_suspect_panes``.
        """
        panes, most = self._change["suspected"][index], self.params.max_suspect_panes
        result: Bools = (panes > 0) & (panes <= (most if patience is None else np.minimum(patience, most)))
        return result

    def change(self, index: Ints) -> Change:
        """The likeliest change of each series, as of its last pane."""
        return Change(*(self._change[name][index] for name in Change._fields))

    def since(self, index: Ints, n: float) -> Change:
        """What each series showed in its last ``n`` observations, as far as its blocks tell; without evidence."""
        sums, starts = self._blocks.suffixes(self._slots.of(index))
        return _without_evidence(sums, starts, np.abs(sums[0] - n))

    def since_ms(self, index: Ints, start_ms: int) -> Change:
        """The same since a time or soon after it; ``n`` is 0 where nothing began since."""
        sums, starts = self._blocks.suffixes(self._slots.of(index))
        after = starts - float(start_ms)
        return _without_evidence(sums, starts, np.where(after >= 0, after, np.inf))

    def _deviations(self, batch: Batch, slots: Ints) -> tuple[Floats, Floats]:
        """As evidence, and as seen: one wild mean must not speak for a stretch, but how far it was is told whole.

        What many values say counts for as many small panes. Ratios and rates are bounded by what they are.
        """
        phi = np.maximum(1.0, self._phi.rows[slots, 0])
        sigma = np.sqrt(batch.variance * batch.n * (1.0 + batch.n / batch.weight) * phi)
        most = self.params.clip_sigmas * np.sqrt(batch.bulk) * sigma + batch.n * batch.tolerance
        limit = np.where(batch.family == GAUSSIAN, most, np.inf)
        seen = np.clip(without_nan(batch.deviation), -_MOST_SIGMAS * sigma, _MOST_SIGMAS * sigma)
        return np.clip(seen, -limit, limit), seen

    def _ratios(self, batch: Batch, slots: Ints, n: Floats, deviation: Floats, expected: Floats) -> Floats:
        """Nats of every candidate, [block, series], from the sums since each; families side by side."""
        phi = self._inflation(slots)[_SCALE_OF_BLOCK]
        nats = np.zeros_like(n)
        bounds = np.searchsorted(
            batch.family, [GAUSSIAN, BERNOULLI, NEGATIVE_BINOMIAL, NEGATIVE_BINOMIAL + 1]
        )
        for family, (first, end) in enumerate(itertools.pairwise(bounds.tolist())):
            if first == end:
                continue
            at = slice(first, end)
            some, off, hoped, inflation = n[:, at], deviation[:, at], expected[:, at], phi[:, at]
            weight, tolerance = batch.weight[at], batch.tolerance[at]
            if family == GAUSSIAN:
                mean = off / np.maximum(some, 1e-12)
                nats[:, at] = gaussian(mean, some, weight, batch.variance[at], inflation, tolerance)
            elif family == BERNOULLI:
                share = hoped / np.maximum(some, 1e-12)
                nats[:, at] = bernoulli(off + hoped, some, share, weight, inflation, tolerance)
            else:
                nats[:, at] = negative_binomial(off + hoped, hoped, inflation, tolerance)
        return nats

    def inflation(self, index: Ints) -> Floats:
        """phi of every scale, [series, level]: its own as far as it is known, else the next smaller one's."""
        return self._inflation(self._slots.of(index)).T

    def _inflation(self, slots: Ints) -> Floats:
        """The same, [level, series]."""
        own, seen = (np.ascontiguousarray(grid.rows[slots].T) for grid in (self._phi, self._seen))
        prior = self.params.phi_prior
        known = np.empty((LEVELS, len(slots)))
        smaller = np.ones(len(slots))
        for level in range(LEVELS):
            smaller = np.maximum(1.0, (seen[level] * own[level] + prior * smaller) / (seen[level] + prior))
            known[level] = smaller
        return known

    def _learn(self, batch: Batch, slots: Ints, calm: Bools, formed: list[Formed]) -> None:
        """Take the blocks that have just become complete into the inflation of their scales."""
        at = np.concatenate([blocks.at for blocks in formed])
        keep = calm[at]
        where = at[keep]
        level = np.repeat([blocks.level for blocks in formed], [len(blocks.at) for blocks in formed])[keep]
        n, deviation, expected, _ = np.concatenate([blocks.sums for blocks in formed], axis=1)[:, keep]
        slot, rate = slots[where], batch.family[where] == NEGATIVE_BINOMIAL
        spread = n * batch.variance[where] * (1.0 + n / batch.weight[where])
        variance = np.where(rate, np.maximum(expected, 0.25), spread)
        tolerance = n * np.where(rate, 0.0, batch.tolerance[where])
        beyond = np.maximum(np.abs(deviation) - tolerance, 0.0)
        smaller = np.maximum(1.0, self._phi.rows[slot, np.maximum(level - 1, 0)])
        z2 = np.minimum(beyond**2 / variance, self.params.phi_clip * smaller)
        seen, phi = self._seen.rows[slot, level], self._phi.rows[slot, level]
        gain = np.maximum(1.0 / (seen + 1.0), self.params.phi_gain)
        self._phi.rows[slot, level] = phi + gain * (z2 - phi)
        self._seen.rows[slot, level] = np.minimum(seen + 1.0, 1.0 / self.params.phi_gain)

    def lend(self, index: Ints, siblings: Ints) -> None:
        """Series without a past wander as their siblings do, until they show how they do themselves."""
        rows, others = self._take(index), self._slots.of(siblings)
        self._phi.rows[rows] = self._phi.rows[others].mean(axis=0)
        self._seen.rows[rows] = np.minimum(self._seen.rows[others].mean(axis=0), self.params.phi_prior)

    def endow(self, index: Ints, phi: Floats) -> None:
        """Series never judged so far wander by ``phi`` [series, scale], until they show how they do themselves."""
        new = self._slots.of(index) == 0
        if new.any():
            rows = self._take(index[new])
            self._phi.rows[rows], self._seen.rows[rows] = phi[new], self.params.phi_prior

    def restart(self, index: Ints) -> None:
        """Forget the recent past; how much a series wanders is still known."""
        self._blocks.reset(self._slots.of(index))
        self._change.reset(index)

    def reset(self, index: Ints) -> None:
        rows = self._slots.give_back(index)
        for part in (self._blocks, self._phi, self._seen):
            part.reset(rows)
        self._change.reset(index)

    def to_state(self) -> State:
        by_series = self._slots.by_series
        return {
            "blocks": {"grids": [by_series(grid) for grid in self._blocks.to_state()["grids"]]},
            "phi": by_series(self._phi.to_state()), "seen": by_series(self._seen.to_state()),
            "change": self._change.to_state(),
        }  # fmt: skip

    def from_state(self, state: State) -> None:
        self._change.from_state(state["change"])
        grids = state["blocks"]["grids"]
        used = [np.frombuffer(part["index"], "<i8") for part in (*grids, state["phi"], state["seen"])]
        self._slots.begin(len(self._change), np.unique(np.concatenate(used)).astype(np.int64))
        by_row = self._slots.by_row
        self._blocks.from_state({"grids": [by_row(grid) for grid in grids]})
        self._phi.from_state(by_row(state["phi"]))
        self._seen.from_state(by_row(state["seen"]))


def _without_evidence(sums: Floats, starts: Ints, off: Floats) -> Change:
    """What each series showed since the block that is least ``off``; nothing where none is finite."""
    off = np.where(starts > 0, off, np.inf)
    best, series = off.argmin(axis=0), np.arange(starts.shape[1])
    n, _, expected, deviation = np.where(np.isfinite(off[best, series]), sums[:, best, series], 0.0)
    return Change(np.zeros(len(series)), starts[best, series], n, deviation, expected)
