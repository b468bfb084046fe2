"""What one decision says to the outside, as the scoring takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from detectors.records import Alert, Incident
from streams.backtest.overlap import Segment
from streams.backtest.scoring import Notice
from streams.decide import Decision

Naming = Callable[[Segment], dict[str, str]]


def notices_of(decision: Decision, naming: Naming) -> Iterator[Notice]:
    """The alerts of a window, then what changed about incidents that nobody was told of."""
    at_ms = decision.window.window_end_ms
    incidents = {incident.incident_id: incident for incident in decision.triage.incidents}
    told = set()
    for alert in decision.triage.alerts:
        told.add(alert.incident_id)
        yield _from_alert(alert, at_ms, incidents.get(alert.incident_id), naming)
    for incident in decision.triage.incidents:
        if incident.incident_id not in told:
            yield _from_incident(incident, at_ms, naming)


def _from_alert(alert: Alert, at_ms: int, incident: Incident | None, naming: Naming) -> Notice:
    return Notice(
        at_ms=at_ms,
        incident_id=alert.incident_id,
        firing=alert.type.endswith(".firing"),
        told=True,
        severity=alert.severity,
        type=alert.incident_type,
        origin=alert.triage_verdict,
        segment=naming(alert.segment),
        signal=alert.signal,
        detector=alert.detector,
        started_at_ms=at_ms if incident is None else incident.started_at_ms,
    )


def _from_incident(incident: Incident, at_ms: int, naming: Naming) -> Notice:
    return Notice(
        at_ms=at_ms,
        incident_id=incident.incident_id,
        firing=incident.status == "firing",
        told=False,
        severity=incident.severity.label,
        type=incident.incident_type,
        origin=incident.triage_verdict,
        segment=naming(incident.segment.as_dict()),
        signal=incident.signal,
        detector=incident.peak.evidence.detector,
        started_at_ms=incident.started_at_ms,
    )
