"""Rules that look at whole days: what each day came to, trends towards a bound, and week on week.

At the first window of a new hour or UTC day the measures of the day so far are read, before the window is added.
A day is whole if nine tenths of it were watched. Evidence is given while a condition holds, once a day (an hour for
what today is heading for), and once when it ends. The state of one rule on one segment is 21 days and, for sums of
a day, 24 hours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from detectors.base import State
from detectors.records import Evidence, SegmentKey, Severity, Signal
from detectors.rules.absolute import Rule
from detectors.rules.forecast import HOURS, MOST_DAYS, Day, Shares, trend
from detectors.rules.panes import DAY_MS, SegmentPanes
from detectors.rules.week import WEEK, level_at, weeks, worse_by
from detectors.sketches.window import Measures, WindowBlock

FORECAST: Final = "forecast:"
"""Begins the detector's name of a trend; the rule's follows."""
TODAY: Final = "today:"
"""Of what today is heading for."""
WEEK_ON_WEEK: Final = "week:"
HOUR_MS: Final = 3_600_000
_WHOLE: Final = 0.9

Watching = Callable[[SegmentKey], tuple[Rule, ...]]


class _Past:
    """One rule on one segment."""

    __slots__ = ("by_hour", "days", "shares")

    def __init__(self) -> None:
        self.days: list[Day] = []
        self.by_hour: list[float] = []
        """The sum so far at the end of each hour of today."""
        self.shares = Shares()


class LongTerm:
    """The past days of all rules that look at them, and their conditions."""

    def __init__(self, signals: Mapping[str, Signal]) -> None:
        self._signals = signals
        self._past: dict[tuple[SegmentKey, str], _Past] = {}
        self._holding: dict[tuple[SegmentKey, str], Evidence] = {}
        """By the detector's name."""
        self._at_ms = -1
        """Start of the last window."""
        self._watched_ms = 0
        """Of today."""

    def step(
        self, block: WindowBlock, panes: Mapping[SegmentKey, SegmentPanes], watching: Watching
    ) -> list[Evidence]:
        """Look at what was before this window; evidence in the order of segment, then rule."""
        before_ms, now_ms = self._at_ms, block.window_start_ms
        self._at_ms = now_ms
        found: list[Evidence] = []
        if before_ms >= 0 and before_ms // HOUR_MS != now_ms // HOUR_MS:
            ended = before_ms // DAY_MS if before_ms // DAY_MS != now_ms // DAY_MS else None
            if ended is not None and self._watched_ms < _WHOLE * DAY_MS:
                self._forget_today()
            for segment in sorted(panes):
                for rule in watching(segment):
                    if rule.looks_at_days:
                        found += self._look(rule, segment, panes[segment].day, before_ms, block, ended)
            found += self._end_forgotten(panes, watching, block)
            if ended is not None:
                self._watched_ms = 0
                self._drop_old(ended)
        self._watched_ms += block.span_ms
        return found

    def _look(
        self, rule: Rule, segment: SegmentKey, day: tuple[int, Measures] | None, before_ms: int,
        block: WindowBlock, ended: int | None,
    ) -> list[Evidence]:  # fmt: skip
        number = before_ms // DAY_MS
        past = self._past.setdefault((segment, rule.name), _Past())
        value = day[1].read(rule.signal, DAY_MS) if day is not None and day[0] == number else None
        so_far = 0.0 if value is None else value.value
        if self._adds_up(rule):
            while len(past.by_hour) <= before_ms % DAY_MS // HOUR_MS:
                past.by_hour.append(so_far)
        if ended is None:
            return self._told(rule, segment, TODAY, self._heading(rule, segment, past, block), block)
        least = 1 if rule.versus == "week" else rule.min_events
        if self._watched_ms >= _WHOLE * DAY_MS:
            past.shares.learn(past.by_hour)
            if value is not None and value.n >= least:
                past.days = [*past.days, Day(number, value.value, value.n)][-MOST_DAYS:]
        past.by_hour = []
        told = self._told(rule, segment, TODAY, None, block)
        if rule.versus == "week":
            return told + self._told(
                rule, segment, "rule:", self._week(rule, segment, past, ended, block), block
            )
        return told + self._told(
            rule, segment, FORECAST, self._trend(rule, segment, past, ended, block), block
        )

    def _adds_up(self, rule: Rule) -> bool:
        """Whether it makes sense to ask what today is heading for."""
        is_sum = self._signals[rule.signal].kind == "rate"
        return is_sum and rule.per_day and rule.worse == "up" and rule.forecast_hours > 0

    def _heading(self, rule: Rule, segment: SegmentKey, past: _Past, block: WindowBlock) -> Evidence | None:
        """What today comes to, if that is beyond a bound that is not passed yet."""
        hours = len(past.by_hour)
        found = past.shares.heading(hours, past.by_hour[-1]) if hours else None
        bound = _next_bound(rule, past.by_hour[-1]) if hours else None
        if found is None or bound is None or found[1] <= bound:
            return None
        midnight_ms = block.window_start_ms // DAY_MS * DAY_MS
        return _evidence(
            rule, f"{TODAY}{rule.name}", segment, block, Severity.WARNING, statistic=found[0], bound=bound,
            observed=past.by_hour[-1], expected=bound, n=past.shares.days, started_at_ms=midnight_ms,
        )  # fmt: skip

    def _trend(
        self, rule: Rule, segment: SegmentKey, past: _Past, ended: int, block: WindowBlock
    ) -> Evidence | None:
        """A trend that crosses a bound within the horizon."""
        if not rule.forecast_hours or not past.days or past.days[-1].number != ended:
            return None
        found = trend(past.days, up=rule.worse == "up")
        bound = None if found is None else _next_bound(rule, found.level)
        if found is None or bound is None or found.days_to(bound) * HOURS > rule.forecast_hours:
            return None
        return _evidence(
            rule, f"{FORECAST}{rule.name}", segment, block, Severity.WARNING, statistic=found.per_day, bound=bound,
            observed=found.level, expected=bound, n=found.days, started_at_ms=found.since * DAY_MS,
        )  # fmt: skip

    def _week(
        self, rule: Rule, segment: SegmentKey, past: _Past, ended: int, block: WindowBlock
    ) -> Evidence | None:
        is_sum = self._signals[rule.signal].kind == "rate"
        found = weeks(past.days, ended, is_sum=is_sum, min_events=rule.min_events)
        severity = None if found is None else worse_by(rule, found)
        if found is None or severity is None:
            return None
        change = rule.critical if severity == Severity.CRITICAL else rule.warning
        bound = level_at(rule, found.before, change or 0.0)
        return _evidence(
            rule, f"{WEEK_ON_WEEK}{rule.name}", segment, block, severity, statistic=found.now, bound=bound,
            observed=found.now, expected=found.before, n=found.n, started_at_ms=(ended - WEEK + 1) * DAY_MS,
        )  # fmt: skip

    def _told(
        self, rule: Rule, segment: SegmentKey, kind: str, found: Evidence | None, block: WindowBlock
    ) -> list[Evidence]:
        """The evidence, or that it has ended."""
        key = segment, f"{kind}{rule.name}"
        if found is not None:
            self._holding[key] = found
            return [found]
        return [_ended(self._holding.pop(key), block)] if key in self._holding else []

    def _end_forgotten(
        self, panes: Mapping[SegmentKey, SegmentPanes], watching: Watching, block: WindowBlock
    ) -> list[Evidence]:
        """End what nobody watches any more."""
        gone = [
            (segment, name)
            for segment, name in self._holding
            if segment not in panes
            or name.partition(":")[2] not in {rule.name for rule in watching(segment) if rule.looks_at_days}
        ]
        return [_ended(self._holding.pop(key), block) for key in sorted(gone)]

    def _forget_today(self) -> None:
        for past in self._past.values():
            past.by_hour = []

    def _drop_old(self, ended: int) -> None:
        for key, past in list(self._past.items()):
            past.days = [day for day in past.days if day.number > ended - MOST_DAYS]
            if not past.days and not past.by_hour:
                del self._past[key]

    def to_state(self) -> State:
        past = [
            [list(segment.dimensions), list(segment.values), rule, [list(day) for day in p.days], p.by_hour,
             p.shares.to_state()]
            for (segment, rule), p in sorted(self._past.items())
        ]  # fmt: skip
        holding = [msgspec.to_builtins(found) for _, found in sorted(self._holding.items())]
        return {"past": past, "holding": holding, "at_ms": self._at_ms, "watched_ms": self._watched_ms}

    def from_state(self, state: State, rules: Sequence[Rule]) -> None:
        """Rules that are no more are left out; what they held ends as if nobody watched it."""
        names = {rule.name for rule in rules if rule.looks_at_days}
        for dimensions, values, rule, days, by_hour, shares in state["past"]:
            if rule not in names:
                continue
            past = self._past[SegmentKey(tuple(dimensions), tuple(values)), rule] = _Past()
            past.days = [Day(*day) for day in days]
            past.by_hour, past.shares = list(by_hour), Shares.from_state(shares)
        for data in state["holding"]:
            found = msgspec.convert(data, Evidence)
            self._holding[found.segment, found.detector] = found
        self._at_ms, self._watched_ms = int(state["at_ms"]), int(state["watched_ms"])


