"""An incident that is open: its record, the series that belong to it, and what was said about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from detectors.incidents.classification import JUDGED
from detectors.incidents.effects import VOLUME, Effect
from detectors.incidents.findings import NEAR_MS, Finding
from detectors.incidents.grouping import better_owner
from detectors.incidents.judging import Conclusion, View, by_now, seen_now
from detectors.incidents.places import relative_size
from detectors.incidents.shares import displaces
from detectors.records import Evidence, Incident, Member, SegmentKey, Severity

MAX_SERIES: Final = 1000
"""Series of one incident; more are recorded as anomalies only."""
GROWN: Final = 1.2
"""A change that is larger by this factor has not settled yet."""
YOUNG_MS: Final = 3 * 86_400_000
"""Of a change that is older than this a smaller factor will do, in inverse proportion to its age."""
MOST: Final = 0.5
"""Share of the evidence that must say so for an incident to move; of traffic, for others to have taken it."""
MAX_MEMBERS: Final = 20
"""Members that the record and the alert name."""


class SeriesKey(NamedTuple):
    segment: SegmentKey
    signal: str


class RuleKey(NamedTuple):
    """A rule on a segment."""

    rule: str
    segment: SegmentKey


class Series(msgspec.Struct):
    """One series of an incident."""

    segment: SegmentKey
    signal: str
    nats: float
    since_ms: int
    seen_ms: int
    n: float
    observed: float
    expected: float
    severity: Severity
    label: str | None = None
    frozen: bool = True
    """Whether DETECT waits for its level to come back; false once it has, and for what only a rule has seen."""

    @property
    def key(self) -> SeriesKey:
        return SeriesKey(self.segment, self.signal)

    @property
    def finding(self) -> Finding:
        shift = self.observed - self.expected
        effect = Effect(self.nats, self.since_ms, self.n, self.observed, self.expected, shift, self.label)
        return Finding(self.segment, self.signal, effect, self.seen_ms)

    def take(self, found: Finding, severity: Severity) -> None:
        """Clearer evidence of the same series."""
        self.severity = max(self.severity, severity)
        if found.effect.nats >= self.nats:
            effect = found.effect
            self.nats, self.n = effect.nats, effect.n
            self.observed, self.expected, self.label = effect.observed, effect.expected, effect.label


class Open(msgspec.Struct):
    """A firing incident."""

    incident: Incident
    alerted: int = -1
    """The severity of the last alert, -1 before any."""
    alerted_type: str = ""
    """The type that it told."""
    corrected: bool = False
    """Whether another type was told since the first."""
    transitions: int = 0
    series: dict[SeriesKey, Series] = {}
    rules: list[RuleKey] = []
    """Rules whose condition holds."""
    worst: Severity = Severity.INFO
    """Of its evidence."""
    ruled: Severity = Severity.INFO
    """Of its rules: what their author says."""
    false_per_week: float = 0.0
    """Of its rarest evidence, by chance; 0 where that is not calibrated."""
    moved: bool = False
    """Whether it was given to another segment than at first, for the same signal."""
    planned: bool = False
    """Whether an announced change says that it was to be expected."""
    largest: dict[str, float] = {}
    """Signal -> size of its change at the incident's segment when it last counted as grown."""
    grown_at_ms: int = 0
    """When a change last was larger than before: what still grows is no new normal."""

    taken_over: float = 0.0
    """Share of traffic that others have taken over, as of the last look."""
    taken_over_since_ms: int = 0
    """Since when that is most of it; 0 for not now."""

    @property
    def own(self) -> dict[str, Finding]:
        """The findings at the incident's segment, by signal."""
        return {s.signal: s.finding for s in self.series.values() if s.segment == self.incident.segment}

    @property
    def shown(self) -> dict[str, Finding]:
        """What tells the type: ``own``; of another judge also the scores that any of its segments showed first."""
        shown = self.own
        if self.incident.signal == "evaluator_version_mix":
            for series in sorted(self.series.values(), key=lambda s: (-s.nats, s.segment)):
                if series.signal in JUDGED:
                    shown.setdefault(series.signal, series.finding)
        return shown

    @property
    def holding(self) -> bool:
        """Whether something still keeps it open: a rule, or a series at its segment that is worth a warning."""
        incident = self.incident
        return bool(self.rules) or any(
            s.frozen
            and s.segment == incident.segment
            and (s.signal == incident.signal or s.severity >= Severity.WARNING)
            for s in self.series.values()
        )

    @property
    def has_room(self) -> bool:
        """Whether one more series may belong to it."""
        return len(self.series) < MAX_SERIES

    def take(self, said: Conclusion, *, affordable: bool) -> None:
        """Put down what the incident is taken for; ``affordable``: the budget has room for it to page."""
        incident = self.incident
        incident.incident_type = said.type
        incident.triage_verdict = said.judgement.origin
        incident.verdict_for = said.judgement.speaks_for
        incident.verdict_against = said.judgement.speaks_against
        incident.related_change = said.change
        incident.members = self.members()
        self.planned = said.planned
        severity = said.severity if affordable else min(said.severity, Severity.WARNING)
        if (
            self.ruled > severity and said.type != "eval_baseline"
        ):  # a rule cannot tell who moved, answer or judge
            severity = self.ruled
        incident.severity = severity if said.planned else max(severity, incident.severity)

    def remember_takeover(self, share: float, now_ms: int) -> None:
        """Put down how much of the traffic others have."""
        self.taken_over = share
        self.taken_over_since_ms = (self.taken_over_since_ms or now_ms) if share >= MOST else 0

    def settled_takeover(self, now_ms: int) -> float:
        """How much of the traffic others have, once that held for a while; else 0.

        When the traffic returns, what moved with it returns later, and is still nobody's fault.
        """
        settled = self.taken_over_since_ms > 0 and now_ms - self.taken_over_since_ms >= NEAR_MS
        return self.taken_over if settled else 0.0

    def grow(self, view: View) -> None:
        """Look whether a change of the incident's segment has become larger.

        What grows steadily grows by ever less of what it is: after a week a day adds a sixth.
        """
        for name, found in self.own.items():
            effect = by_now(found.segment, name, seen_now(found, view).effect, view)
            size = abs(relative_size(view.signals[name], effect))
            age_ms = max(1, view.now_ms - effect.since_ms)
            least = 1.0 + (GROWN - 1.0) * min(1.0, YOUNG_MS / age_ms)
            if size > least * self.largest.get(name, 0.0):
                self.largest[name] = size
                self.grown_at_ms = view.now_ms

    def members(self) -> tuple[Member, ...]:
        """The other series: of the incident's segment first, then the clearest."""
        incident = self.incident
        others = [s for s in self.series.values() if s.key != (incident.segment, incident.signal)]
        others.sort(key=lambda s: (s.segment != incident.segment, -s.nats, s.segment, s.signal))
        return tuple(
            Member(s.segment, s.signal, s.observed, s.expected, s.since_ms, s.label)
            for s in others[:MAX_MEMBERS]
        )


