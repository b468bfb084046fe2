"""Novelty: how unlike everything before is this value?

Two channels, each the distance d of a number to the *nearest* number the series has shown before:

    value       x
    residual    mean over the last 12 rows of x minus its time-of-day mean

The distance is ranked among all earlier distances of its channel, s = -log10((1 + #{earlier >= d}) / (1 +
n)), so that one scale fits all series, and the channels are combined by the 3-norm (s1^3 + s2^3)^(1/3), which
is near the larger and rewards agreement. *Rest*: a row scores only if it exceeds all of the last 120, so a
lasting anomaly is reported when it begins and when it gets worse. s = ``THRESHOLD`` (a distance that one row
in 350 reaches) is score 0.5.

Why nearest, and not distance to a mean: series of services have several modes, and all of them are normal.
Novelty fades by design: the second equal incident scores half of the first. It is a score of single rows; a
lasting change is what ``evidence`` is for.

Memory: at most 512 representatives and 512 distances a channel, 44 kB in all. O(log n) a row, apart from
compaction.

Sources: M. Breunig et al., LOF (2000), for distances to neighbours; A. Lavin, S. Ahmad, Numenta Anomaly
Benchmark (2015), for the setting.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import deque
from typing import Final

REPRESENTATIVES: Final = 512
DISTANCES: Final = 512
SMOOTHED_ROWS: Final = 12
"""An hour of five-minute rows; 8 to 16 do the same."""
REST_ROWS: Final = 120
UNRANKED: Final = 3
"""The first distances are to nothing much: they would outrank whatever follows."""
THRESHOLD: Final = 2.58


class Nearest:
    """Distance to the nearest of the values seen, kept by at most ``REPRESENTATIVES`` of them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known = array("d")

    def step(self, value: float) -> float:
        """The distance of ``value``, which is then one of the values seen."""
        known = self._known
        at = bisect_left(known, value)
        if at < len(known):
            distance = known[at] - value
            if at and value - known[at - 1] < distance:
                distance = value - known[at - 1]
        else:
            distance = value - known[-1] if known else 0.0
        if distance > 0.0 or not known:
            known.insert(at, value)
            if len(known) > REPRESENTATIVES:
                self._known = _thinned(known)
        return distance


class Ranks:
    """Rank of a distance among all earlier ones; beyond ``DISTANCES`` different ones the smallest share their
    counts.
    """

    __slots__ = ("_counts", "_keys", "_rows", "_unranked")

    def __init__(self) -> None:
        self._keys = array("d")
        self._counts: list[int] = []
        self._rows = 0
        self._unranked = UNRANKED

    def step(self, distance: float) -> float:
        """-log10 of the share of distances at least as large; 0 for distance 0. Then the distance is one of
        them.
        """
        keys, counts = self._keys, self._counts
        at = bisect_left(keys, distance)
        score = 0.0
        if distance > 0.0:
            # The shorter side is added up.
            larger = sum(counts[at:]) if 2 * at > len(counts) else self._rows - sum(counts[:at])
            score = -math.log10((1 + larger) / (1 + self._rows))
        if self._unranked:
            self._unranked -= 1
            return score
        self._rows += 1
        if at < len(keys) and keys[at] == distance:
            counts[at] += 1
        else:
            keys.insert(at, distance)
            counts.insert(at, 1)
            if len(keys) > DISTANCES:
                self._compact()
        return score

    def _compact(self) -> None:
        """Of the lower half, each second one takes over its lower neighbour: what is large stays exact."""
        half = DISTANCES // 2
        counts = [self._counts[i] + self._counts[i + 1] for i in range(0, half, 2)]
        self._keys = self._keys[1:half:2] + self._keys[half:]
        self._counts = counts + self._counts[half:]


class Rest:
    """Lets a number pass only if it exceeds all of the last ``REST_ROWS``. Amortised O(1)."""

    __slots__ = ("_falling", "_row")

    def __init__(self) -> None:
        self._falling: deque[tuple[int, float]] = deque()
        self._row = 0

    def step(self, value: float) -> float:
        """``value``, or 0 if one of the last rows was as large."""
        falling = self._falling
        self._row = row = self._row + 1
        if falling and falling[0][0] < row - REST_ROWS:
            falling.popleft()
        passes = not falling or value > falling[0][1]
        while falling and falling[-1][1] <= value:
            falling.pop()
        falling.append((row, value))
        return value if passes else 0.0


class Novelty:
    """The score of one series, 0 to 1."""

    __slots__ = ("_nearest", "_ranks", "_recent", "_rest", "_smooth", "_smooth_ranks")

    def __init__(self) -> None:
        self._nearest, self._ranks = Nearest(), Ranks()
        self._smooth, self._smooth_ranks = Nearest(), Ranks()
        self._recent: deque[float] = deque(maxlen=SMOOTHED_ROWS)
        self._rest = Rest()

    def step(self, value: float, residual: float) -> float:
        """Score one row, then learn it. ``residual``: value minus what its time of day lets expect."""
        recent = self._recent
        recent.append(residual)
        smoothed = math.fsum(recent) / len(recent)
        one = self._ranks.step(self._nearest.step(value))
        other = self._smooth_ranks.step(self._smooth.step(smoothed))
        score = self._rest.step((one * one * one + other * other * other) ** (1.0 / 3.0)) / (2.0 * THRESHOLD)
        return score if score < 1.0 else 1.0


def _thinned(known: array[float]) -> array[float]:
    """About half of the values, so that no gap that was wide gets wider; the extremes stay."""
    gaps = sorted(known[i + 1] - known[i] for i in range(len(known) - 1))
    close = gaps[len(gaps) // 2]
    kept = array("d", known[:1])
    for value in known[1:-1]:
        if value - kept[-1] > close:
            kept.append(value)
    kept.append(known[-1])
    return kept
