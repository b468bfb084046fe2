"""One series, whatever its kind: each row gets a score, an alarm where a change is shown, and the band it was
expected in.

``score``: novelty of the row (``novelty``); 1 on an alarm. Ratios of single trials have no novel values, so a
ratio also scores how near its evidence of a change is to an alarm. ``alarm``: that evidence (``evidence``) has
reached the threshold of the average run length. An alarm is raised once per change: the rows since its onset are
the new normal, and 30 rows of it have to be known before the next change can be shown. A return to the old level
is a change.

A row without a value (None) scores 0 and teaches nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal, NamedTuple, Protocol, get_args

from detectors.series.band import Band, Expectation
from detectors.series.counts_change import CountsChange
from detectors.series.novelty import Novelty
from detectors.series.ranks import REFERENCE_ROWS
from detectors.series.scores_change import ScoresChange
from detectors.series.time_of_day import TimeOfDay

Kind = Literal["mean", "ratio", "count", "rate"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

DEFAULT_ARL: Final = 100_000
THRESHOLD_PER_ARL: Final = 1.3
"""The evidence's bound, ARL >= threshold, holds for a known level; a level learned on the way costs this much."""

_SCALE: Final = 2.0**-16
"""Values are computed with in this unit: exact, and no sum or difference of finite values overflows."""


class Change(Protocol):
    """Evidence of a change of one series."""

    @property
    def nearness(self) -> float: ...

    def update(self, value: float, weight: float) -> int:
        """Rows since the onset if this row is the first to show the change, else 0."""


class Verdict(NamedTuple):
    """What is said about one row. ``band`` is None where nothing is known yet."""

    score: float
    rows_since_onset: int
    """On an alarm: the onset is this row for 1, the one before for 2, ...; 0: no alarm."""
    band: Band | None


class SeriesDetector:
    """All state of one series: about 60 kB, whatever its length."""

    def __init__(self, kind: Kind, arl: float = DEFAULT_ARL, *, weighted: bool = False) -> None:
        """``arl``: mean rows between false alarms. ``weighted``: rows come with trials or exposures."""
        threshold = arl * THRESHOLD_PER_ARL
        self._kind = kind
        self._change: Change
        if kind == "ratio" or kind == "count" or (kind == "rate" and weighted):
            self._change = CountsChange("ratio" if kind == "ratio" else "count", threshold)
        else:
            self._change = ScoresChange(threshold)
        self._clock = TimeOfDay()
        self._novelty = Novelty()
        self._expectation = Expectation()
        self._recent: deque[float] = deque(maxlen=REFERENCE_ROWS)

    def update(self, at_secs: float, value: float | None, weight: float = 1.0) -> Verdict:
        """Score one row against those before it, then learn it. ``at_secs``: epoch seconds, for the time of day."""
        at_hour = self._clock.expected(at_secs)
        band = self._expectation.band(at_hour, weight)
        if value is None:
            return Verdict(0.0, 0, self._shown(band))
        since = self._change.update(value, weight)
        small = value * _SCALE
        score = self._novelty.step(small, small - at_hour)
        self._clock.learn(at_secs, small)
        self._recent.append(small)
        self._expectation.learn(small, at_hour, weight)
        if self._kind == "ratio":
            score = max(score, self._change.nearness)
        if since:
            score = 1.0
            regime = list(self._recent)[-since:]
            self._expectation.restart(sum(regime) / len(regime))
        return Verdict(score, since, self._shown(band))

    def _shown(self, band: Band | None) -> Band | None:
        """In the unit of the values, and where such values can be."""
        if band is None:
            return None
        expected, lower, upper = band
        if self._kind == "mean" and lower > -_LARGEST and upper < _LARGEST:
            return Band(expected / _SCALE, lower / _SCALE, upper / _SCALE)
        lowest = -_LARGEST if self._kind == "mean" else 0.0
        highest = _SCALE if self._kind == "ratio" else _LARGEST
        return Band(*(min(max(edge, lowest), highest) / _SCALE for edge in band))


_LARGEST: Final = 1.7976931348623157e308 * _SCALE
