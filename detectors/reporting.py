"""From a detector that fired on a signal to evidence: since when, how far, how urgent, and how likely by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detectors.base import Bools, Detector, Ints
from detectors.drift.glr import Glr
from detectors.frozen import Frozen
from detectors.incidents.severity import Extent, severity_of
from detectors.records import Evidence, Signal
from detectors.rows import Rows
from detectors.scales import Scales
from detectors.scoring import Scored, Scoring
from detectors.sketches.window import WindowBlock
from detectors.tails import Tails
from detectors.telling import level_is_back


class Fired(NamedTuple):
    """One series on which one detector fired."""

    detector: Detector
    statistic: float
    threshold: float
    at: int
    """Position among the scored panes."""
    up: bool


class SignalReporter:
    """Puts what detectors show of signals into words; what is told of mixes see ``mixes.reporting``."""

    def __init__(
        self, signals: Sequence[Signal], rows: Rows, scales: Scales, scoring: Scoring, glr: Glr, tails: Tails,
        frozen: Frozen,
    ) -> None:  # fmt: skip
        self._signals = signals
        self._rows, self._scales, self._scoring = rows, scales, scoring
        self._glr, self._tails, self._frozen = glr, tails, frozen
        self._bad_up: Bools = np.array([signal.worse in ("up", "both") for signal in signals], bool)
        self._bad_down: Bools = np.array([signal.worse in ("down", "both") for signal in signals], bool)

    def worse(self, index: Ints, *, up: bool) -> Bools:
        """Whether a rise (or a fall) of each series is bad."""
        result: Bools = (self._bad_up if up else self._bad_down)[index % len(self._signals)]
        return result

    def evidence(self, fired: Fired, scored: Scored, block: WindowBlock) -> Evidence | None:
        """None if the series moved, but back towards what the baseline expects."""
        at, up = fired.at, fired.up
        series = int(scored.panes.series[at])
        row, column = divmod(series, len(self._signals))
        signal, segment = self._signals[column], self._rows.segment(row)
        since_ms, n, shift, observed = self._since(scored, at)
        if fired.detector.family == "drift" and (shift > 0) != up:
            return None
        expected, lower, upper = self._scoring.band(scored, at, n)
        extent = Extent(
            observed=observed,
            expected=expected,
            distance=abs(shift),
            events=round(n) if not self._scales.is_rate[column] else int(scored.panes.events[at]),
            span_ms=block.window_end_ms - since_ms,
            segment_age_ms=block.window_end_ms - self._rows.born_ms(row),
            season_known=not math.isnan(scored.ref.season[at]),
        )
        severity = severity_of(signal, self._scales.rows[column], segment, extent)
        sigmas = abs(shift) / self._scoring.sigma(scored, at)
        self._frozen.noticed(series, up=up, severity=int(severity), sigmas=sigmas, nats=fired.statistic)
        glr = fired.detector is self._glr
        return Evidence(
            detector=fired.detector.name, family=fired.detector.family, segment=segment, signal=signal.name,
            window_start_ms=block.window_start_ms, window_end_ms=block.window_end_ms, severity=severity,
            statistic=fired.statistic, threshold=fired.threshold, observed=observed, expected=expected,
            lower=lower, upper=upper, n=extent.events, started_at_ms=since_ms,
            false_per_week=self._tails.false_per_week(series, fired.statistic) if glr else None,
        )  # fmt: skip

    def _since(self, scored: Scored, at: int) -> tuple[int, float, float, float]:
        """(onset, observations since, shift of x, observed value) of the likeliest change of a series."""
        series = scored.panes.series[at : at + 1]
        column = series % len(self._signals)
        nats, since_ms, n, deviation, hoped = (float(c[0]) for c in self._glr.change(series))
        reference = float(scored.ref.expected[at])
        if nats <= 0.0:
            since_ms, n = float(scored.panes.start_ms[at]), float(scored.panes.n[at])
            return int(since_ms), n, float(scored.x[at]) - reference, float(scored.panes.value[at])
        if self._scales.is_rate[column[0]]:
            # A stop should read as 0, not as the mean since a little before it.
            return int(since_ms), n, float(scored.x[at]) - reference, float(scored.panes.value[at])
        x = (deviation + hoped) / n if self._scales.is_ratio[column[0]] else reference + deviation / n
        return int(since_ms), n, deviation / n, float(self._scales.inverse(column, np.array([x]))[0])

    def back(self, scored: Scored, block: WindowBlock) -> list[Evidence]:
        """Evidence of the frozen series that are back where their baseline expects them."""
        judged = np.flatnonzero(scored.ref.judged)
        index = scored.panes.series
        back = self._frozen.step(index[judged], scored.z[judged])
        evidence = []
        for here, nats in zip(judged[back.at].tolist(), back.nats.tolist(), strict=True):
            row, column = divmod(int(index[here]), len(self._signals))
            segment, signal = self._rows.segment(row), self._signals[column].name
            least = self._frozen.params.back_nats
            evidence.append(level_is_back(scored, here, self._scoring, block, segment, signal, nats, least))
        return evidence
