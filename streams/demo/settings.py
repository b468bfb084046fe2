"""The demo's configuration and volumes, and how they differ from the defaults and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detectors.rules.defaults import DEFAULT_RULES

PARTITIONS: Final = 4
"""Of the input topics: enough to be real, few enough for two cores."""
LATENESS_SECS: Final = 5
"""The simulated traffic arrives in order, so 5 s are plenty; the default is 15 s."""
RULE_LIMITS: Final[dict[str, dict[str, float]]] = {
    "daily-spend": {"warning": 10_000.0, "critical": 20_000.0},
    "thumbs-down": {"min_events": 500},
}
"""What differs from the default rules, which are made for a product of a few requests a second. This fleet spends
about 50,000 USD a day, of which the demo sees half an hour; and one vote in ten is down while nothing is wrong, so
that 50 votes, the default's floor, now and then hold 15 % by chance."""
DIFFERENCES: Final = (
    f"allowed lateness {LATENESS_SECS} s (the traffic is in order), {PARTITIONS} partitions, and for a fleet of "
    "this volume: spend limits of 10,000 and 20,000 USD a day, thumbs-down rule from 500 votes on"
)
"""What differs from the defaults, in words."""
WATCHED: Final = {"provider": "acme-ai", "model": "acme-chat-2"}
"""The segment that the view shows: where the incident will strike."""
SHOWN: Final = (
    "refusal_ratio",
    "tokens_out_mean",
    "judge_score_mean",
    "latency_p95_ms",
    "cost_per_request_usd",
)


@dataclass(frozen=True)
class Options:
    """What a user may choose, and the deadlines after which the demo gives up and says why."""

    seed: int = 7
    rate_per_sec: float = 250.0
    history_secs: float = 1200.0
    quiet_secs: float = 20.0
    """Live traffic without an incident before the onset."""
    linger_secs: float = 6.0
    """Live traffic after the alert, for the eye; twice that while the alert is not yet critical."""
    catch_up_deadline_secs: float = 180.0
    alert_deadline_secs: float = 90.0
    rows_deadline_secs: float = 90.0
    keep: Path | None = None
    """Folder for state and logs that stays; by default a temporary one that goes."""


def configuration(state_dir: Path, bootstrap: str) -> dict[str, Any]:
    """The configuration tree of the demo, as tidewatch.toml would hold it."""
    rules = [rule.model_copy(update=RULE_LIMITS.get(rule.name, {})) for rule in DEFAULT_RULES]
    return {
        "fleet": "demo",
        "state_dir": str(state_dir),
        "kafka": {"bootstrap": bootstrap, "enable_idempotence": False},
        "topics": {"partitions": PARTITIONS, "log_append_time": False},
        "windows": {"allowed_lateness_secs": LATENESS_SECS},
        "rules": [rule.model_dump(exclude_none=True, exclude_defaults=True) for rule in rules],
    }
