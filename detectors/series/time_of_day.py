"""The mean of a series at each hour of the day: what a value is compared with where history allows.

    m_h = mean of the values seen in hour h (UTC);   overall mean for an hour that was never seen

Means are plain averages up to ``MEMORY_ROWS`` rows and exponentially weighted beyond, so they age but are steady.
"""

from __future__ import annotations

from typing import Final

HOURS: Final = 24
MEMORY_ROWS: Final = 4096
"""Five-minute rows: almost a year of one hour of the day."""

_DAY_SECS: Final = 86_400.0
_HOUR_SECS: Final = _DAY_SECS / HOURS


class TimeOfDay:
    """Hourly means of one series. O(1)."""

    __slots__ = ("_counts", "_means", "_overall", "_rows")

    def __init__(self) -> None:
        self._means = [0.0] * HOURS
        self._counts = [0] * HOURS
        self._overall = 0.0
        self._rows = 0

    def expected(self, at_secs: float) -> float:
        """The mean of that hour, else of all rows, else 0."""
        hour = _hour(at_secs)
        return self._means[hour] if self._counts[hour] else self._overall

    def learn(self, at_secs: float, value: float) -> None:
        hour = _hour(at_secs)
        count = self._counts[hour]
        if count < MEMORY_ROWS:
            self._counts[hour] = count = count + 1
        self._means[hour] += (value - self._means[hour]) / count
        if self._rows < MEMORY_ROWS * HOURS:
            self._rows += 1
        self._overall += (value - self._overall) / self._rows


def _hour(at_secs: float) -> int:
    return int(at_secs % _DAY_SECS // _HOUR_SECS)
