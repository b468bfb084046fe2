"""The nouns that cross package borders, in the order of the data.

``WindowSummary`` (what a segment did in one base window) -> ``Evidence`` (what a detector or rule saw) ->
``Anomaly`` (evidence worth recording) -> ``Incident`` (one cause, firing until resolved) -> ``Alert`` (one
transition of an incident, as on-call receives it).

All times are integer epoch milliseconds in event time; the wire form of a time is RFC 3339 (``rfc3339``).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import IntEnum
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["rate", "ratio", "mean", "quantile", "mix"]
Worse = Literal["up", "down", "both", "none"]
TailBegins = Literal["", "p99", "p999", "far"]
"""Which way of a change is bad; ``none``: measured, and usable in rules, but another signal tells it better."""


class Severity(IntEnum):
    """How urgently a person should look; ordered, so ``max`` is the worse one."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def label(self) -> str:
        return self.name.lower()


class Signal(msgspec.Struct, frozen=True):
    """One watched statistic of a segment; the table of all signals is ``streams.signals.SIGNALS``."""

    name: str
    unit: str
    kind: Kind
    worse: Worse
    source: str
    """Which fields of which record it is read from, in words (for the reference)."""
    tail_of: str | None = None
    """The measure whose tail this is the share of; where that begins DETECT learns (``detectors.extremes``)."""
    tail: TailBegins = ""
    """Of a tail: where it begins."""
    measure: str = ""
    """What it is a statistic of, where others are as well; they move together, by chance too."""


class SegmentKey(NamedTuple):
    """A segment: the names of its dimensions and their values, in the order of the segmentation.

    ``SegmentKey((), ())`` is the whole fleet.
    """

    dimensions: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def label(self) -> str:
        """``all`` or ``provider=openai,model=gpt-x``."""
        if not self.dimensions:
            return "all"
        return ",".join(f"{d}={v}" for d, v in zip(self.dimensions, self.values, strict=True))

    def as_dict(self) -> dict[str, str]:
        return dict(zip(self.dimensions, self.values, strict=True))


FLEET = SegmentKey((), ())
OVERFLOW_VALUE = "__other__"


class SignalValue(msgspec.Struct, frozen=True, array_like=True):
    """What one signal was in one window (or pane): ``value`` in the signal's unit over ``n`` observations."""

    value: float
    n: int


class WindowSummary(msgspec.Struct, frozen=True):
    """One segment in one base window: how many interactions, and each signal that had observations."""

    window_start_ms: int
    window_end_ms: int
    segment: SegmentKey
    events: int
    signals: dict[str, SignalValue]
    mixes: dict[str, dict[str, int]]
    """For signals of kind mix: category -> count."""


class Mover(msgspec.Struct, frozen=True):
    """A label of a mix whose share moved."""

    label: str
    observed: float
    """Its share since the onset, in [0, 1]."""
    expected: float


class Evidence(msgspec.Struct, frozen=True):
    """What one detector or rule saw for one (segment, signal) at the close of one window."""

    detector: str
    """Registry name of the detector, or ``rule:<name>``, ``week:``, ``forecast:`` or ``today:``."""
    family: Literal["rule", "drift", "outlier"]
    segment: SegmentKey
    signal: str
    window_start_ms: int
    window_end_ms: int
    severity: Severity
    statistic: float
    """The detector's own statistic and the threshold it exceeded, in the detector's unit."""
    threshold: float
    observed: float
    """The signal's value over the evaluated span, in the signal's unit."""
    expected: float
    """What the baseline (or the rule's bound) says it should be, in the signal's unit."""
    lower: float | None
    upper: float | None
    n: int
    started_at_ms: int
    """Estimated onset."""
    firing: bool = True
    """False when the evidence says that the condition has ended."""
    false_per_week: float | None = None
    """How often a week this signal shows as much over all segments by chance; None where that is not calibrated."""
    label: str | None = None
    """Of a mix: the category whose share moved most."""
    movers: tuple[Mover, ...] = ()
    """Of a mix: the labels whose shares moved most, at most three; that of ``label`` first."""
    moved_share: float | None = None
    """Of a mix: the share of it that has another label than expected (total variation distance), in [0, 1]."""


class Anomaly(msgspec.Struct, frozen=True):
    """Evidence as it is stored: with a deterministic id and the fingerprint of its incident."""

    anomaly_id: str
    fingerprint: str
    evidence: Evidence
    exemplars: tuple[str, ...]
    """Event ids of interactions that show it, worst first."""


