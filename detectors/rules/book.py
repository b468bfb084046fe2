"""All rules on all their segments: panes in, evidence out while a bound is exceeded and when it no longer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from detectors.base import State
from detectors.records import FLEET, Evidence, SegmentKey, Severity, Signal, SignalValue
from detectors.rules.absolute import Rule
from detectors.rules.chance import beyond_chance
from detectors.rules.days import LongTerm
from detectors.rules.panes import PANE_MS, SegmentPanes
from detectors.sketches.layout import Layout
from detectors.sketches.window import Measures, WindowBlock

CLEAR_MARGIN: Final = 0.2
"""Share of the way from warning to critical by which a value must be back before the condition may end."""
CLEAR_MARGIN_OF_ONE: Final = 0.05
"""The same as a share of the bound, where a rule has only one."""
MAX_SEGMENTS: Final = 2000
"""Segments with rule panes; a wildcard over more watches those it met first."""


class _Condition:
    """One rule on one segment while its bound is exceeded."""

    __slots__ = ("clear_since_ms", "last", "said_ms", "severity", "started_at_ms")

    def __init__(
        self,
        severity: Severity,
        started_at_ms: int,
        said_ms: int,
        last: SignalValue,
        clear_since_ms: int | None = None,
    ) -> None:
        self.severity = severity
        self.started_at_ms = started_at_ms
        self.said_ms = said_ms
        self.last = last
        self.clear_since_ms = clear_since_ms


class RuleBook:
    """The rules of one fleet."""

    def __init__(self, rules: Sequence[Rule], signals: Mapping[str, Signal], repeat_secs: int) -> None:
        unknown = sorted({rule.signal for rule in rules} - set(signals))
        if unknown:
            raise ValueError(f"rules on unknown signals: {', '.join(unknown)}")
        self._rules = tuple(rules)
        self._signals = signals
        self._repeat_ms = repeat_secs * 1000
        self._panes: dict[SegmentKey, SegmentPanes] = {}
        self._conditions: dict[tuple[SegmentKey, str], _Condition] = {}
        self._long = LongTerm(signals)
        self._stored: list[State] = []
        self._watch_cache: dict[SegmentKey, tuple[Rule, ...]] = {}
        self.not_judged = 0
        """Segments since this process began, counted once per window, that ``MAX_SEGMENTS`` kept from the rules."""

    def step(self, block: WindowBlock) -> list[Evidence]:
        """Add a window; evidence in the order of segment, then rule."""
        self._decode_stored(block.layout)
        evidence = self._long.step(block, self._panes, self._watching)
        for row, segment in enumerate(block.segments):
            rules = self._watching(segment)
            if not rules:
                continue
            panes = self._panes.get(segment)
            if panes is None:
                if len(self._panes) >= MAX_SEGMENTS:
                    self.not_judged += 1
                    continue
                panes = self._panes[segment] = _new_panes(rules, block.span_ms)
            panes.add(block.window_start_ms, block.measures(row))
        for segment in sorted(self._panes):
            panes = self._panes[segment]
            panes.expire(block.window_end_ms)
            for rule in self._watching(segment):
                if rule.versus == "week":
                    continue
                found = self._judge(rule, segment, panes, block)
                if found is not None:
                    evidence.append(found)
            if panes.empty and not any(
                (segment, rule.name) in self._conditions for rule in self._watching(segment)
            ):
                del self._panes[segment]
        return evidence

    def _watching(self, segment: SegmentKey) -> tuple[Rule, ...]:
        cached = self._watch_cache.get(segment)
        if cached is None:
            if len(self._watch_cache) > 10 * MAX_SEGMENTS:
                self._watch_cache.clear()
            cached = tuple(rule for rule in self._rules if matches(rule, segment))
            self._watch_cache[segment] = cached
        return cached

    def _judge(
        self, rule: Rule, segment: SegmentKey, panes: SegmentPanes, block: WindowBlock
    ) -> Evidence | None:
        end_ms = block.window_end_ms
        span_ms = rule.span_secs * 1000
        measures = panes.today() if rule.per_day else panes.over(end_ms, span_ms)
        value = None if measures is None else measures.read(rule.signal, span_ms)
        if value is not None and value.n < rule.min_events:
            value = None
        severity = None if value is None or measures is None else self._exceeded(rule, value, measures)
        condition = self._conditions.get((segment, rule.name))
        if condition is None:
            if severity is None or value is None:
                return None
            onset = _onset(rule, panes, block.window_start_ms)
            self._conditions[segment, rule.name] = _Condition(severity, onset, end_ms, value)
            return _evidence(rule, segment, block, value, severity, onset)
        condition.last = value or condition.last
        if value is not None and not _is_back(rule, value.value):
            condition.clear_since_ms = None
            if severity is None:
                return None  # inside the bound, but not by the margin: neither news nor the end
            worse = severity > condition.severity
            if not worse and end_ms - condition.said_ms < self._repeat_ms:
                return None
            condition.severity, condition.said_ms = max(severity, condition.severity), end_ms
            return _evidence(rule, segment, block, value, severity, condition.started_at_ms)
        if condition.clear_since_ms is None:
            condition.clear_since_ms = block.window_start_ms
        if end_ms - condition.clear_since_ms < rule.hold_secs * 1000:
            return None
        del self._conditions[segment, rule.name]
        onset = condition.started_at_ms
        return _evidence(rule, segment, block, condition.last, condition.severity, onset, firing=False)

    def _exceeded(self, rule: Rule, value: SignalValue, measures: Measures) -> Severity | None:
        """The worst bound that is exceeded beyond chance."""
        signal = self._signals[rule.signal]
        for severity, bound in bounds(rule):
            if _is_worse(rule, value.value, bound) and beyond_chance(rule, signal, bound, value, measures):
                return severity
        return None

    def _decode_stored(self, layout: Layout) -> None:
        """Panes are stored without their layout, which comes with the first window after a restore."""
        for stored in self._stored:
            segment = SegmentKey(tuple(stored["dimensions"]), tuple(stored["values"]))
            rules = self._watching(segment)
            if rules:
                panes = _new_panes(rules, PANE_MS, stored["pane_ms"])
                panes.from_state(stored["panes"], layout)
                self._panes[segment] = panes
        self._stored = []

    def to_state(self) -> State:
        stored = [
            {
                "dimensions": list(segment.dimensions), "values": list(segment.values),
                "pane_ms": panes.pane_ms, "panes": panes.to_state(),
            }
            for segment, panes in sorted(self._panes.items(), key=lambda item: item[0])
        ]  # fmt: skip
        conditions = [
            {
                "dimensions": list(segment.dimensions), "values": list(segment.values), "rule": rule,
                "severity": int(c.severity), "started_at_ms": c.started_at_ms, "said_ms": c.said_ms,
                "last": [c.last.value, c.last.n], "clear_since_ms": c.clear_since_ms,
            }
            for (segment, rule), c in sorted(self._conditions.items(), key=lambda item: item[0])
        ]  # fmt: skip
        return {"panes": stored or self._stored, "conditions": conditions, "days": self._long.to_state()}

    @staticmethod
    def recode(state: State, block: Callable[[bytes], bytes]) -> None:
        """Pass every block of a stored state through ``block``: it is written in an older layout."""
        for stored in state["panes"]:
            panes = stored["panes"]
            panes["panes"] = [[pane, block(data)] for pane, data in panes["panes"]]
            if panes["day"] is not None:
                panes["day"] = [panes["day"][0], block(panes["day"][1])]

    def from_state(self, state: State) -> None:
        self._stored = list(state["panes"])
        if "days" in state:
            self._long.from_state(state["days"], self._rules)
        names = {rule.name for rule in self._rules}
        for stored in state["conditions"]:
            segment = SegmentKey(tuple(stored["dimensions"]), tuple(stored["values"]))
            if stored["rule"] in names:
                self._conditions[segment, stored["rule"]] = _Condition(
                    Severity(stored["severity"]),
                    stored["started_at_ms"],
                    stored["said_ms"],
                    SignalValue(*stored["last"]),
                    stored["clear_since_ms"],
                )


def matches(rule: Rule, segment: SegmentKey) -> bool:
    """Whether the rule watches the segment: same dimensions, each value equal or ``*``."""
    if not rule.segments:
        return segment == FLEET
    return any(fits(pattern, segment) for pattern in rule.segments)


def fits(pattern: Mapping[str, str], segment: SegmentKey) -> bool:
    """Whether a segment has the dimensions of a pattern, and each value is that of the pattern or ``*``."""
    found = segment.as_dict()
    return pattern.keys() == found.keys() and all(want in ("*", found[d]) for d, want in pattern.items())


def bounds(rule: Rule) -> Iterator[tuple[Severity, float]]:
    """The rule's bounds, the worst first."""
    if rule.critical is not None:
        yield Severity.CRITICAL, rule.critical
    if rule.warning is not None:
        yield Severity.WARNING, rule.warning


