"""An incident as the alert that on-call reads: one sentence, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from detectors.incidents.advice import ADVICE
from detectors.records import (
    Alert,
    AlertChange,
    AlertMember,
    Evidence,
    Incident,
    Member,
    Signal,
    rfc3339,
    stable_id,
)
from detectors.rules.days import is_forecast

MAX_SUMMARY_CHARS: Final = 1000
"""PagerDuty cuts at 1,024."""
MAX_NAMED: Final = 3
MAX_LABEL_CHARS: Final = 80
_FAR_MS: Final = 2 * 86_400_000
"""What began longer ago is told with its date."""
_UNTITLED: Final = ("anomaly", "threshold")


def alert_of(incident: Incident, transition: int, signals: Mapping[str, Signal]) -> Alert:
    """The alert of the incident's present state; ``transition`` counts its alerts from 1."""
    evidence, signal, change = incident.peak.evidence, signals[incident.signal], incident.related_change
    resolved = incident.status == "resolved"
    return Alert(
        alert_id=stable_id(incident.incident_id, transition),
        type="tidewatch.alert.resolved" if resolved else "tidewatch.alert.firing",
        fingerprint=incident.fingerprint,
        incident_id=incident.incident_id,
        severity=incident.severity.label,
        summary=summary_of(incident, signals),
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
        incident_type=incident.incident_type,
        triage_verdict=incident.triage_verdict,
        verdict_for=incident.verdict_for,
        verdict_against=incident.verdict_against,
        members=tuple(_told(member, signals) for member in incident.members),
        advice=ADVICE[incident.incident_type].first,
        movers=evidence.movers,
        moved_share=evidence.moved_share,
        related_change=None
        if change is None
        else AlertChange(change.id, change.kind, change.summary, rfc3339(change.at_ms)),
    )


def _told(member: Member, signals: Mapping[str, Signal]) -> AlertMember:
    signal = signals.get(member.signal)
    return AlertMember(
        segment=member.segment.as_dict(),
        signal=member.signal,
        unit="" if signal is None else signal.unit,
        observed=member.observed,
        expected=member.expected,
        since=rfc3339(member.since_ms),
        label=member.label,
    )


def summary_of(incident: Incident, signals: Mapping[str, Signal]) -> str:
    """What, where, how much, since when, what else moved, and which change is suspected; one sentence.

    ``Refusals surge: refusal_ratio of model=x is 0.31, expected 0.02 (0.01 to 0.04), since 14:03:10 UTC, 412
    observations; also tokens_out_mean 74 tokens (expected 211); suspected: prompt change "v20" at 14:02:50 UTC``
    """
    evidence, signal = incident.peak.evidence, signals[incident.signal]
    where = "the whole fleet" if not incident.segment.dimensions else incident.segment.label
    observed = with_unit(evidence.observed, signal.unit)
    if evidence.family == "rule":
        side = "above" if evidence.upper is not None else "below"
        # The severity of the incident may be that of other evidence.
        what = f"{side} the {evidence.severity.label} bound {with_unit(evidence.threshold, signal.unit)}"
        kind, _, rule = evidence.detector.partition(":")
        what += f" of rule {rule}"
        if kind == "week":
            what += f" ({_plain(evidence.expected, signal.unit)} the week before)"
    else:
        what = f"expected {with_unit(evidence.expected, signal.unit)}"
        if evidence.lower is not None and evidence.upper is not None:
            what += f" ({_plain(evidence.lower, signal.unit)} to {_plain(evidence.upper, signal.unit)})"
    counted = f"{evidence.n} observation{'' if evidence.n == 1 else 's'}"
    dated = incident.detected_at_ms - incident.started_at_ms > _FAR_MS
    since = _time(incident.started_at_ms, dated=dated)
    title = "" if incident.incident_type in _UNTITLED else f"{ADVICE[incident.incident_type].title}: "
    more = _also(incident, signals) + _suspected(incident)
    series = f"{title}{signal.name}{_of_label(evidence.label)} of {where}"
    if is_forecast(evidence):
        begin = "Resolved: " if incident.resolved_at_ms is not None else ""
        return _cut(f"{begin}{series} {heading(evidence, signal.unit)}", MAX_SUMMARY_CHARS)
    if incident.resolved_at_ms is not None:
        until = _time(incident.resolved_at_ms, dated=dated)
        said = f"Resolved: {series} was {observed}, {what}, from {since} to {until} UTC"
    else:
        said = f"{series} is {observed}, {what}, since {since} UTC, {counted}{_of_mix(evidence)}"
    return _cut(said + more, MAX_SUMMARY_CHARS)


def _of_mix(evidence: Evidence) -> str:
    """How much of a mix moved, and which other labels.

    ``; 12 % of the mix moved, also legal 4 % (expected 10 %)``
    """
    if evidence.moved_share is None:
        return ""
    others = ", ".join(
        f"{_cut(m.label)} {with_unit(m.observed, 'share')} (expected {with_unit(m.expected, 'share')})"
        for m in evidence.movers[1:]
    )
    also = f", also {others}" if others else ""
    return f"; {with_unit(evidence.moved_share, 'share')} of the mix moved{also}"


def _also(incident: Incident, signals: Mapping[str, Signal]) -> str:
    """What else moved in the same segment, and how many segments show it."""
    here = [m for m in incident.members if m.segment == incident.segment and m.signal in signals]
    named = [
        f"{m.signal}{_of_label(m.label)} {with_unit(m.observed, signals[m.signal].unit)} "
        f"(expected {_plain(m.expected, signals[m.signal].unit)})"
        for m in here[:MAX_NAMED]
    ]
    return f"; also {', '.join(named)}" if named else ""


def _suspected(incident: Incident) -> str:
    change = incident.related_change
    if change is None:
        return ""
    return f"; suspected: {change.kind} change {_cut(change.summary or change.id)!r} at {_time(change.at_ms)} UTC"


def _cut(text: str, limit: int = MAX_LABEL_CHARS) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _of_label(label: str | None) -> str:
    return "" if label is None else f" ({_cut(label)})"


def _plain(value: float, unit: str) -> str:
    """Without the unit, but for a share."""
    return with_unit(value, unit) if unit == "share" else number(value)


def with_unit(value: float, unit: str) -> str:
    """``0.31`` for ratios and scores, ``31 %`` for the share of a label, else the number and its unit."""
    if unit == "share":
        return "under 0.01 %" if 0.0 < value < 1e-4 else f"{number(100.0 * value)} %"
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


def _time(epoch_ms: int, *, dated: bool = False) -> str:
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).strftime(
        "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"
    )


def heading(evidence: Evidence, unit: str) -> str:
    """What a forecast says (``detectors.rules.days``).

    ``crosses 100 USD in about 3 days (trend 4 USD a day over 9 days, now 88 USD), bound of rule daily-spend``
    """
    kind, _, rule = evidence.detector.partition(":")
    bound, now = with_unit(evidence.threshold, unit), with_unit(evidence.observed, unit)
    if kind == "today":
        total = with_unit(evidence.statistic, unit)
        return f"is heading for {total} by midnight UTC, {now} so far; the bound of rule {rule} is {bound}"
    days = (evidence.threshold - evidence.observed) / evidence.statistic if evidence.statistic else 0.0
    soon = f"in about {number(round(days))} days" if days >= 1.5 else "within about a day"
    per_day = with_unit(evidence.statistic, unit)
    return f"crosses {bound} {soon} (trend {per_day} a day over {evidence.n} days, now {now}), bound of rule {rule}"
