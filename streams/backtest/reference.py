"""What the owner of the reference product would configure: nobody keeps limits that its ordinary days exceed."""

from __future__ import annotations

from typing import Final

from detectors.rules.absolute import Rule
from detectors.rules.defaults import DEFAULT_RULES
from streams.config import Config

WINDOW_SECS: Final = 60
"""100,000 interactions a day are one a second: windows of 10 s would hold ten, and cost three times as much."""
DAILY_SPEND_USD: Final = (500.0, 1000.0)
"""Warning and critical; an ordinary weekday of the reference product costs about 300 USD."""


def for_reference(config: Config) -> Config:
    """The configuration of a suite run: what the user has set, and the reference product's own limits beside it."""
    changed: dict[str, object] = {}
    if "base_secs" not in config.windows.model_fields_set:
        changed["windows"] = config.windows.model_copy(update={"base_secs": WINDOW_SECS})
    if "rules" not in config.model_fields_set:
        changed["rules"] = tuple(map(_affordable, DEFAULT_RULES))
    return config.model_copy(update=changed)


def _affordable(rule: Rule) -> Rule:
    if rule.name != "daily-spend":
        return rule
    warning, critical = DAILY_SPEND_USD
    return rule.model_copy(update={"warning": warning, "critical": critical})