def _is_worse(rule: Rule, value: float, bound: float) -> bool:
    return value > bound if rule.worse == "up" else value < bound


def _mildest(rule: Rule) -> float:
    bound = rule.warning if rule.warning is not None else rule.critical
    assert bound is not None, "Rule has at least one bound"  # noqa: S101
    return bound


def _is_back(rule: Rule, value: float) -> bool:
    bound = _mildest(rule)
    if rule.warning is not None and rule.critical is not None:
        margin = CLEAR_MARGIN * abs(rule.critical - rule.warning)
    else:
        margin = CLEAR_MARGIN_OF_ONE * abs(bound)
    return value <= bound - margin if rule.worse == "up" else value >= bound + margin


def _onset(rule: Rule, panes: SegmentPanes, window_start_ms: int) -> int:
    """Start of the latest unbroken row of panes that are each beyond the bound on their own."""
    onset = window_start_ms
    for start_ms, measures in panes.newest_first():
        value = measures.read(rule.signal, PANE_MS)
        if value is None:
            continue
        if rule.per_day or not _is_worse(rule, value.value, _mildest(rule)):
            break
        onset = min(onset, start_ms)
    return onset


def _evidence(
    rule: Rule, segment: SegmentKey, block: WindowBlock, value: SignalValue, severity: Severity, onset_ms: int,
    *, firing: bool = True,
) -> Evidence:  # fmt: skip
    bound = rule.critical if severity == Severity.CRITICAL and rule.critical is not None else _mildest(rule)
    up = rule.worse == "up"
    return Evidence(
        detector=f"rule:{rule.name}", family="rule", segment=segment, signal=rule.signal,
        window_start_ms=block.window_start_ms, window_end_ms=block.window_end_ms, severity=severity,
        statistic=value.value, threshold=bound, observed=value.value, expected=bound,
        lower=None if up else bound, upper=bound if up else None, n=value.n,
        started_at_ms=onset_ms, firing=firing,
    )  # fmt: skip


def _new_panes(rules: Sequence[Rule], base_window_ms: int, pane_ms: int | None = None) -> SegmentPanes:
    longest = max((rule.span_secs for rule in rules if not rule.per_day), default=60) * 1000
    per_day = any(rule.per_day or rule.looks_at_days for rule in rules)
    return SegmentPanes(longest, per_day, pane_ms or max(PANE_MS, base_window_ms))
