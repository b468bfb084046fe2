"""Rules that are tried out: in the configuration's own form, on the windows of a history."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detectors.records import SegmentKey, Severity
from detectors.rules.absolute import Rule
from detectors.rules.book import RuleBook
from detectors.sketches.window import WindowBlock
from streams.backtest.overlap import plain, relation
from streams.backtest.scoring import Label
from streams.config import Config, ConfigError, parse_config
from streams.segments import field_of
from streams.signals import SIGNALS


class BadRule(ValueError):
    """A rule is not usable; says what was got and what is expected."""


def read_rules(text: str, config: Config) -> list[Rule]:
    """The rules of a TOML file with ``[[rules]]``, or of one rule as an inline table ``{ name = …, signal = … }``.

    Raises:
        BadRule: what it says is no rule of this configuration.
    """
    source = "--rule"
    if not text.lstrip().startswith("{"):
        source = text
        try:
            text = Path(text).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadRule(
                f"--rule {source}: {error}; expected a TOML file with [[rules]], or an inline table "
                '{ name = "refusals", signal = "refusal_ratio", warning = 0.1 }'
            ) from None
    else:
        text = f"rules = [{text}]"
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRule(f"{source}: {error}; expected valid TOML") from None
    if not isinstance(tree.get("rules"), list) or not tree["rules"]:
        raise BadRule(f"{source}: got no rules; expected [[rules]] tables as in tidewatch.toml")
    try:
        rules = list(parse_config({"rules": tree["rules"]}, source).rules)
    except ConfigError as error:
        raise BadRule(str(error)) from None
    for rule in rules:
        _check_segments(source, rule, config)
    return rules


def _check_segments(source: str, rule: Rule, config: Config) -> None:
    watched = {frozenset(map(field_of, names)) for names in config.segments.by}
    for pattern in rule.segments:
        if frozenset(map(field_of, pattern)) not in watched:
            known = "; ".join(", ".join(names) for names in config.segments.by)
            raise BadRule(
                f"{source}: rule {rule.name}: got segments by {', '.join(pattern)}; expected one of those that are "
                f"watched: {known}"
            )


class Firing(msgspec.Struct, frozen=True):
    """One time at which a rule's bound was passed."""

    rule: str
    segment: dict[str, str]
    at_ms: int
    until_ms: int | None
    """When the condition ended; None: not before the end of the history."""
    severity: str
    observed: float
    label: str | None
    """The label of a real incident at this time and place."""


class Trial(msgspec.Struct, frozen=True):
    """What one rule would have said."""

    rule: str
    firings: list[Firing]
    labels_found: int
    labels: int

    @property
    def real(self) -> int:
        """Firings that a label explains."""
        return sum(firing.label is not None for firing in self.firings)


class RuleTrial:
    """Some rules on a history, window by window."""

    def __init__(self, rules: Sequence[Rule], repeat_secs: int) -> None:
        self._rules = list(rules)
        numeric = {name: signal for name, signal in SIGNALS.items() if signal.kind != "mix"}
        self._book = RuleBook(rules, numeric, repeat_secs)
        self._open: dict[tuple[str, SegmentKey], dict[str, Any]] = {}
        self._ended: list[dict[str, Any]] = []

    def add(self, window: WindowBlock) -> None:
        """The next window."""
        for found in self._book.step(window):
            key = (found.detector, found.segment)  # a forecast of a rule fires and ends by itself
            if not found.firing:
                if (ended := self._open.pop(key, None)) is not None:
                    self._ended.append(ended | {"until_ms": found.window_end_ms})
                continue
            firing = self._open.setdefault(
                key,
                {
                    "rule": found.detector.partition(":")[2],
                    "segment": plain(found.segment.as_dict()),
                    "at_ms": found.window_end_ms,
                }
                | {"until_ms": None, "severity": Severity.INFO, "observed": found.observed},
            )
            firing["severity"] = max(firing["severity"], found.severity)

    def trials(self, labels: Sequence[Label]) -> list[Trial]:
        """What each rule has said so far, beside the labels."""
        found = [*self._ended, *self._open.values()]
        firings = [
            Firing(**(one | {"severity": one["severity"].label}), label=_explains(one, labels))
            for one in found
        ]
        firings.sort(key=lambda firing: (firing.at_ms, sorted(firing.segment.items())))
        return [_trial(rule, [f for f in firings if f.rule == rule.name], labels) for rule in self._rules]


def _explains(firing: dict[str, Any], labels: Iterable[Label]) -> str | None:
    for label in labels:
        during = label.start_ms < firing["at_ms"] <= label.end_ms
        if during and relation(label.segment, firing["segment"]) != "other":
            return label.id
    return None


def _trial(rule: Rule, firings: list[Firing], labels: Sequence[Label]) -> Trial:
    found = {firing.label for firing in firings if firing.label is not None}
    return Trial(rule.name, firings, len(found), len(labels))
