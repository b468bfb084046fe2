"""From the labels of a mix that moved to evidence, and when a frozen mix is back.

A frozen mix is back when the label that moved most is. Its log odds moved by d; each pane, k of n observations with
a share p expected now, adds the Bernoulli likelihood ratio of p over p moved by d to the CUSUM of ``frozen``,

    n log(1 + p (e^d - 1)) - k d

over the dispersion of the series where its share is not small. So a share of a thousandth counts for what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.base import Ints, State
from detectors.drift.glr import Glr
from detectors.frozen import Frozen
from detectors.incidents.severity import Extent, severity_of
from detectors.mixes.counts import Counts
from detectors.mixes.movers import for_usual, log_odds, moved, mover_of, share
from detectors.records import Evidence, Severity, Signal
from detectors.rows import Rows
from detectors.scales import scale_of
from detectors.scoring import Scored, Scoring
from detectors.sketches.window import WindowBlock
from detectors.tails import Tails
from detectors.telling import Said, level_is_back

_LEAST_LOG_ODDS: Final = 0.1
"""Less than this counts as this, or the end of a change would never be certain."""


class MixReporter:
    """Puts what the labels of mixes show into words; state is what was said, and whose return is awaited.

    A pair is one mix of one segment: row of the segment x mixes + mix.
    """

    def __init__(
        self, signals: Sequence[Signal], rows: Rows, counts: Counts, scoring: Scoring, glr: Glr, tails: Tails,
        frozen: Frozen, repeat_secs: int,
    ) -> None:  # fmt: skip
        """``signals`` are the mixes, ``frozen`` and ``tails`` are by pair, the others by label."""
        self._signals = signals
        self._rows, self._counts, self._scoring = rows, counts, scoring
        self._glr, self._tails, self._frozen = glr, tails, frozen
        self._pairs = Said(repeat_secs, mover=(np.int64, -1), log_odds=(np.float64, 0.0))

    def grow(self, pairs: int) -> None:
        self._pairs.grow(pairs)

    def reset(self, pairs: Ints) -> None:
        self._pairs.reset(pairs)

    def is_news(self, pair: int, nats: float, now_ms: int) -> bool:
        """Whether that is to be told; then it has been."""
        if not self._pairs.is_news(pair, nats, now_ms):
            return False
        self._pairs.note(pair, nats, now_ms)
        return True

    def evidence(self, pair: int, at: Ints, nats: float, scored: Scored, block: WindowBlock) -> Evidence:
        """What the labels of a mix at ``at`` show."""
        series = scored.panes.series[at]
        change = self._glr.change(series)
        shift, hoped = change.deviation / change.n, change.expected / change.n
        best = mover_of(change.nats, shift)
        here, mover, up = int(at[best]), int(series[best]), bool(shift[best] > 0)
        row, column = divmod(pair, len(self._signals))
        signal, segment = self._signals[column], self._rows.segment(row)
        n, since_ms = float(change.n[best]), int(change.since_ms[best])
        extent = Extent(
            observed=share(hoped[best] + shift[best]), expected=share(hoped[best]),
            distance=abs(float(shift[best])), events=round(n), span_ms=block.window_end_ms - since_ms,
            segment_age_ms=block.window_end_ms - self._rows.born_ms(row),
        )  # fmt: skip
        severity = severity_of(signal, scale_of(signal, 1.0), segment, extent)
        if self._frozen.noticed(pair, up=up, severity=int(severity), nats=nats):
            self._set_mover(pair, mover)
        _, lower, upper = self._scoring.band(scored, here, n)
        whole = series[self._counts.group_of(series) == self._counts.group_of(series[best : best + 1])]
        labels = [self._counts.directory.label(one) for one in whole.tolist()]
        movers, distance = moved(int(np.searchsorted(whole, mover)), labels, self._glr.since(whole, n))
        return Evidence(
            detector=self._glr.name,
            family=self._glr.family,
            segment=segment,
            signal=signal.name,
            window_start_ms=block.window_start_ms,
            window_end_ms=block.window_end_ms,
            severity=severity,
            statistic=nats,
            threshold=self._glr.params.report_nats,
            observed=extent.observed,
            expected=extent.expected,
            lower=lower,
            upper=upper,
            n=extent.events,
            started_at_ms=since_ms,
            false_per_week=self._tails.false_per_week(pair, nats),
            label=movers[0].label,
            movers=movers,
            moved_share=distance,
        )

    def watch(self, pair: int, series: Ints) -> None:
        """Choose the label whose return will be the mix's, if no evidence has done that yet."""
        if self._pairs["mover"][pair] >= 0 or not len(series):
            return
        change = self._glr.change(series)
        shift = change.deviation / np.maximum(change.n, 1e-12)
        at = mover_of(change.nats, shift)
        self._frozen.noticed(
            pair, up=bool(shift[at] > 0), severity=int(Severity.INFO), nats=float(change.nats[at])
        )
        self._set_mover(pair, int(series[at]))

    def _set_mover(self, pair: int, series: int) -> None:
        self._pairs["mover"][pair] = series
        moved = log_odds(self._glr.change(np.array([series])))
        self._pairs["log_odds"][pair] = np.copysign(max(abs(moved), _LEAST_LOG_ODDS), moved)

    def back(self, scored: Scored, block: WindowBlock) -> list[Evidence]:
        """Evidence that a frozen mix is back: the label that moved most is where it is expected."""
        pairs = np.flatnonzero(self._frozen.holds(np.arange(len(self._pairs))))
        movers = self._pairs["mover"][pairs]
        at = np.searchsorted(scored.panes.series, movers)
        at = np.minimum(at, len(scored.panes.series) - 1)
        now = (scored.panes.series[at] == movers) & scored.ref.ready[at]
        pairs, at = pairs[now], at[now]
        back = self._frozen.follow(pairs, for_usual(scored, at, self._pairs["log_odds"][pairs]))
        evidence = []
        for one, nats in zip(back.at.tolist(), back.nats.tolist(), strict=True):
            here = int(at[one])
            row, column = divmod(int(pairs[one]), len(self._signals))
            segment, signal = self._rows.segment(row), self._signals[column].name
            label = self._counts.directory.label(int(scored.panes.series[here]))
            least = self._frozen.params.back_nats
            evidence.append(
                level_is_back(scored, here, self._scoring, block, segment, signal, nats, least, label)
            )
        return evidence

    def to_state(self) -> State:
        return self._pairs.to_state()

    def from_state(self, state: State) -> None:
        """After that of the labels' changes, by which an older state is completed."""
        self._pairs.from_state(state, since={"log_odds"})
        if "log_odds" not in state["arrays"]:
            for pair in np.flatnonzero(self._pairs["mover"] >= 0).tolist():
                self._set_mover(pair, int(self._pairs["mover"][pair]))
