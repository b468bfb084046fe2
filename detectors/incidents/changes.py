"""What was announced on ``llm.changes``, and which announcement fits an incident.

A change fits when its scope meets the incident's segment and it took effect from ``BEFORE_MS`` before the onset
until the incident was seen; onsets are estimates, so half of the time that it took to see the incident is granted
besides. Best is who names the segment most closely, then who is nearest to the onset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from detectors.records import FLEET, AnnouncedChange, IncidentType, SegmentKey

MAX_CHANGES: Final = 1000
KEPT_MS: Final = 7 * 86_400_000
BEFORE_MS: Final = 3_600_000
MAX_FITTING: Final = 10
_ALSO: Final = {"model_requested": "model", "model_served": "model"}
"""Field of a record -> the dimension that stands for it."""

Fit = Literal["names", "holds", "crosses"]
"""How the scope lies to the segment: equal or within each other, everything, or crossing."""
_RANK: Final[dict[Fit, int]] = {"names": 0, "holds": 1, "crosses": 2}

SUSPECTS: Final[dict[IncidentType, tuple[str, ...]]] = {
    "agent_loop": ("prompt", "deploy", "model", "experiment"),
    "anomaly": ("prompt", "deploy", "model", "experiment", "index", "price", "judge"),
    "cache_degradation": ("deploy", "prompt", "experiment"),
    "context_drift": ("index", "deploy"),
    "context_growth": ("prompt", "deploy", "experiment", "index"),
    "cost_drift": ("price", "prompt", "model", "deploy", "experiment"),
    "cost_per_token": ("price", "model", "experiment", "deploy"),
    "cost_spike": ("experiment", "deploy"),
    "data_incident": ("index", "deploy"),
    "eval_baseline": ("judge",),
    "eval_divergence": ("judge", "deploy"),
    "hallucination_cluster": ("prompt", "deploy", "index", "model"),
    "input_drift": ("experiment", "deploy"),
    "latency": ("deploy", "model", "prompt", "experiment", "index"),
    "latency_tail": ("deploy", "model", "experiment"),
    "mix_change": ("model", "experiment", "deploy", "prompt", "judge"),
    "model_drift": ("model", "prompt", "deploy", "experiment"),
    "no_data": ("deploy", "experiment"),
    "prompt_regression": ("prompt", "deploy", "experiment"),
    "provider_outage": ("deploy", "model"),
    "refusal_surge": ("prompt", "deploy", "model", "experiment"),
    "safety": ("model", "prompt", "deploy"),
    "schema_change": ("deploy",),
    "threshold": ("prompt", "deploy", "model", "experiment", "index", "price", "judge"),
    "tool_failure": ("deploy", "prompt", "model", "experiment"),
}
"""Type -> the kinds of change that can bring it about, likeliest first."""

PLANNED: Final[dict[IncidentType, tuple[str, ...]]] = {
    "cache_degradation": ("deploy",),
    "context_drift": ("index",),
    "cost_per_token": ("experiment", "price", "model"),
    "cost_spike": ("experiment",),
    "data_incident": ("index",),
    "eval_baseline": ("judge",),
    "input_drift": ("experiment",),
    "mix_change": ("model", "experiment", "deploy", "prompt", "judge"),
    "model_drift": ("model", "experiment"),
    "no_data": ("deploy",),
    "safety": ("model",),
    "schema_change": ("deploy",),
}
"""Type -> the kinds of change whose announcement says that this was to be expected: nobody is woken for it, and its
level becomes normal sooner. A release that makes answers worse is never one of them."""


class Place(NamedTuple):
    """Where an incident is, under all its names."""

    segment: SegmentKey
    aliases: tuple[SegmentKey, ...] = ()
    """Other segments of the same interactions: a provider with one model, a feature with one prompt."""
    watched: frozenset[str] = frozenset()
    """Dimensions of any watched segment."""

    def fit(self, scope: dict[str, str]) -> Fit | None:
        """How a change's scope lies to the place; None when they do not meet."""
        there = {_ALSO.get(name, name): value for name, value in scope.items()}
        fits = [_fit(there, segment) for segment in (self.segment, *self.aliases)]
        if fits[0] == "crosses" and self.segment == FLEET and not there.keys() & self.watched:
            return "holds"  # nobody watches what it names: the fleet is where it can be seen
        if None in fits:
            return None
        return next((fit for fit in _RANK if fit in fits), None)


class Changes:
    """The announced changes of the last days, bounded."""

    def __init__(self, known: Iterable[AnnouncedChange] = ()) -> None:
        self._known = {change.id: change for change in known}

    @property
    def known(self) -> list[AnnouncedChange]:
        """Oldest first."""
        return list(self._known.values())

    def add(self, changes: Iterable[AnnouncedChange], now_ms: int) -> None:
        """Take in what was announced; a repeated id replaces what it said before. The oldest make room."""
        self._known |= {change.id: change for change in changes}
        kept = [change for change in self._known.values() if change.at_ms > now_ms - KEPT_MS]
        kept.sort(key=lambda change: (change.at_ms, change.id))
        self._known = {change.id: change for change in kept[-MAX_CHANGES:]}

    def timely(self, since_ms: int, seen_ms: int) -> list[AnnouncedChange]:
        """The changes that took effect when the incident may have begun, or while nobody saw it."""
        from_ms = since_ms - BEFORE_MS - max(0, seen_ms - since_ms) // 2
        return [change for change in self._known.values() if from_ms <= change.at_ms <= seen_ms]

    def fitting(self, place: Place, since_ms: int, seen_ms: int) -> tuple[AnnouncedChange, ...]:
        """The changes that fit an incident, best first."""
        found = [
            (_RANK[fit], abs(change.at_ms - since_ms), change.id, change)
            for change in self.timely(since_ms, seen_ms)
            if (fit := place.fit(change.scope)) is not None
        ]
        return tuple(change for *_, change in sorted(found, key=lambda item: item[:3])[:MAX_FITTING])


def _fit(there: dict[str, str], segment: SegmentKey) -> Fit | None:
    if not there:
        return "holds"
    here = segment.as_dict()
    shared = here.keys() & there.keys()
    if any(here[name] != there[name] for name in shared):
        return None
    return "names" if shared and (shared == here.keys() or shared == there.keys()) else "crosses"


def suspect(kind: IncidentType, place: Place, fitting: Iterable[AnnouncedChange]) -> AnnouncedChange | None:
    """The announced change that may have brought the incident about."""
    kinds = SUSPECTS[kind]
    ranked = [
        (_RANK[fit], kinds.index(change.kind), at, change)
        for at, change in enumerate(fitting)
        if change.kind in kinds and (fit := place.fit(change.scope)) is not None
    ]
    return min(ranked, key=lambda item: item[:3])[3] if ranked else None


def is_planned(kind: IncidentType, place: Place, change: AnnouncedChange | None) -> bool:
    """Whether the change says that this was to be expected. Scopes that only cross the segment do not."""
    if change is None or change.kind not in PLANNED.get(kind, ()):
        return False
    if kind == "safety" and place.segment != FLEET:
        return False  # a new classifier flags more everywhere; in one place it is the place
    return place.fit(change.scope) in ("names", "holds")


def reference() -> Iterator[str]:
    """The planned changes as Markdown."""
    yield "| type | kinds of change |"
    yield "|---|---|"
    for kind, kinds in PLANNED.items():
        yield f"| `{kind}` | {', '.join(kinds)} |"
