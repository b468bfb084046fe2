"""TRIAGE: from evidence to incidents and their alerts.

All statistical detectors that see the same signal of the same segment share one incident; a rule has its own per
segment. The fingerprint says which: it never contains a value. An incident fires once, is upgraded at most to
critical, and resolves once:

* a rule's incident when the rule says that its condition has ended;
* a statistical one when DETECT says that the level is back (thaw), or after ``max_firing_secs``: a level that held
  that long is the new normal (relearn).

Evidence below ``min_alert_severity`` opens an incident too (it is recorded and freezes the baseline), but
nobody is told. Ids are hashes of what they are about, so a repeated step repeats them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec
from pydantic import Field

from detectors.base import Params, State, Verdict
from detectors.incidents.wording import alert_of
from detectors.records import (
    Alert,
    Anomaly,
    Evidence,
    Incident,
    Severity,
    Signal,
    stable_id,
)
from detectors.sketches.window import WindowBlock

SCHEMA: Final = 1
STATISTICAL: Final = "statistical"
_SEVERITIES: Final = {severity.label: severity for severity in Severity}


class TriageParams(Params):
    """How evidence becomes incidents."""

    max_firing_secs: int = Field(
        default=21_600,
        ge=60,
        le=31_536_000,
        description="A statistical incident that held this long is the new normal and resolves.",
    )
    min_alert_severity: Literal["info", "warning", "critical"] = Field(
        default="warning", description="Incidents below it are recorded without an alert."
    )
    warnings_per_week: float = Field(
        default=5.0,
        gt=0,
        le=1e6,
        description="False warnings a week that the whole fleet may raise by chance.",
    )
    criticals_per_week: float = Field(default=1.0, gt=0, le=1e6, description="The same for critical alerts.")
    max_open: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Incidents firing at once; more are only anomalies."
    )


class TriageStep(NamedTuple):
    """What one window changed."""

    anomalies: list[Anomaly]
    incidents: list[Incident]
    """Those that were opened, got worse or were resolved, as they are now."""
    alerts: list[Alert]
    verdicts: list[Verdict]


class _Open(msgspec.Struct):
    """A firing incident and what was said about it."""

    incident: Incident
    alerted: int
    """The severity of the last alert, -1 before any."""
    transitions: int


def fingerprint_of(fleet: str, evidence: Evidence) -> str:
    """What incident the evidence belongs to: the rule, or the signal under statistics, and the segment."""
    kind = evidence.detector if evidence.family == "rule" else f"{STATISTICAL}:{evidence.signal}"
    return stable_id(fleet, kind, evidence.segment.label)


class Triage:
    """The open incidents of one fleet."""

    def __init__(self, params: TriageParams, fleet: str) -> None:
        self.params = params
        self._fleet = fleet
        self._open: dict[str, _Open] = {}
        self.not_raised = 0
        """Anomalies since this process began that became no incident: ``max_open`` are firing."""

    @property
    def firing(self) -> list[Incident]:
        """Open incidents, in the order in which they were opened."""
        return [entry.incident for entry in self._open.values()]

    def step(
        self, evidence: Sequence[Evidence], block: WindowBlock, signals: Mapping[str, Signal]
    ) -> TriageStep:
        """Take in the evidence of one window."""
        step = TriageStep([], [], [], [])
        rows = {segment: row for row, segment in enumerate(block.segments)} if evidence else {}
        for found in evidence:
            fingerprint = fingerprint_of(self._fleet, found)
            entry = self._open.get(fingerprint)
            if not found.firing:
                if entry is not None:
                    self._resolve(entry, found.window_end_ms, step, signals, "thaw")
                continue
            if not self._affordable(found, len(signals)):
                continue
            anomaly = _anomaly(fingerprint, found, block, rows.get(found.segment))
            step.anomalies.append(anomaly)
            if entry is not None:
                self._add(entry, anomaly, step, signals)
            elif len(self._open) < self.params.max_open:
                self._raise(anomaly, step, signals)
            else:
                self.not_raised += 1
        self._expire(block.window_end_ms, step, signals)
        return step

    def _affordable(self, found: Evidence, signals: int) -> bool:
        """Whether the budget has room: every signal may spend an equal part of it on its own chance findings."""
        if found.false_per_week is None:
            return True
        critical = found.severity == Severity.CRITICAL
        budget = self.params.criticals_per_week if critical else self.params.warnings_per_week
        return found.false_per_week <= budget / signals

    def _raise(self, anomaly: Anomaly, step: TriageStep, signals: Mapping[str, Signal]) -> None:
        evidence = anomaly.evidence
        incident = Incident(
            incident_id=stable_id(anomaly.fingerprint, evidence.window_end_ms),
            fingerprint=anomaly.fingerprint,
            status="firing",
            severity=evidence.severity,
            family=evidence.family if evidence.family == "rule" else STATISTICAL,
            segment=evidence.segment,
            signal=evidence.signal,
            started_at_ms=evidence.started_at_ms,
            detected_at_ms=evidence.window_end_ms,
            last_seen_ms=evidence.window_end_ms,
            resolved_at_ms=None,
            anomalies=1,
            peak=anomaly,
            incident_type="threshold" if evidence.family == "rule" else "anomaly",
        )
        entry = self._open[anomaly.fingerprint] = _Open(incident, -1, 0)
        if incident.family == STATISTICAL:
            step.verdicts.append(Verdict("freeze", incident.segment, incident.signal))
        step.incidents.append(_copy(incident))
        self._tell(entry, step, signals)

    def _add(self, entry: _Open, anomaly: Anomaly, step: TriageStep, signals: Mapping[str, Signal]) -> None:
        incident, evidence = entry.incident, anomaly.evidence
        incident.last_seen_ms = evidence.window_end_ms
        incident.anomalies += 1
        if _stronger(evidence, incident.peak.evidence):
            incident.peak = anomaly
        if evidence.severity > incident.severity:
            incident.severity = evidence.severity
            step.incidents.append(_copy(incident))
            self._tell(entry, step, signals)

    def _tell(self, entry: _Open, step: TriageStep, signals: Mapping[str, Signal]) -> None:
        """An alert that the incident fires, unless nobody wants it or was told the same already."""
        severity = entry.incident.severity
        if severity < _SEVERITIES[self.params.min_alert_severity] or severity <= entry.alerted:
            return
        entry.alerted = int(severity)
        entry.transitions += 1
        step.alerts.append(alert_of(entry.incident, entry.transitions, signals))

    def _resolve(
        self,
        entry: _Open,
        now_ms: int,
        step: TriageStep,
        signals: Mapping[str, Signal],
        action: Literal["thaw", "relearn"],
    ) -> None:
        incident = entry.incident
        del self._open[incident.fingerprint]
        incident.status = "resolved"
        incident.resolved_at_ms = now_ms
        if incident.family == STATISTICAL:
            step.verdicts.append(Verdict(action, incident.segment, incident.signal))
        step.incidents.append(_copy(incident))
        if entry.alerted >= 0:
            entry.transitions += 1
            step.alerts.append(alert_of(incident, entry.transitions, signals))

    def _expire(self, now_ms: int, step: TriageStep, signals: Mapping[str, Signal]) -> None:
        limit_ms = self.params.max_firing_secs * 1000
        old = [
            entry
            for entry in self._open.values()
            if entry.incident.family == STATISTICAL and now_ms - entry.incident.detected_at_ms >= limit_ms
        ]
        for entry in old:
            self._resolve(entry, now_ms, step, signals, "relearn")

    def to_state(self) -> State:
        return {
            "schema": SCHEMA,
            "open": [msgspec.msgpack.encode(entry) for entry in self._open.values()],
        }

    def from_state(self, state: State) -> None:
        """Take over stored incidents. Raises ValueError for another schema: incidents must not be lost."""
        if state["schema"] != SCHEMA:
            raise ValueError(f"incidents are stored with schema {state['schema']}, expected {SCHEMA}")
        entries = [_DECODER.decode(data) for data in state["open"]]
        self._open = {entry.incident.fingerprint: entry for entry in entries}


_DECODER: Final = msgspec.msgpack.Decoder(_Open)


def _anomaly(fingerprint: str, evidence: Evidence, block: WindowBlock, row: int | None) -> Anomaly:
    return Anomaly(
        anomaly_id=stable_id(fingerprint, evidence.detector, evidence.window_end_ms),
        fingerprint=fingerprint,
        evidence=evidence,
        exemplars=() if row is None else block.exemplars(row, evidence.signal),
    )


def _stronger(new: Evidence, peak: Evidence) -> bool:
    """Worse severity, or as severe and farther from what was expected (for rules: beyond the bound)."""
    if new.severity != peak.severity:
        return new.severity > peak.severity
    return _distance(new) > _distance(peak)


def _distance(evidence: Evidence) -> float:
    distance = evidence.observed - evidence.expected
    if evidence.family == "rule":
        return distance if evidence.upper is not None else -distance
    return abs(distance)


def _copy(incident: Incident) -> Incident:
    """The incident as it is now; the open one goes on changing."""
    return msgspec.structs.replace(incident)
