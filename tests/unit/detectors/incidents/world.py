"""A small fleet whose every series is known: causes in, what DETECT would say about each series out.

Dimensions are independent, but for what ``SAME`` ties together. A cause moves signals in one segment; every other
segment shows the part of it that its traffic shares with the cause's, as in real traffic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from builders import BASE_MS, START_MS, matrix

from detectors.incidents.effects import Effect
from detectors.incidents.places import disjoint, within
from detectors.incidents.triage import Triage, TriageParams, TriageStep
from detectors.records import FLEET, AnnouncedChange, Evidence, SegmentKey, Severity, Signal

VALUES: Final[dict[str, dict[str, float]]] = {
    "provider": {"acme": 0.6, "north": 0.4},
    "region": {"us": 0.55, "eu": 0.3, "ap": 0.15},
    "feature": {"chat": 0.5, "search": 0.3, "agent": 0.2},
    "tenant": {"t1": 0.3, "t2": 0.2, "t3": 0.04},
    "topic": {"billing": 0.12, "travel": 0.05},
}
SAME: Final = {
    ("provider", "model"): {("acme", "acme-2"): 0.6, ("north", "pro"): 0.2, ("north", "mini"): 0.2}
}
"""Combined segmentations whose values are not independent."""

BASE: Final[dict[str, tuple[str, Any, str, float]]] = {
    "request_rate": ("1/s", "rate", "both", 1.0),
    "error_ratio": ("ratio", "ratio", "up", 0.005),
    "retry_ratio": ("ratio", "ratio", "up", 0.01),
    "refusal_ratio": ("ratio", "ratio", "up", 0.02),
    "idk_ratio": ("ratio", "ratio", "up", 0.04),
    "out_of_scope_ratio": ("ratio", "ratio", "up", 0.03),
    "schema_valid_ratio": ("ratio", "ratio", "down", 0.99),
    "cache_hit_ratio": ("ratio", "ratio", "down", 0.4),
    "safety_flag_ratio": ("ratio", "ratio", "up", 0.0001),
    "safety_high_ratio": ("ratio", "ratio", "up", 0.00001),
    "judge_fail_ratio": ("ratio", "ratio", "up", 0.12),
    "judge_score_mean": ("score", "mean", "down", 0.89),
    "unsupported_claim_ratio": ("ratio", "ratio", "up", 0.03),
    "user_corrected_ratio": ("ratio", "ratio", "up", 0.01),
    "thumbs_down_ratio": ("ratio", "ratio", "up", 0.10),
    "latency_typical_ms": ("ms", "mean", "up", 800.0),
    "latency_tail_ratio": ("ratio", "ratio", "up", 0.01),
    "ttft_typical_ms": ("ms", "mean", "up", 200.0),
    "tokens_in_typical": ("tokens", "mean", "both", 700.0),
    "tokens_out_typical": ("tokens", "mean", "both", 150.0),
    "cost_typical_usd": ("USD", "mean", "up", 0.002),
    "cost_per_1k_typical_usd": ("USD", "mean", "up", 0.003),
    "spend_usd": ("USD", "rate", "up", 0.02),
    "steps_typical": ("steps", "mean", "up", 4.0),
    "steps_tail_ratio": ("ratio", "ratio", "up", 0.01),
    "retrieved_chunks_mean": ("chunks", "mean", "down", 6.0),
    "retrieval_score_mean": ("score", "mean", "down", 0.74),
    "index_age_typical_days": ("days", "mean", "up", 12.0),
    "tool_error_ratio": ("ratio", "ratio", "up", 0.02),
    "success_ratio": ("ratio", "ratio", "down", 0.8),
    "abandoned_ratio": ("ratio", "ratio", "up", 0.1),
    "escalated_ratio": ("ratio", "ratio", "up", 0.05),
    "cost_per_success_usd": ("USD", "mean", "up", 0.0025),
    "cost_per_user_usd": ("USD", "mean", "up", 0.02),
    "heavy_user_cost_share": ("ratio", "mean", "up", 0.1),
    "topic_mix": ("share", "mix", "both", 0.01),
    "attributes_mix": ("share", "mix", "both", 0.001),
    "model_requested_mix": ("share", "mix", "both", 0.2),
    "evaluator_version_mix": ("share", "mix", "both", 0.001),
    "prompt_version_mix": ("share", "mix", "both", 0.001),
    "tool_mix": ("share", "mix", "both", 0.3),
}
SIGNALS: Final = {name: Signal(name, unit, kind, worse, "") for name, (unit, kind, worse, _) in BASE.items()}  # type: ignore[arg-type]
HOUR_MS: Final = 3_600_000


class Cause(NamedTuple):
    """What happens in one segment: signals and what they become there."""

    segment: SegmentKey
    becomes: Mapping[str, float]
    minutes_ago: float = 10.0
    labels: Mapping[str, str] = {}


def at(**dimensions: str) -> SegmentKey:
    """``at(provider="acme", model="acme-2")``."""
    return SegmentKey(tuple(dimensions), tuple(dimensions.values()))


ACME = at(provider="acme")
ACME_2 = at(provider="acme", model="acme-2")


def segments() -> list[SegmentKey]:
    found = [FLEET]
    for dimension, values in VALUES.items():
        found += [SegmentKey((dimension,), (value,)) for value in values]
    for dimensions, pairs in SAME.items():
        found += [SegmentKey(dimensions, values) for values in pairs]
    found += [
        SegmentKey(("model", "topic"), (model, topic))
        for (_, model), topic in itertools.product(SAME["provider", "model"], VALUES["topic"])
    ]
    return sorted(found)


class World:
    """DETECT's answers about a fleet with these causes.

    ``nats`` is the evidence that the whole fleet gives if it changes by a tenth of a logarithm, or by a point.
    """

    def __init__(self, *causes: Cause, nats: float = 40.0, unknown: Sequence[str] = ()) -> None:
        self.causes = causes
        self.now_ms = START_MS + HOUR_MS
        self._nats = nats
        self._unknown = unknown

    def rate(self, segment: SegmentKey) -> float:
        return 0.0

    def known_for_ms(self, segment: SegmentKey) -> int:
        return 7 * 86_400_000

    def changed(self, signal: str, least_nats: float) -> list[SegmentKey]:
        found = ((segment, self.effect(segment, signal)) for segment in segments())
        return [segment for segment, effect in found if effect is not None and effect.nats >= least_nats]

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = "") -> float:
        return size(child) / size(parent)

    def weight(self, segment: SegmentKey) -> float:
        return self.share(segment, FLEET)

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> Effect | None:
        effect = self.effect(segment, signal)
        return None if effect is None else effect._replace(nats=0.0, since_ms=since_ms)

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        if signal not in BASE or signal in self._unknown:
            return None
        expected = BASE[signal][3] * (size(segment) if SIGNALS[signal].kind == "rate" else 1.0)
        observed, since_ms, label = expected, self.now_ms, None
        for cause in self.causes:
            part = overlap(cause.segment, segment)
            if signal in cause.becomes and part > 0.0:
                observed = self._mixed(signal, observed, cause, segment, part)
                since_ms = min(since_ms, self.now_ms - round(cause.minutes_ago * 60_000))
                label = cause.labels.get(signal)
        if observed == expected:
            return Effect(0.0, self.now_ms, 0.0, expected, expected, 0.0)
        kind = SIGNALS[signal].kind
        by_points = kind in ("ratio", "mix") or SIGNALS[signal].unit == "score"
        step = (observed - expected) / 0.01 if by_points else math.log(max(observed, 1e-6) / expected) / 0.1
        nats = self._nats * size(segment) * step**2
        return Effect(nats, since_ms, 1000 * size(segment), observed, expected, step, label)

    def _mixed(self, signal: str, observed: float, cause: Cause, segment: SegmentKey, part: float) -> float:
        there = cause.becomes[signal]
        if SIGNALS[signal].kind == "rate":
            lost = (there - BASE[signal][3]) * size(cause.segment)
            return observed + lost * (size(segment) * part / size(cause.segment))
        if "_typical" in signal:
            return observed * (there / BASE[signal][3]) ** part
        return observed + part * (there - BASE[signal][3])

    def evidence(self) -> list[Evidence]:
        """What fires: every series with clear evidence of a change for the worse."""
        found = []
        for segment, signal in itertools.product(segments(), BASE):
            effect = self.effect(segment, signal)
            if effect is None or effect.nats < 8.0:
                continue
            worse, up = SIGNALS[signal].worse, effect.observed > effect.expected
            if worse == "both" or (worse == "up") == up:
                found.append(evidence(segment, signal, effect, self.now_ms))
        return found


def evidence(segment: SegmentKey, signal: str, effect: Effect, now_ms: int, **changes: Any) -> Evidence:
    given: dict[str, Any] = {
        "detector": "glr", "family": "drift", "segment": segment, "signal": signal,
        "window_start_ms": now_ms - BASE_MS, "window_end_ms": now_ms, "severity": Severity.WARNING,
        "statistic": effect.nats, "threshold": 8.0, "observed": effect.observed, "expected": effect.expected,
        "lower": None, "upper": None, "n": round(effect.n), "started_at_ms": effect.since_ms, "label": effect.label,
        "false_per_week": 1e-6,
    }  # fmt: skip
    return Evidence(**(given | changes))


def back(segment: SegmentKey, signal: str, now_ms: int) -> Evidence:
    """The level of a frozen series is back."""
    none = Effect(0.0, now_ms, 0.0, 0.0, 0.0, 0.0)
    return evidence(segment, signal, none, now_ms, detector="level", severity=Severity.INFO, firing=False)


@cache
def size(segment: SegmentKey) -> float:
    """Share of the fleet's traffic."""
    values = segment.as_dict()
    share = 1.0
    if "model" in values:
        share *= sum(s for (_, model), s in SAME["provider", "model"].items() if model == values["model"])
        values.pop("model")
        values.pop("provider", None)
    for dimension, value in values.items():
        share *= VALUES[dimension].get(value, 0.01)
    return share


