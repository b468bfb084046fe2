"""When a drifting signal will cross its bound: a trend of whole days, and where a day's sum is heading.

**Trend.** The values of whole UTC days (so that no time of day counts) are fitted by least squares to

    value(day) = (a + b day) (1 + w weekend(day))

over the last 21, 14 and 9 days; the clearest of the established fits is taken. A trend is established when

* b differs from 0 towards the bad side in a one-sided t test at 0.1 %, its standard error widened for the
  correlation of neighbouring days, sqrt((1 + r) / (1 - r)) (Santer et al., J. Geophys. Res. 105, 2000);
* it explains the days better than any single step does: a level that has moved once is not heading anywhere;
* days are really beyond the same weekday a week before, by at least half of 7 b in the middle: whatever the week
  looks like, a cycle alone repeats itself.

**Today.** For a sum over the UTC day the share that has usually come by each hour is learned, with its spread over
days; so far / (share + 2 spread) is what the day will cost at least, as far as days are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.base import Floats

MOST_DAYS: Final = 21
_WINDOWS: Final = (21, 14, 9)
_PARAMETERS: Final = 3
_T999: Final = (
    *(318.31, 22.327, 10.215, 7.173, 5.893, 5.208, 4.785, 4.501, 4.297, 4.144),
    *(4.025, 3.930, 3.852, 3.787, 3.733, 3.686, 3.646, 3.610, 3.579, 3.552),
)
"""99.9 % quantiles of Student's t for 1, 2 ... degrees of freedom."""
_LEAST_LEVEL: Final = 0.05
"""Of the largest value: a line that comes from below does not turn weekends round."""
_STEP_SHARE: Final = 0.7
"""A step must leave so much more unexplained than the trend does."""
_MOST_CORRELATION: Final = 0.8
HOURS: Final = 24
_LEAST_DAYS: Final = 5
_LEAST_SHARE: Final = 0.15
_LEAST_SPREAD: Final = 0.02
_GAIN: Final = 1.0 / 7.0


class Day(NamedTuple):
    """One whole UTC day of a signal."""

    number: int
    """Days since 1970-01-01."""
    value: float
    n: int


class Trend(NamedTuple):
    """An established trend."""

    level: float
    """Of the last day, on the worse of working days and weekends."""
    per_day: float
    since: int
    """Number of its first day."""
    days: int
    clearness: float
    """|t| over what it had to be."""

    def days_to(self, bound: float) -> float:
        """From the last day on; negative if the bound is passed."""
        return (bound - self.level) / self.per_day


def trend(days: Sequence[Day], *, up: bool) -> Trend | None:
    """The clearest established trend towards the bad side that ends with the last of ``days`` (ascending)."""
    if not days:
        return None
    last = days[-1].number
    found = [
        fitted
        for span in _WINDOWS
        if (fitted := _established([d for d in days if d.number > last - span], up=up)) is not None
    ]
    return max(found, key=lambda t: t.clearness, default=None)


def _established(days: Sequence[Day], *, up: bool) -> Trend | None:
    count = len(days)
    if count < _WINDOWS[-1]:
        return None
    number = np.array([d.number for d in days], np.float64)
    value = np.array([d.value for d in days], np.float64)
    scale = float(np.abs(value).max())
    if not np.isfinite(scale) or scale == 0.0:
        return None
    value, sign = value / scale, 1.0 if up else -1.0
    weekend = ((number + 3.0) % 7.0 >= 5.0).astype(np.float64)  # 1970-01-01 was a Thursday
    t = number - number[-1]
    (level, slope, _), _ = _fit(np.column_stack([np.ones(count), t, weekend]), value)
    # A weekend takes a share of what grows, so its effect grows along.
    side = 1.0 if value.mean() >= 0 else -1.0
    line = side * np.maximum(side * (level + slope * t), _LEAST_LEVEL)
    design = np.column_stack([np.ones(count), t, weekend * line])
    (level, slope, at_weekend), rest = _fit(design, value)
    unexplained, freedom = float(rest @ rest), count - _PARAMETERS
    inverse = np.linalg.pinv(design.T @ design)
    error = float(np.sqrt(unexplained / freedom * inverse[1, 1] * _widening(rest)))
    clearness = sign * slope / max(error * _T999[freedom - 1], 1e-12)
    total = float(((value - value.mean()) ** 2).sum())
    if clearness <= 1.0 or not _beats_steps(number, weekend, value, unexplained, total):
        return None
    gains = [sign * gain / scale for gain in _weekly(days)]
    if not gains or min(gains) <= 0.0 or float(np.median(gains)) < 3.5 * sign * slope:
        return None
    on_weekends = level * (1.0 + at_weekend)
    worst = max(level, on_weekends) if up else min(level, on_weekends)
    return Trend(worst * scale, slope * scale, int(number[0]), count, clearness)


