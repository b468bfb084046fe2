"""Incidents by name: the effects that make them, and the ground truth to score a monitor against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streams.simulate.effects import Effect


@dataclass(frozen=True)
class Truth:
    """What really happened: the label of one incident.

    ``segment`` maps event fields to values; ``fields`` names the event fields that change.
    """

    id: str
    scenario: str
    onset_ms: int
    end_ms: int
    segment: Mapping[str, str]
    fields: tuple[str, ...]
    strength: str = "severe"
    seed: int = 0
    ramp_ms: int = 0
    alert_type: str = "model_drift"
    severity: str = "critical"
    """The least that an alert on it should have; ``none`` for what must not page."""
    origin: str = "external API"
    target_events: int = 14
    """Affected events within which it should be known."""
    benign: bool = False
    title: str = ""


@dataclass(frozen=True)
class Scenario:
    """An incident ready to be put into a ``TrafficSpec``: its effects and its label."""

    effects: tuple[Effect, ...]
    truth: Truth


def silent_model_change(onset_ms: int, duration_secs: float = 7200.0) -> Scenario:
    """The provider changes a model behind its unchanged name (S02 and S04 of the catalogue at once).

    60 % of the traffic of every tenant: refusals 2 -> 40 %, answers shortened to 35 %. ``model_requested``
    and ``model_served`` stay as they were, and nobody announces anything on ``llm.changes``.
    """
    end_ms = onset_ms + round(duration_secs * 1000)
    segment = {"provider": "acme-ai", "model_requested": "acme-chat-2"}
    effect = Effect(onset_ms, end_ms, segment, ratios={"refusal": 0.40}, factors={"tokens_out": 0.35})
    truth = Truth(
        f"silent-model-change-{onset_ms}",
        "silent-model-change",
        onset_ms,
        end_ms,
        segment,
        ("refusal", "tokens_out", "duration_ms", "cost", "finish_reason", "outcome", "tool_calls"),
    )
    return Scenario((effect,), truth)


SCENARIOS: Final[Mapping[str, Callable[[int, float], Scenario]]] = {
    "silent-model-change": silent_model_change,
}
"""Builders by name; each takes the onset (epoch ms) and the duration in seconds."""