IncidentType = Literal[
    "agent_loop",
    "anomaly",
    "cache_degradation",
    "context_drift",
    "context_growth",
    "cost_drift",
    "cost_per_token",
    "cost_spike",
    "data_incident",
    "eval_baseline",
    "eval_divergence",
    "forecast",
    "hallucination_cluster",
    "input_drift",
    "latency",
    "latency_tail",
    "mix_change",
    "model_drift",
    "more_sampling",
    "no_data",
    "prompt_regression",
    "provider_outage",
    "refusal_surge",
    "safety",
    "schema_change",
    "threshold",
    "tool_failure",
]
"""What kind of thing happened. ``threshold``: a rule's bound was passed and nothing more is known; ``anomaly``: a
change that fits no other type; ``more_sampling``: advice only (``detectors.incidents.sampling``)."""
Origin = Literal["model", "external API", "data pipeline", "evaluation baseline", "unknown"]
"""Where the cause lies. ``unknown`` unless something speaks for one of the others."""


class Member(msgspec.Struct, frozen=True):
    """One series that moved with an incident; values in the signal's unit."""

    segment: SegmentKey
    signal: str
    observed: float
    expected: float
    since_ms: int
    label: str | None = None
    """Of a mix: the category whose share this is."""


class AnnouncedChange(msgspec.Struct, frozen=True):
    """Something that was changed on purpose, as announced on ``llm.changes``."""

    id: str
    kind: str
    """deploy, prompt, model, index, price, judge or experiment."""
    summary: str
    at_ms: int
    scope: dict[str, str] = {}
    """Dimension -> value; empty is everything."""


class Incident(msgspec.Struct):
    """One cause, from its first evidence until it is resolved."""

    incident_id: str
    fingerprint: str
    status: Literal["firing", "resolved"]
    severity: Severity
    family: str
    segment: SegmentKey
    signal: str
    started_at_ms: int
    detected_at_ms: int
    """Event time of the close of the window that raised it."""
    last_seen_ms: int
    resolved_at_ms: int | None
    anomalies: int
    peak: Anomaly
    """The strongest anomaly so far; what the alert shows."""
    incident_type: IncidentType = "anomaly"
    triage_verdict: Origin = "unknown"
    verdict_for: tuple[str, ...] = ()
    """What speaks for the verdict, in short sentences."""
    verdict_against: tuple[str, ...] = ()
    """What speaks against it, or would be needed to be sure."""
    members: tuple[Member, ...] = ()
    """What else moved with it, clearest first."""
    related_change: AnnouncedChange | None = None
    """The announced change that fits place, time and kind."""


class AlertMember(msgspec.Struct, frozen=True):
    """One series that moved with the incident of an alert."""

    segment: dict[str, str]
    signal: str
    unit: str
    observed: float
    expected: float
    since: str
    label: str | None = None


class AlertChange(msgspec.Struct, frozen=True):
    """The announced change that is suspected."""

    id: str
    kind: str
    summary: str
    at: str


class Alert(msgspec.Struct, frozen=True):
    """One transition of an incident as on-call receives it (the value of the CloudEvent)."""

    alert_id: str
    type: Literal[
        "tidewatch.alert.firing",
        "tidewatch.alert.resolved",
        "tidewatch.monitoring.firing",
        "tidewatch.monitoring.resolved",
    ]
    """``monitoring``: about Tidewatch itself (``streams.operate.monitoring``)."""
    fingerprint: str
    incident_id: str
    severity: str
    summary: str
    segment: dict[str, str]
    signal: str
    unit: str
    detector: str
    observed: float
    expected: float
    lower: float | None
    upper: float | None
    n: int
    window_start: str
    window_end: str
    started_at: str
    detected_at: str
    resolved_at: str | None
    exemplars: tuple[str, ...]
    incident_type: IncidentType = "threshold"
    triage_verdict: Origin = "unknown"
    verdict_for: tuple[str, ...] = ()
    verdict_against: tuple[str, ...] = ()
    members: tuple[AlertMember, ...] = ()
    related_change: AlertChange | None = None
    advice: str = ""
    """What to do first."""
    movers: tuple[Mover, ...] = ()
    """Of a mix: the labels whose shares moved most."""
    moved_share: float | None = None
    """Of a mix: the share of it that has another label than expected, in [0, 1]."""


def stable_id(*parts: object) -> str:
    """A 128-bit hex id of what something is about: equal parts give equal ids in every process."""
    text = "\x1f".join(str(p) for p in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def rfc3339(epoch_ms: int) -> str:
    """``1790000000123`` -> ``2026-09-21T14:13:20.123Z``."""
    return (
        datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