@cache
def overlap(cause: SegmentKey, segment: SegmentKey) -> float:
    """Share of a segment's traffic that belongs to the cause's."""
    if within(segment, cause):
        return 1.0
    if disjoint(segment, cause):
        return 0.0
    ours, theirs = cause.as_dict(), segment.as_dict()
    provider_of = {model: provider for provider, model in SAME["provider", "model"]}
    for one, other in ((ours, theirs), (theirs, ours)):
        if "model" in one and other.get("provider", provider_of[one["model"]]) != provider_of[one["model"]]:
            return 0.0
    joint = ours | theirs
    if "model" in joint:
        joint["provider"] = provider_of[joint["model"]]
    return size(SegmentKey(tuple(joint), tuple(joint.values()))) / size(segment)


class Desk:
    """A Triage that looks at worlds, and what it said so far."""

    def __init__(self, **params: Any) -> None:
        self.triage = Triage(TriageParams(**params), "test")
        self.alerts: list[tuple[str, str, str]] = []

    def look(
        self,
        world: World,
        *changes: AnnouncedChange,
        found: Sequence[Evidence] | None = None,
        newcomers: Sequence[SegmentKey] = (),
    ) -> TriageStep:
        given = world.evidence() if found is None else found
        block = matrix(world.now_ms - BASE_MS, sorted([*segments(), *newcomers]))
        step = self.triage.step(given, block, SIGNALS, changes, world)
        self.alerts += [(a.type.rsplit(".", 1)[1], a.severity, a.incident_type) for a in step.alerts]
        return step
