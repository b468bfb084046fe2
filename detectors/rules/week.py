"""Week on week: the last seven whole days against the seven before, weekday by weekday.

A day counts with the same weekday of the other week only, so that no weekend is compared with a working day. Ratios
and means are weighted by their observations (of a quantile this is the mean of the days' quantiles); rates and sums
are the mean of a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from detectors.records import Severity
from detectors.rules.absolute import Rule
from detectors.rules.forecast import Day

WEEK: Final = 7
_LEAST_PAIRS: Final = 5


class Weeks(NamedTuple):
    """Two weeks of a signal."""

    now: float
    before: float
    n: int
    """Observations of the last week."""


def weeks(days: Sequence[Day], last: int, *, is_sum: bool, min_events: int) -> Weeks | None:
    """The seven days that end with day number ``last``, and those before.

    None without five weekdays in both, or with fewer than ``min_events`` observations in either.
    """
    by_number = {day.number: day for day in days}
    pairs = [
        (by_number[number], by_number[number - WEEK])
        for number in range(last - WEEK + 1, last + 1)
        if number in by_number and number - WEEK in by_number
    ]
    if len(pairs) < _LEAST_PAIRS:
        return None
    counts = [sum(day.n for day in week) for week in zip(*pairs, strict=True)]
    if min(counts) < min_events:
        return None
    now, before = (
        sum(day.value * (1 if is_sum else day.n) for day in week) / (len(pairs) if is_sum else count)
        for week, count in zip(zip(*pairs, strict=True), counts, strict=True)
    )
    return Weeks(now, before, counts[0])


def worse_by(rule: Rule, found: Weeks) -> Severity | None:
    """The worst bound that the change exceeds."""
    for severity, bound in ((Severity.CRITICAL, rule.critical), (Severity.WARNING, rule.warning)):
        if bound is not None and _beyond(rule, found.now, level_at(rule, found.before, bound)):
            return severity
    return None


def level_at(rule: Rule, before: float, change: float) -> float:
    """The level that is worse than ``before`` by a bound of the rule."""
    size = abs(before) * change if rule.relative else change
    return before + size if rule.worse == "up" else before - size


def _beyond(rule: Rule, now: float, level: float) -> bool:
    return now > level if rule.worse == "up" else now < level