def _fit(design: Floats, value: Floats) -> tuple[list[float], Floats]:
    """(parameters, residuals) of least squares."""
    parameters = np.linalg.lstsq(design, value, rcond=None)[0]
    return [float(p) for p in parameters], value - design @ parameters


def _widening(rest: Floats) -> float:
    """How much wider the variance is because neighbouring days resemble each other."""
    spread = float(rest @ rest)
    near = float(rest[1:] @ rest[:-1]) / spread if spread > 1e-18 else 0.0
    near = min(max(near, 0.0), _MOST_CORRELATION)
    return (1.0 + near) / (1.0 - near)


def _beats_steps(number: Floats, weekend: Floats, value: Floats, unexplained: float, total: float) -> bool:
    """Whether no single step explains the days about as well as the trend."""
    if unexplained <= 1e-9 * total:
        return True
    for first in number[2:-1].tolist():
        step = (number >= first).astype(np.float64)
        _, rest = _fit(np.column_stack([np.ones(len(number)), step, weekend]), value)
        if unexplained > _STEP_SHARE * float(rest @ rest):
            return False
    return True


def _weekly(days: Sequence[Day]) -> list[float]:
    """By how much each day differs from the same weekday a week before."""
    value = {day.number: day.value for day in days}
    return [day.value - value[day.number - 7] for day in days if day.number - 7 in value]


class Shares:
    """Which share of a day's sum has usually come by the end of each hour."""

    __slots__ = ("_mean", "_spread", "days")

    def __init__(self) -> None:
        self.days = 0
        self._mean = [0.0] * HOURS
        self._spread = [0.0] * HOURS

    def learn(self, by_hour: Sequence[float]) -> None:
        """Take in a whole day: the sum so far at the end of each of its hours."""
        total = by_hour[-1] if len(by_hour) == HOURS else 0.0
        if not np.isfinite(total) or total <= 0.0:
            return
        self.days += 1
        gain = max(1.0 / self.days, _GAIN)
        for hour, so_far in enumerate(by_hour):
            off = so_far / total - self._mean[hour]
            self._mean[hour] += gain * off
            self._spread[hour] = (1.0 - gain) * (self._spread[hour] + gain * off * off)

    def heading(self, hours: int, so_far: float) -> tuple[float, float] | None:
        """(likely, at least) what the day comes to; None while that cannot be told. ``hours`` have passed."""
        if self.days < _LEAST_DAYS or not 0 < hours < HOURS:
            return None
        share = self._mean[hours - 1]
        if share < _LEAST_SHARE:
            return None
        spread = max(_LEAST_SPREAD, self._spread[hours - 1] ** 0.5)
        return so_far / share, so_far / (share + 2.0 * spread)

    def to_state(self) -> list[object]:
        return [self.days, list(self._mean), list(self._spread)]

    @classmethod
    def from_state(cls, state: Sequence[object]) -> Shares:
        shares = cls()
        days, mean, spread = state
        shares.days, shares._mean, shares._spread = int(days), list(mean), list(spread)  # type: ignore[call-overload]
        return shares
