"""An incident as the alert that on-call reads: one sentence, and the numbers behind it."""

from __future__ import annotations

from datetime import UTC, datetime

from detectors.records import Alert, Incident, Signal, rfc3339, stable_id


def alert_of(incident: Incident, transition: int, signal: Signal) -> Alert:
    """The alert of the incident's present state; ``transition`` counts its alerts from 1."""
    evidence = incident.peak.evidence
    resolved = incident.status == "resolved"
    return Alert(
        alert_id=stable_id(incident.incident_id, transition),
        type="tidewatch.alert.resolved" if resolved else "tidewatch.alert.firing",
        fingerprint=incident.fingerprint,
        incident_id=incident.incident_id,
        severity=incident.severity.label,
        summary=summary_of(incident, signal),
        segment=incident.segment.as_dict(),
        signal=incident.signal,
        unit=signal.unit,
        detector=evidence.detector,
        observed=evidence.observed,
        expected=evidence.expected,
        lower=evidence.lower,
        upper=evidence.upper,
        n=evidence.n,
        window_start=rfc3339(evidence.window_start_ms),
        window_end=rfc3339(evidence.window_end_ms),
        started_at=rfc3339(incident.started_at_ms),
        detected_at=rfc3339(incident.detected_at_ms),
        resolved_at=None if incident.resolved_at_ms is None else rfc3339(incident.resolved_at_ms),
        exemplars=incident.peak.exemplars,
    )


def summary_of(incident: Incident, signal: Signal) -> str:
    """``refusal_ratio of model=x is 0.31, expected 0.02 (0.01 to 0.04), since 14:03:10 UTC, 412 observations``."""
    evidence = incident.peak.evidence
    where = "the whole fleet" if not incident.segment.dimensions else incident.segment.label
    observed = with_unit(evidence.observed, signal.unit)
    if evidence.family == "rule":
        side = "above" if evidence.upper is not None else "below"
        what = f"{side} the {incident.severity.label} bound {with_unit(evidence.threshold, signal.unit)}"
        what += f" of rule {evidence.detector.removeprefix('rule:')}"
    else:
        what = f"expected {with_unit(evidence.expected, signal.unit)}"
        if evidence.lower is not None and evidence.upper is not None:
            what += f" ({number(evidence.lower)} to {number(evidence.upper)})"
    counted = f"{evidence.n} observation{'' if evidence.n == 1 else 's'}"
    since = _time(incident.started_at_ms)
    if incident.resolved_at_ms is not None:
        until = _time(incident.resolved_at_ms)
        return f"Resolved: {signal.name} of {where} was {observed}, {what}, from {since} to {until} UTC"
    return f"{signal.name} of {where} is {observed}, {what}, since {since} UTC, {counted}"


def with_unit(value: float, unit: str) -> str:
    """``0.31`` for ratios and scores, else the number and its unit."""
    return number(value) if unit in ("ratio", "score") else f"{number(value)} {unit}"


def number(value: float) -> str:
    """Three significant digits, no exponent where a person would not write one."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size != 0 and size < 1e-4:
        return f"{value:.2e}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{float(f'{value:.3g}'):g}"


def _time(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).strftime("%H:%M:%S")