def key_of(finding: Finding) -> SeriesKey:
    return SeriesKey(finding.segment, finding.signal)


def stronger(new: Evidence, peak: Evidence) -> bool:
    """Worse severity, or as severe and farther from what was expected (for rules: beyond the bound)."""
    if new.severity != peak.severity:
        return new.severity > peak.severity
    return _distance(new) > _distance(peak)


def _distance(evidence: Evidence) -> float:
    distance = evidence.observed - evidence.expected
    if evidence.family == "rule":
        return distance if evidence.upper is not None else -distance
    return abs(distance)


def series_of(found: Finding, severity: Severity, *, frozen: bool) -> Series:
    effect = found.effect
    return Series(
        found.segment, found.signal, effect.nats, effect.since_ms, found.seen_ms, effect.n, effect.observed,
        effect.expected, severity, effect.label, frozen,
    )  # fmt: skip


def finding_of(found: Evidence, effect: Effect | None) -> Finding:
    """Statistical evidence as a finding; what it says itself where DETECT cannot be asked."""
    if effect is None or (effect.observed > effect.expected) != (found.observed > found.expected):
        shift = found.observed - found.expected
        effect = Effect(
            found.statistic, found.started_at_ms, found.n, found.observed, found.expected, shift, found.label
        )
    return Finding(found.segment, found.signal, effect, found.window_end_ms)


def evidence_at(owner: Finding, like: Evidence) -> Evidence:
    """Evidence for the owner of a change that was seen in another segment, or in another signal."""
    effect = owner.effect
    return msgspec.structs.replace(
        like,
        segment=owner.segment,
        signal=owner.signal,
        statistic=effect.nats,
        observed=effect.observed,
        expected=effect.expected,
        lower=None,
        upper=None,
        n=round(effect.n),
        started_at_ms=effect.since_ms,
        label=effect.label,
        movers=(),
        moved_share=None,
    )


def better_place(entry: Open, view: View) -> SeriesKey | None:
    """The series to which the cause rather belongs: a volume that displaced the incident's mix, or the same signal.

    Among the segments of one signal an incident moves at most once.
    """
    incident = entry.incident
    known = entry.own.get(incident.signal)
    if known is None:
        return None
    signal, known = view.signals[incident.signal], seen_now(known, view)
    if signal.kind == "mix":
        volumes = [s for s in entry.series.values() if s.signal == VOLUME]
        behind = [s for s in volumes if displaces(s.finding, known, view.effects)]
        if behind:
            return min(behind, key=lambda s: (-s.nats, len(s.segment.dimensions), s.segment)).key
    if entry.moved:
        return None
    own = {name: seen_now(found, view) for name, found in entry.own.items()}
    better = [
        found
        for series in entry.series.values()
        if series.signal == incident.signal
        and better_owner(known, found := seen_now(series.finding, view), signal, view.effects)
        and _agreed(own, series.segment, view)
    ]
    best = min(better, key=lambda f: (-f.effect.nats, f.segment), default=None)
    return None if best is None else SeriesKey(best.segment, best.signal)


def _agreed(own: Mapping[str, Finding], segment: SegmentKey, view: View) -> bool:
    """Whether most of the evidence of an incident says that its cause is rather at another segment."""
    there = 0.0
    for name, found in own.items():
        effect = view.effects.effect(segment, name)
        other = None if effect is None else Finding(segment, name, effect, found.seen_ms)
        if other is not None and better_owner(found, other, view.signals[name], view.effects):
            there += found.effect.nats
    return there >= MOST * sum(found.effect.nats for found in own.values())