def is_forecast(found: Evidence) -> bool:
    """Whether evidence is about what is yet to come."""
    return found.detector.startswith((FORECAST, TODAY))


def _next_bound(rule: Rule, level: float) -> float | None:
    """The mildest bound that the level has not passed."""
    bounds = [bound for bound in (rule.warning, rule.critical) if bound is not None]
    return next((bound for bound in bounds if (level < bound if rule.worse == "up" else level > bound)), None)


def _evidence(
    rule: Rule, detector: str, segment: SegmentKey, block: WindowBlock, severity: Severity, *, statistic: float,
    bound: float, observed: float, expected: float, n: int, started_at_ms: int,
) -> Evidence:  # fmt: skip
    up = rule.worse == "up"
    return Evidence(
        detector=detector, family="rule", segment=segment, signal=rule.signal,
        window_start_ms=block.window_start_ms, window_end_ms=block.window_end_ms, severity=severity,
        statistic=statistic, threshold=bound, observed=observed, expected=expected,
        lower=None if up else bound, upper=bound if up else None, n=n, started_at_ms=started_at_ms,
    )  # fmt: skip


def _ended(found: Evidence, block: WindowBlock) -> Evidence:
    return msgspec.structs.replace(
        found, firing=False, window_start_ms=block.window_start_ms, window_end_ms=block.window_end_ms
    )
