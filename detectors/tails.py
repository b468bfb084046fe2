"""How often chance alone shows as much evidence: from nats to false alarms a week, learned from the fleet.

For each signal the excursions of the statistic above ``FLOOR`` nats are counted over all segments, by their peak.
An excursion is one story, however long it lasts and however many windows report it. One that becomes an incident
is cut short, and counts with what it had shown by then: without the highest peaks chance would look tame, and the
more false alarms it had raised the tamer. A real incident is such a peak as well; so that it does not blind its
signal, one counts in ``_INCIDENT_MS``, with at most ``_CUT`` nats. The number of peaks beyond u falls about
exponentially with u, so the rate of peaks beyond s is

    rate(s) = rate(u) exp(-(s - u) / m)        m the mean excess of the peaks over u

with u the highest level that was passed often enough. Bursts, heavy tails, cycles that no baseline knows and
estimated references all show up in rate(u) and m; theory gives the prior (about
0.6 e^-u an update, m = 1; real traffic is worse, so m is 1.2 at least).

Until a signal has seen a whole week nobody knows what hours are like, and every morning looks like a change. Once
most of its series are compared with the same hour of earlier weeks, what chance did before that counts for a day.

There are two counts: of all segments, and of those that are *known* (``Rows.known_well``). A known segment is
judged by the known ones alone, so that what is said of it does not depend on strangers that come and go. The
others, and the whole fleet, which strangers are part of, are judged by all. So the known ones spend the budget as
if there were no others, and the others the share of it that they have in the chance of all: together less than
twice the budget, and little more than it where nearly all segments are known.

Source: Pickands, Statistical inference using extreme order statistics, Ann. Stat. 3, 1975 (peaks over threshold).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors.base import Bools, Columns, Floats, Grid, Ints, State

FLOOR: Final = 6
"""Nats from which an excursion counts."""
_OVER: Final = 3.0
"""An excursion is over below this."""
_TOP: Final = 40
_CUT: Final = 20.0
_INCIDENT_MS: Final = 6 * 3_600_000
_LEVELS: Final = np.arange(FLOOR, _TOP)
_ENOUGH: Final = 15.0
"""Peaks beyond a level from which its own rate is trusted."""
_MOST_NATS: Final = 1000.0
_STEPS: Final = 40
_PRIOR_PEAKS: Final = 30.0
_PRIOR_EXCESS: Final = 1.5
_LEAST_EXCESS: Final = 1.2
"""Rare kinds of chance (two flags close together, one dear request) lie beyond the peaks that give the mean."""
_PRIOR_RATE: Final = 0.6
_PRIOR_WEEKS: Final = 1.0 / 7.0
WEEK_MS: Final = 7 * 86_400_000
_HALF_LIFE_MS: Final = 4 * WEEK_MS
_FADE_EVERY_MS: Final = 3_600_000
_UNKNOWN_WEEK_MS: Final = 86_400_000
"""So much the time before the week was known counts for."""


class _Count:
    """Peaks and updates of every signal's statistic over some segments."""

    def __init__(self, signals: int) -> None:
        self._signals = signals
        self._peaks = Grid(_TOP - FLOOR)
        self._peaks.grow(signals)
        self._volume = Columns(updates=(np.float64, 0.0), elapsed_ms=(np.float64, 0.0))
        self._volume.grow(signals)
        self._incident = Columns(at_ms=(np.int64, -_INCIDENT_MS))
        self._incident.grow(signals)
        self._week = Columns(known=(np.bool_, 0))
        self._week.grow(signals)

    def cut(self, column: int, nats: float, now_ms: int) -> None:
        """An excursion has become an incident; one counts in ``_INCIDENT_MS``."""
        if nats >= FLOOR and now_ms - self._incident["at_ms"][column] >= _INCIDENT_MS:
            self._incident["at_ms"][column] = now_ms
            self._peaks.rows[column, int(min(nats, _CUT)) - FLOOR] += 1.0

    def updated(self, column: Ints, updates: Floats | None, in_week: Bools) -> None:
        """``in_week``: which are compared with the same hour of earlier weeks."""
        self._volume["updates"][:] += np.bincount(column, updates, minlength=self._signals)
        most = np.bincount(column, np.where(in_week, 1.0, -1.0), minlength=self._signals) > 0
        if (began := np.flatnonzero(most & ~self._week["known"])).size:
            self._week["known"][began] = True
            self._keep(
                began, _UNKNOWN_WEEK_MS / np.maximum(self._volume["elapsed_ms"][began], _UNKNOWN_WEEK_MS)
            )

    def ended(self, column: Ints, peaks: Floats) -> None:
        """Excursions are over."""
        level = np.minimum(peaks, _TOP - 1).astype(np.int64) - FLOOR
        np.add.at(self._peaks.rows, (column, level), 1.0)

    def elapsed(self, span_ms: int) -> None:
        self._volume["elapsed_ms"][:] += span_ms

    def fade(self, keep: float) -> None:
        self._keep(np.arange(self._signals), np.full(self._signals, keep))

    def _keep(self, column: Ints, share: Floats) -> None:
        self._peaks.rows[column] *= share[:, None]
        for name in ("updates", "elapsed_ms"):
            self._volume[name][column] *= share

    def false_per_week(self, column: int, nats: float) -> float:
        """Excursions of at least ``nats`` that a signal shows in a week by chance."""
        peaks = self._peaks.rows[column]
        beyond = np.cumsum(peaks[::-1])[::-1]
        enough = np.flatnonzero(beyond >= _ENOUGH)
        at = int(enough[-1]) if len(enough) else 0
        at = min(at, max(0, int(nats) - FLOOR))
        level = float(_LEVELS[at])
        excess = float(((_LEVELS[at:] + 0.5 - level) * peaks[at:]).sum())
        mean = max(
            _LEAST_EXCESS, (excess + _PRIOR_PEAKS * _PRIOR_EXCESS) / (float(beyond[at]) + _PRIOR_PEAKS)
        )
        weeks = float(self._volume["elapsed_ms"][column]) / WEEK_MS
        updates_per_week = float(self._volume["updates"][column]) / max(weeks, 1e-4)
        prior = _PRIOR_RATE * np.exp(-level) * updates_per_week * _PRIOR_WEEKS
        rate = (float(beyond[at]) + float(prior)) / (weeks + _PRIOR_WEEKS)
        return rate * float(np.exp(-(nats - level) / mean))

    def to_state(self) -> State:
        return {
            "peaks": self._peaks.to_state(), "volume": self._volume.to_state(),
            "incident": self._incident.to_state(), "week": self._week.to_state(),
        }  # fmt: skip

    def from_state(self, state: State) -> None:
        self._peaks.from_state(state["peaks"])
        self._volume.from_state(state["volume"])
        self._incident.from_state(state["incident"])
        if "week" in state:
            self._week.from_state(state["week"])
        else:  # 0.1.0 did not ask: what is older than a week is not taken for chance of the first one
            self._week["known"][:] = self._volume["elapsed_ms"] > WEEK_MS


