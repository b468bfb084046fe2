"""What DETECT knows of any series, in a person's units: level, band, evidence, and the smallest change it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from detectors.base import Bools, Floats, Ints
from detectors.baseline import Baseline
from detectors.detectable import Terms, observations_for, smallest_shift, terms_of
from detectors.drift.glr import Glr
from detectors.frozen import Frozen
from detectors.incidents.severity import BOUNDS
from detectors.mixes.monitor import Mixes
from detectors.observed import Observed
from detectors.records import SegmentKey, Signal, Worse
from detectors.rows import Rows
from detectors.scales import Scales
from detectors.scoring import Scoring
from detectors.tails import Tails
from detectors.view import View

_BAND_SIGMAS: Final = 3.0
_SPANS: Final = {"hour": 1.0, "day": 24.0}
_LEAST_SHIFT: Final = 0.05
"""Of a share: the change that is asked for where no type of incident warns."""


class Explanation(msgspec.Struct, frozen=True):
    """One series as of the last window, or one label of a mix.

    Values in the signal's unit, changes as ``change_is`` says. Changes are towards the bad side of the signal; None
    where the observations of that time show no change at all.
    """

    segment: SegmentKey
    signal: str
    label: str | None
    """Of a mix: whose share it is."""
    unit: str
    worse: Worse
    change_is: Literal["difference", "relative"]
    """``difference`` in the signal's unit (ratios and scores), else ``relative``: 0.1 is a tenth more."""
    learning: bool
    """Whether it has too little history to be judged; what needs a reference is None then."""
    open_incident: bool
    """Whether it is part of an incident, and so learns nothing."""
    expected: float | None
    lower: float | None
    """The band of one pane, three sigmas wide on either side."""
    upper: float | None
    observed: float | None
    """Since the likeliest change; ``expected`` was then what it was compared with."""
    since_ms: int | None
    observed_n: float
    """Observations since then."""
    nats: float
    """Evidence of the likeliest change in either direction."""
    false_per_week: float
    """How often a week chance shows as much in this signal, over all segments."""
    nats_needed: float
    """From this much on TRIAGE opens an incident."""
    observations_per_hour: float
    """Averaged over the last day or so; of a rate, interactions."""
    interactions_per_hour: float
    sample_rate: float
    """Observations over interactions, at most 1."""
    rise_hour: float | None
    rise_day: float | None
    fall_hour: float | None
    fall_day: float | None
    asked: float
    """The change that ``sample_rate_needed`` is for: from which an incident of its type warns, unless given."""
    sample_rate_needed: float | None
    """At which the change asked for shows within a day; None if not even at 1."""
    lenders: int
    """Segments of the same dimensions whose baselines lend to this one until it has enough history."""


