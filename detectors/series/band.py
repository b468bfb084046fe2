"""The band in which the next value should lie, from the rows before it.

    expected = recent level, or mean of this hour of the day, whichever has predicted better lately
    level   <- level + 0.1 (x - level)                       about the last 20 rows
    spread  <- spread + 0.02 (|x - expected| sqrt(n) - spread)   about the last 100 rows; of weight 1
    lower, upper = expected -+ 3 * 1.2533 spread / sqrt(n)

1.2533 = sqrt(pi / 2) turns a mean absolute error into a normal's standard deviation, so the band is one of 3
sigma. Once the spread is known a value moves level and spread by no more than a value at 5 spreads would: an
outlier does not widen the band it left. The band describes; alarms come from ``evidence``.

Source: S. W. Roberts, Control chart tests based on geometric moving averages (1959).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

LEVEL_WEIGHT: Final = 0.1
SPREAD_WEIGHT: Final = 0.02
SIGMAS: Final = 3.0
OUTLIER_SPREADS: Final = 5.0
KNOWN_ROWS: Final = 20

_NORMAL: Final = math.sqrt(math.pi / 2.0)


class Band(NamedTuple):
    """In the unit of the values."""

    expected: float
    lower: float
    upper: float


class Expectation:
    """Level and spread of one series. O(1) a row."""

    __slots__ = ("_clock_error", "_level", "_level_error", "_rows", "_spread")

    def __init__(self) -> None:
        self._rows = 0
        self._level = self._spread = self._level_error = self._clock_error = 0.0

    def band(self, at_hour: float, weight: float) -> Band | None:
        """Where a value of that weight should lie, given the mean of its hour of the day; none before the
        first row.
        """
        if not self._rows:
            return None
        expected = self._expected(at_hour)
        reach = SIGMAS * _NORMAL * self._spread / math.sqrt(weight)
        return Band(expected, expected - reach, expected + reach)

    def learn(self, value: float, at_hour: float, weight: float) -> None:
        """Take in a row; ``at_hour`` is the mean of its hour before this row."""
        self._rows += 1
        if self._rows == 1:
            self._level = value
            return
        root = math.sqrt(weight)
        expected = self._expected(at_hour)
        if self._rows > KNOWN_ROWS and self._spread > 0.0:
            reach = OUTLIER_SPREADS * self._spread / root
            if value > expected + reach:
                value = expected + reach
            elif value < expected - reach:
                value = expected - reach
        step = SPREAD_WEIGHT if self._rows > 50 else 1.0 / self._rows
        self._spread += step * (abs(value - expected) * root - self._spread)
        self._level_error += step * (abs(value - self._level) - self._level_error)
        self._clock_error += step * (abs(value - at_hour) - self._clock_error)
        self._level += (LEVEL_WEIGHT if self._rows > 10 else 1.0 / self._rows) * (value - self._level)

    def restart(self, level: float) -> None:
        """A change was found: this is the level now; the spread is learned anew."""
        self._level = level
        self._rows = 1

    def _expected(self, at_hour: float) -> float:
        return at_hour if self._clock_error < self._level_error else self._level