class Tails:
    """The tails of all signals' statistics; ``signals`` is the number of signal columns."""

    def __init__(self, signals: int, known: Callable[[Ints], Bools]) -> None:
        """``known`` says which rows of segments are those of known ones, as of the last window."""
        self._signals = signals
        self._known_rows = known
        self._peak = Columns(nats=(np.float64, 0.0))
        self._all, self._known = _Count(signals), _Count(signals)
        self._last_ms = -1
        self._faded_ms = -1

    def grow(self, size: int) -> None:
        self._peak.grow(size)

    def reset(self, index: Ints) -> None:
        """Forget the present excursions: their segment is gone."""
        self._peak.reset(index)

    def known(self, index: Ints) -> Bools:
        """Which series are those of known segments."""
        return self._known_rows(index // self._signals)

    def cut(self, index: Ints) -> None:
        """The present excursions of some series have become an incident."""
        for series, known in zip(index.tolist(), self.known(index).tolist(), strict=True):
            column, nats = series % self._signals, float(self._peak["nats"][series])
            for count in (self._all, self._known) if known else (self._all,):
                count.cut(column, nats, self._last_ms)
        self._peak.reset(index)

    def observe(
        self, index: Ints, nats: Floats, now_ms: int, in_week: Bools, updates: Floats | None = None
    ) -> None:
        """Take in the statistic of some series (no repeats) that are not part of an open incident.

        ``in_week``: which are compared with the same hour of earlier weeks. ``updates``: the largest of how many
        statistics each is; one if not given.
        """
        self._advance(now_ms)
        column, known = index % self._signals, self.known(index)
        self._all.updated(column, updates, in_week)
        self._known.updated(column[known], None if updates is None else updates[known], in_week[known])
        before = self._peak["nats"][index]
        ended = (before > 0) & (nats < _OVER)
        if ended.any():
            self._all.ended(column[ended], before[ended])
            self._known.ended(column[ended & known], before[ended & known])
        goes_on = (before > 0) & ~ended
        started = (before <= 0) & (nats >= FLOOR)
        self._peak["nats"][index] = np.where(goes_on | started, np.maximum(before, nats), 0.0)

    def _advance(self, now_ms: int) -> None:
        counts = (self._all, self._known)
        if self._last_ms >= 0:
            for count in counts:
                count.elapsed(max(0, now_ms - self._last_ms))
        self._last_ms = now_ms
        if now_ms - self._faded_ms >= _FADE_EVERY_MS:
            keep = 0.5 ** ((now_ms - self._faded_ms) / _HALF_LIFE_MS) if self._faded_ms >= 0 else 1.0
            self._faded_ms = now_ms
            for count in counts:
                count.fade(keep)

    def false_per_week(self, series: int, nats: float) -> float:
        """How often a week chance shows as much as a series does, over all segments that it is judged by."""
        known = bool(self.known(np.array([series]))[0])
        return self._count(known).false_per_week(series % self._signals, nats)

    def nats_of(self, series: int, per_week: float) -> float:
        """``nats_at`` for one series."""
        known = bool(self.known(np.array([series]))[0])
        return self.nats_at(series % self._signals, per_week, known=known)

    def nats_at(self, column: int, per_week: float, *, known: bool) -> float:
        """The least evidence that chance shows at most ``per_week`` times a week, at most ``_MOST_NATS``.

        ``known``: for a known segment.
        """
        count = self._count(known)
        low, high = float(FLOOR), _MOST_NATS
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            rare = count.false_per_week(column, middle) <= per_week
            low, high = (low, middle) if rare else (middle, high)
        return high

    def _count(self, known: bool) -> _Count:
        return self._known if known else self._all

    def to_state(self) -> State:
        return {
            "peak": self._peak.to_state(), **self._all.to_state(), "known": self._known.to_state(),
            "last_ms": self._last_ms, "faded_ms": self._faded_ms,
        }  # fmt: skip

    def from_state(self, state: State) -> None:
        self._peak.from_state(state["peak"])
        self._all.from_state(state)
        self._known.from_state(state.get("known", state))  # 0.1.0 had one count: of all
        self._last_ms = int(state["last_ms"])
        self._faded_ms = int(state["faded_ms"])