class Explainer:
    """Reads the parts of DETECT; changes nothing."""

    def __init__(
        self, signals: Sequence[Signal], rows: Rows, baseline: Baseline, scales: Scales, scoring: Scoring, glr: Glr,
        tails: Tails, frozen: Frozen, observed: Observed, view: View, interactions: int, mixes: Mixes,
    ) -> None:  # fmt: skip
        """``interactions`` is the column of the signal whose count is the number of interactions."""
        self.signals = tuple(signals)
        self._column = {signal.name: at for at, signal in enumerate(signals)}
        self._plain: Bools = np.array([signal.unit in ("ratio", "score") for signal in signals], bool)
        """Whose changes are differences."""
        self._rows, self._baseline, self._scales, self._scoring = rows, baseline, scales, scoring
        self._glr, self._tails, self._frozen, self._observed = glr, tails, frozen, observed
        self._view, self._mixes = view, mixes
        self._interactions = interactions

    @property
    def segments(self) -> list[SegmentKey]:
        """Those with state, ascending."""
        return sorted(self._rows.known)

    def explain(
        self, segments: Sequence[SegmentKey], names: Sequence[str], false_per_week: float, now_ms: int,
        asked: float | None = None,
    ) -> list[Explanation]:  # fmt: skip
        """Every named signal of every segment, by segment; segments without state are left out. Mixes come last.

        ``false_per_week`` is what chance may cause of one signal (``Docket.budget``). ``asked`` is a change as
        ``Explanation.change_is`` says, for all of them.
        """
        known = [segment for segment in segments if self._rows.row(segment) is not None]
        of_mixes = [
            told
            for segment in known
            for name in names
            if name in self._mixes.column
            for told in self._labels(segment, name, false_per_week, now_ms, asked)
        ]
        pairs = [(segment, name) for segment in known for name in names if name in self._column]
        return (self._series(pairs, false_per_week, now_ms, asked) if pairs else []) + of_mixes

    def _series(
        self, pairs: Sequence[tuple[SegmentKey, str]], false_per_week: float, now_ms: int, asked: float | None
    ) -> list[Explanation]:
        row = np.array([self._rows.row(segment) for segment, _ in pairs], np.int64)
        column = np.array([self._column[name] for _, name in pairs], np.int64)
        index = row * len(self.signals) + column
        seen = self._observed.per_hour(row, column, now_ms)
        whole = self._observed.per_hour(row, np.full_like(row, self._interactions), now_ms)
        needed = self.nats_needed(index, false_per_week)
        wanted = np.array([self._warns_from(c) if asked is None else asked for c in column.tolist()])
        terms, told = self.terms(index, now_ms), self._levels(index, now_ms)
        lenders = self._baseline.reference(index, now_ms).lenders
        changes = self._smallest(terms, column, seen, needed)
        share_needed = self._share_needed(terms, column, wanted, needed, whole)
        found = []
        for at, (segment, name) in enumerate(pairs):
            signal, effect = self.signals[int(column[at])], self._view.effect(segment, name)
            nats = 0.0 if effect is None else effect.nats
            learning = bool(np.isnan(told["expected"][at]))
            known = {k: None if learning else _number(v[at]) for k, v in (told | changes).items()}
            found.append(
                Explanation(
                    segment=segment, signal=name, label=None, unit=signal.unit, worse=signal.worse,
                    change_is="difference" if self._plain[column[at]] else "relative",
                    learning=learning,
                    open_incident=bool(self._frozen.holds(index[at : at + 1])[0]),
                    observed=None if effect is None else effect.observed,
                    since_ms=None if effect is None else effect.since_ms,
                    observed_n=0.0 if effect is None else effect.n,
                    nats=nats,
                    false_per_week=self._tails.false_per_week(int(index[at]), nats),
                    nats_needed=float(needed[at]),
                    observations_per_hour=float(seen[at]),
                    interactions_per_hour=float(whole[at]),
                    sample_rate=min(1.0, float(seen[at] / whole[at])) if whole[at] > 0 else 0.0,
                    asked=float(wanted[at]),
                    sample_rate_needed=None if learning else _number(share_needed[at]),
                    lenders=int(lenders[at]),
                    **known,
                )
            )  # fmt: skip
        return found

    def _labels(
        self, segment: SegmentKey, name: str, false_per_week: float, now_ms: int, asked: float | None
    ) -> list[Explanation]:
        """The labels of a mix, the heaviest first; none while it learns, or of one label only."""
        row = np.array([self._rows.row(segment)], np.int64)
        signal, shares = (
            self._mixes.signal(name),
            self._mixes.shares(int(row[0]), name, false_per_week, now_ms),
        )
        whole = float(self._observed.per_hour(row, np.array([self._interactions]), now_ms)[0])
        known, change = shares.known, shares.known.change
        needed = np.full(len(shares.labels), shares.nats_needed)
        least = min((of[name].warning for of in BOUNDS.values() if name in of), default=_LEAST_SHIFT)
        wanted = least if asked is None else asked
        told = {
            f"{side}_{span}": smallest_shift(known.terms, shares.per_hour * hours, needed, up=side == "rise")
            for side in ("rise", "fall")
            for span, hours in _SPANS.items()
        }
        most = np.full(len(needed), max(whole * _SPANS["day"], 1.0))
        enough = observations_for(
            known.terms, np.full(len(needed), wanted), needed, most, shares.panes_per_day
        )
        found = []
        for at in np.argsort(-known.expected, kind="stable").tolist():
            n, nats = float(change.n[at]), float(change.nats[at])
            observed = float(change.expected[at] + change.deviation[at]) / n if n > 0.0 else None
            found.append(
                Explanation(
                    segment=segment, signal=name, label=shares.labels[at], unit=signal.unit, worse=signal.worse,
                    change_is="difference", learning=not known.ready[at], open_incident=shares.open_incident,
                    expected=float(known.expected[at]), lower=float(known.lower[at]),
                    upper=float(known.upper[at]), observed=observed,
                    since_ms=int(change.since_ms[at]) if n > 0.0 else None, observed_n=n, nats=nats,
                    false_per_week=self._mixes.false_per_week(int(row[0]), name, nats),
                    nats_needed=shares.nats_needed,
                    observations_per_hour=float(shares.per_hour[at]), interactions_per_hour=whole,
                    sample_rate=min(1.0, float(shares.per_hour[at]) / whole) if whole > 0.0 else 0.0,
                    asked=wanted, sample_rate_needed=_number(float(enough[at] / most[at])), lenders=0,
                    **{key: _number(value[at]) for key, value in told.items()},
                )
            )  # fmt: skip
        return found

    def hints(self, name: str, lax: float, false_per_week: float, now_ms: int) -> list[Explanation]:
        """Series of a signal that hint at a change to the bad side: chance shows as much ``lax`` times a week.

        An incident would need evidence as rare as ``false_per_week``. What is asked for is the change seen.
        """
        column = self._column[name]
        segments = self.segments
        if not segments:
            return []
        row = np.array([self._rows.row(segment) for segment in segments], np.int64)
        index = row * len(self.signals) + column
        nats = self._glr.change(index).nats
        least, most = self._nats_at(index, lax), self.nats_needed(index, false_per_week)
        found = []
        for at in np.flatnonzero((nats >= least) & (nats < most)).tolist():
            effect = self._view.effect(segments[at], name)
            up = effect is not None and effect.shift > 0
            if effect is None or self.signals[column].worse not in ("both", "up" if up else "down"):
                continue
            size = abs(effect.shift if self._plain[column] else float(np.expm1(effect.shift)))
            found += self.explain([segments[at]], [name], false_per_week, now_ms, asked=size)
        return found

    def nats_needed(self, index: Ints, false_per_week: float) -> Floats:
        """The evidence of series that chance shows only ``false_per_week`` times a week, and that is reported."""
        return np.maximum(self._glr.params.report_nats, self._nats_at(index, false_per_week))

    def _nats_at(self, index: Ints, per_week: float) -> Floats:
        column, known = index % len(self.signals), self._tails.known(index)
        pairs, which = np.unique(np.stack([column, known]), axis=1, return_inverse=True)
        nats = [self._tails.nats_at(c, per_week, known=bool(k)) for c, k in pairs.T.tolist()]
        result: Floats = np.array(nats)[which.ravel()]
        return result

    def terms(self, index: Ints, now_ms: int) -> Terms:
        """What the likelihood of some series is made of now."""
        return terms_of(index, self._pane_n(index), now_ms, self._baseline, self._scoring, self._glr)

    def _pane_n(self, index: Ints) -> Floats:
        """Observations of a pane; of a rate, the pane itself."""
        rate = self._scales.is_rate[index % len(self.signals)]
        return np.where(rate, 1.0, np.maximum(self._baseline.mean_n(index), 1.0))

    def _levels(self, index: Ints, now_ms: int) -> dict[str, Floats]:
        """Expected value and band of one pane, in the signal's unit; NaN while learning."""
        ref, column = self._baseline.reference(index, now_ms), index % len(self.signals)
        sigma = np.sqrt(self._baseline.variance(index, ref, self._pane_n(index)))
        found = {}
        for name, sigmas in (("expected", 0.0), ("lower", -_BAND_SIGMAS), ("upper", _BAND_SIGMAS)):
            level = self._scales.inverse(column, ref.expected + sigmas * sigma)
            found[name] = np.where(ref.judged, level, np.nan)
        return found

    def _smallest(self, terms: Terms, column: Ints, per_hour: Floats, nats: Floats) -> dict[str, Floats]:
        """The smallest changes towards the bad side within each span; NaN where there are none."""
        found = {}
        for side, up in (("rise", True), ("fall", False)):
            bad = np.array(
                [self.signals[c].worse in ("both", "up" if up else "down") for c in column.tolist()]
            )
            for span, hours in _SPANS.items():
                shift = smallest_shift(terms, self._counted(column, per_hour) * hours, nats, up=up)
                change = np.where(self._plain[column], shift, np.expm1(shift))
                found[f"{side}_{span}"] = np.where(bad, change, np.nan)
        return found

    def _counted(self, column: Ints, per_hour: Floats) -> Floats:
        """Observations an hour as the likelihood counts them: of a rate, its panes."""
        return np.where(self._scales.is_rate[column], self._scales.panes_per_hour, per_hour)

    def _share_needed(
        self, terms: Terms, column: Ints, change: Floats, nats: Floats, interactions: Floats
    ) -> Floats:
        """The sample rate at which a change towards the bad side shows within a day; NaN where none does."""
        down = np.array([self.signals[c].worse == "down" for c in column.tolist()])
        sign = np.where(down, -1.0, 1.0)
        factor = np.log1p(np.maximum(sign * change, -0.999))
        shift = np.where(self._plain[column], sign * change, factor)
        whole = np.maximum(interactions * _SPANS["day"], 1.0)
        panes = self._scales.windows_per_hour * _SPANS["day"]
        enough: Floats = observations_for(terms, shift, nats, whole, panes) / whole
        return np.where(self._scales.is_rate[column], np.nan, enough)

    def _warns_from(self, column: int) -> float:
        """The least change of a signal that any type of incident warns from, as ``change_is`` says."""
        name = self.signals[column].name
        bounds = [of[name].warning for of in BOUNDS.values() if name in of and of[name].warning > 0.0]
        least = min(bounds, default=float(self._scales.notable[column]))
        return least if self._plain[column] else float(np.expm1(least))


def _number(value: float) -> float | None:
    return None if value != value else float(value)
