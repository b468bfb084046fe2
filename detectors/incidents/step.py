"""One window on its way through TRIAGE: what ended, what is firing, what it means (``triage`` has the rules)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from detectors.base import Verdict
from detectors.incidents.docket import STATISTICAL, Docket
from detectors.incidents.effects import Effects, Without
from detectors.incidents.findings import Finding, in_order
from detectors.incidents.firing import (
    Open,
    RuleKey,
    SeriesKey,
    better_place,
    evidence_at,
    finding_of,
    series_of,
    stronger,
)
from detectors.incidents.grouping import Group, group
from detectors.incidents.homes import Homes
from detectors.incidents.judging import View, conclude
from detectors.incidents.wording import alert_of
from detectors.records import (
    Alert,
    AnnouncedChange,
    Anomaly,
    Evidence,
    Incident,
    SegmentKey,
    Severity,
    Signal,
    stable_id,
)
from detectors.rules.days import is_forecast
from detectors.sketches.window import WindowBlock

_NEWS: Final = ("severity", "segment", "incident_type", "triage_verdict", "related_change")
"""What is worth another record of an incident, and so is another member."""
_REVIEW_MS: Final = 60_000
_REVIEWED: Final = 100
"""Open incidents that are looked at again every minute; the oldest."""


class TriageStep(NamedTuple):
    """What one window changed."""

    anomalies: list[Anomaly]
    incidents: list[Incident]
    """Those that were opened, are seen differently or were resolved, as they are now."""
    alerts: list[Alert]
    verdicts: list[Verdict]


class Step:
    """One window on its way through ``Triage``, whose parts it changes."""

    def __init__(
        self, docket: Docket, block: WindowBlock, signals: Mapping[str, Signal], effects: Effects
    ) -> None:
        self._docket = docket
        self._params = docket.params
        self._block = block
        self._now_ms = block.window_end_ms
        self._out = TriageStep([], [], [], [])
        self._rows = {segment: row for row, segment in enumerate(block.segments)}
        self._returned: set[tuple[SegmentKey, str]] = set()
        effects = Without(effects, self._returned)
        self._budget_of_warnings = docket.budget(Severity.WARNING, signals)
        self._budget_of_criticals = docket.budget(Severity.CRITICAL, signals)
        self._view = View(self._now_ms, block.segments, signals, effects, docket.changes)
        self._homes = Homes(docket, self._view)
        self._touched: dict[str, Open] = {}
        self._before: dict[str, Incident] = {}
        self._at_peak: dict[SeriesKey, Anomaly] = {}

    def run(self, evidence: Sequence[Evidence], changes: list[AnnouncedChange]) -> TriageStep:
        docket = self._docket
        docket.changes.add(changes, self._now_ms)
        ordered = sorted(evidence, key=lambda e: (e.segment, e.signal, e.detector, e.window_end_ms))
        for found in ordered:
            if not found.firing:
                self._is_back(found)
        self._take_statistical([e for e in ordered if e.firing and e.family != "rule"])
        for found in ordered:
            if found.firing and found.family == "rule":
                self._take_rule(found)
        if changes or self._now_ms % _REVIEW_MS == 0:
            for entry in list(docket.open.values())[:_REVIEWED]:
                self._touch(entry)
        for entry in self._touched.values():
            self._judge(entry)
        self._expire()
        return self._out

    # What has ended

    def _is_back(self, found: Evidence) -> None:
        docket = self._docket
        if found.family == "rule":
            rule = RuleKey(found.detector, found.segment)
            entry = docket.rules.pop(rule, None)
            if entry is not None:
                entry.rules.remove(rule)
        else:
            key = SeriesKey(found.segment, found.signal)
            self._returned.add(key)
            if docket.lingering.remove(key):
                self._out.verdicts.append(Verdict("thaw", *key))
            entry = docket.series.pop(key, None)
            if entry is not None:
                self._out.verdicts.append(Verdict("thaw", *key))
                if (series := entry.series.get(key)) is not None:
                    series.frozen = False
        if entry is not None and not entry.holding:
            self._resolve(entry, "thaw")

    def _expire(self) -> None:
        for entry in list(self._docket.open.values()):
            held_ms = self._now_ms - max(entry.incident.detected_at_ms, entry.grown_at_ms)
            limit_secs = self._params.planned_secs if entry.planned else self._params.max_firing_secs
            if not entry.rules and held_ms >= limit_secs * 1000:
                self._resolve(entry, "relearn")
        for key in self._docket.lingering.expire(self._now_ms):
            self._out.verdicts.append(Verdict("relearn", *key))

    def _resolve(self, entry: Open, action: Literal["thaw", "relearn"]) -> None:
        incident, docket = entry.incident, self._docket
        del docket.open[incident.fingerprint]
        self._touched.pop(incident.fingerprint, None)
        incident.status = "resolved"
        incident.resolved_at_ms = self._now_ms
        until_ms = self._now_ms + self._params.max_firing_secs * 1000
        for series in entry.series.values():
            if not series.frozen:
                continue
            del docket.series[series.key]
            if action == "relearn":
                self._out.verdicts.append(Verdict("relearn", *series.key))
            else:
                docket.lingering.add(series.key, incident.fingerprint, until_ms)
        if action == "relearn":
            self._out.verdicts.extend(Verdict("relearn", *key) for key in self._homes.showing(entry))
        docket.lingering.remember(entry, self._now_ms)
        self._out.incidents.append(_copy(incident))
        if entry.alerted >= 0:
            self._say(entry)

    # What is firing

    def _take_statistical(self, evidence: list[Evidence]) -> None:
        docket, view = self._docket, self._view
        new: dict[SeriesKey, list[Evidence]] = {}
        for found in evidence:
            key = SeriesKey(found.segment, found.signal)
            if (entry := docket.series.get(key)) is not None:
                self._add(entry, found)
            elif (fingerprint := docket.lingering.fingerprint_of(key)) is not None:
                self._record(fingerprint, found)
            else:
                new.setdefault(key, []).append(found)
        findings = in_order(self._finding(found) for found in new.values())
        findings = [f for f in findings if not docket.lingering.is_return(f)]
        findings = self._join_open(findings, new)
        # What is too weak to open an incident can still say where one is, or belong to what has just been opened.
        left: list[Finding] = []
        for cause in group(findings, view.segments, view.signals, view.effects, docket.series):
            members = {_key(member): new[_key(member)] for member in cause.members}
            if any(self._affordable(found) for given in members.values() for found in given):
                self._raise(cause, members)
            else:
                left += cause.members
        self._join_open(in_order(left), new)

    def _join_open(self, findings: list[Finding], given: Mapping[SeriesKey, list[Evidence]]) -> list[Finding]:
        """Put findings to the open incidents that they belong to; returns the others."""
        # The same signal first: it may move an incident.
        for home in (self._homes.of_the_signal, self._homes.of):
            left = []
            for finding in findings:
                entry = home(finding)
                if entry is None:
                    left.append(finding)
                else:
                    self._join(entry, finding, given[_key(finding)])
                    self._move(entry)
            findings = left
        return findings

    def _take_rule(self, found: Evidence) -> None:
        docket = self._docket
        rule = RuleKey(found.detector, found.segment)
        entry = docket.rules.get(rule)
        if entry is None:
            # What is yet to come is an incident of its own: it must not hold another one open.
            finding = None if is_forecast(found) else self._homes.change_behind(found)
            entry = None if is_forecast(found) else self._homes.of_rule(found, finding)
            if entry is None:
                fingerprint = docket.fingerprint_of(found)
                self._record(fingerprint, found)
                if not self._docket.has_room():
                    return
                entry = self._opened(fingerprint, self._out.anomalies[-1])
                if finding is not None:
                    entry.series[_key(finding)] = series_of(finding, found.severity, frozen=False)
                entry.rules.append(rule)
                entry.worst = entry.ruled = found.severity
                docket.rules[rule] = entry
                return
            entry.rules.append(rule)
            docket.rules[rule] = entry
        self._add(entry, found)

    def _finding(self, evidence: Sequence[Evidence]) -> Finding:
        """The clearest change that the detectors of one series saw."""
        clearest = max(evidence, key=lambda e: (e.family == "drift", e.statistic, e.detector))
        return finding_of(clearest, self._view.effects.effect(clearest.segment, clearest.signal))

    def _affordable(self, found: Evidence) -> bool:
        """Whether the budget has room: every measure may spend an equal part of it on its own chance findings."""
        return found.false_per_week is None or found.false_per_week <= self._budget_of_warnings

    def _raise(self, cause: Group, members: Mapping[SeriesKey, list[Evidence]]) -> None:
        """Open an incident for one cause."""
        given = [found for evidence in members.values() for found in evidence]
        headline = self._headline(cause, max(found.severity for found in given))
        holder = self._docket.series.get(_key(headline))
        if holder is not None:  # what shows it best has an incident already: it is that one
            for member in cause.members:
                self._join(holder, member, members[_key(member)])
            return
        evidence = members.get(_key(headline))
        first = evidence[0] if evidence else evidence_at(headline, given[0])
        fingerprint = self._docket.fingerprint_of(first)
        entry = self._docket.open.get(fingerprint)
        if entry is None:
            if not self._docket.has_room():
                for found in given:
                    self._record(self._docket.fingerprint_of(found), found)
                return
            entry = self._opened(fingerprint, self._anomaly(fingerprint, first))
            if not evidence:
                self._out.anomalies.append(entry.incident.peak)
                self._freeze(entry, headline, first.severity)
        for member in cause.members:
            self._join(entry, member, members[_key(member)])

    def _headline(self, cause: Group, worst: Severity) -> Finding:
        """The finding at the owner that shows the type of the incident best."""
        said = conclude(cause.owner, cause.own, worst, self._view, rule=False)
        clearest = max(cause.own.values(), key=lambda f: (f.effect.nats, f.signal))
        if said.signal is None or said.signal in cause.own:
            return cause.own.get(said.signal or "", clearest)
        effect = self._view.effects.effect(cause.owner, said.signal)
        return clearest if effect is None else Finding(cause.owner, said.signal, effect, self._now_ms)

    def _opened(self, fingerprint: str, peak: Anomaly) -> Open:
        evidence = peak.evidence
        incident = Incident(
            incident_id=stable_id(fingerprint, evidence.window_end_ms),
            fingerprint=fingerprint,
            status="firing",
            severity=Severity.INFO,
            family=evidence.family if evidence.family == "rule" else STATISTICAL,
            segment=evidence.segment,
            signal=evidence.signal,
            started_at_ms=evidence.started_at_ms,
            detected_at_ms=evidence.window_end_ms,
            last_seen_ms=evidence.window_end_ms,
            resolved_at_ms=None,
            anomalies=1 if evidence.family == "rule" else 0,
            peak=peak,
        )
        entry = self._docket.open[fingerprint] = Open(incident, false_per_week=float("inf"))
        if evidence.family == "rule":
            entry.false_per_week = 0.0
        self._touched[fingerprint] = entry
        return entry

    def _join(self, entry: Open, finding: Finding, evidence: Sequence[Evidence]) -> None:
        severity = max(found.severity for found in evidence)
        if entry.has_room and _key(finding) not in self._docket.series:
            self._freeze(entry, finding, severity)
        for found in evidence:
            self._add(entry, found)

    def _freeze(self, entry: Open, finding: Finding, severity: Severity) -> None:
        key = SeriesKey(finding.segment, finding.signal)
        known = entry.series.get(key)
        if known is None:
            entry.series[key] = series_of(finding, severity, frozen=True)
        else:
            known.frozen = True
            known.take(finding, severity)
        self._docket.series[key] = entry
        self._out.verdicts.append(Verdict("freeze", *key))

    def _add(self, entry: Open, found: Evidence) -> None:
        """One more piece of evidence for an open incident."""
        self._touch(entry)
        incident = entry.incident
        anomaly = self._record(incident.fingerprint, found)
        incident.last_seen_ms = found.window_end_ms
        incident.anomalies += 1
        entry.worst = max(entry.worst, found.severity)
        if found.family == "rule":
            entry.ruled = max(entry.ruled, found.severity)
        entry.false_per_week = min(entry.false_per_week, found.false_per_week or 0.0)
        key = SeriesKey(found.segment, found.signal)
        if found.family != "rule" and (series := entry.series.get(key)) is not None:
            series.take(self._finding([found]), found.severity)
        self._at_peak[key] = anomaly
        same = key == (incident.segment, incident.signal)
        if (
            same
            and (incident.family == "rule") == (found.family == "rule")
            and stronger(found, incident.peak.evidence)
        ):
            incident.peak = anomaly

    def _touch(self, entry: Open) -> None:
        fingerprint = entry.incident.fingerprint
        if fingerprint not in self._touched:
            self._touched[fingerprint] = entry
            self._before[fingerprint] = _copy(entry.incident)

    def _record(self, fingerprint: str, found: Evidence) -> Anomaly:
        anomaly = self._anomaly(fingerprint, found)
        self._out.anomalies.append(anomaly)
        return anomaly

    def _anomaly(self, fingerprint: str, found: Evidence) -> Anomaly:
        row = self._rows.get(found.segment)
        about = (fingerprint, found.detector, found.segment.label, found.signal, found.window_end_ms)
        return Anomaly(
            anomaly_id=stable_id(*about),
            fingerprint=fingerprint,
            evidence=found,
            exemplars=() if row is None else self._block.exemplars(row, found.signal),
        )

    # What it means

    def _judge(self, entry: Open) -> None:
        incident = entry.incident
        self._move(entry)
        said = conclude(incident.segment, entry.own, entry.worst, self._view, rule=incident.family == "rule")
        if is_forecast(incident.peak.evidence):
            said = said._replace(type="forecast", severity=min(said.severity, Severity.WARNING))
        # Nobody waits for a second item when safety is at stake.
        affordable = entry.false_per_week <= self._budget_of_criticals
        entry.take(said, affordable=affordable or said.type == "safety")
        entry.grow(self._now_ms, self._view.signals)
        before = self._before.get(incident.fingerprint)
        if (
            before is None
            or any(getattr(before, name) != getattr(incident, name) for name in _NEWS)
            or len(before.members) != len(incident.members)
        ):
            self._out.incidents.append(_copy(incident))
        self._tell(entry)

    def _move(self, entry: Open) -> None:
        """Give the incident to the series that explains it better, if there is one."""
        new = better_place(entry, self._view)
        if new is None:
            return
        incident = entry.incident
        entry.moved = new.signal == incident.signal
        if new not in self._at_peak and not entry.moved:
            found = evidence_at(entry.series[new].finding, incident.peak.evidence)
            self._at_peak[new] = self._record(incident.fingerprint, found)
        incident.segment, incident.signal = new
        incident.peak = self._at_peak.get(new, incident.peak)

    def _tell(self, entry: Open) -> None:
        """An alert that the incident fires, unless nobody wants it or was told the same already."""
        severity = entry.incident.severity
        if severity >= self._params.least_alerted and severity > entry.alerted:
            entry.alerted = int(severity)
            self._say(entry)

    def _say(self, entry: Open) -> None:
        entry.transitions += 1
        self._out.alerts.append(alert_of(entry.incident, entry.transitions, self._view.signals))


def _key(finding: Finding) -> SeriesKey:
    return SeriesKey(finding.segment, finding.signal)


def _copy(incident: Incident) -> Incident:
    """The incident as it is now; the open one goes on changing."""
    return msgspec.structs.replace(incident)
