"""What is done to incidents in one window, and what is told of it: the clerk who keeps the docket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Literal, NamedTuple

import msgspec

from detectors.base import Verdict
from detectors.incidents.docket import STATISTICAL, Docket
from detectors.incidents.findings import Finding
from detectors.incidents.firing import (
    Open,
    SeriesKey,
    better_place,
    evidence_at,
    finding_of,
    key_of,
    series_of,
    stronger,
)
from detectors.incidents.homes import of_an_incident
from detectors.incidents.judging import View, conclude
from detectors.incidents.wording import alert_of
from detectors.records import Alert, Anomaly, Evidence, Incident, Severity, stable_id
from detectors.rules.days import is_forecast
from detectors.sketches.window import WindowBlock

_NEWS: Final = ("severity", "segment", "incident_type", "triage_verdict", "related_change")
"""What is worth another record of an incident, and so is another member."""


class TriageStep(NamedTuple):
    """What one window changed."""

    anomalies: list[Anomaly]
    incidents: list[Incident]
    """Those that were opened, are seen differently or were resolved, as they are now."""
    alerts: list[Alert]
    verdicts: list[Verdict]


class Clerk:
    """Opens incidents, adds what belongs to them, says what they are, and closes them."""

    def __init__(self, docket: Docket, block: WindowBlock, view: View) -> None:
        self._docket = docket
        self._params = docket.params
        self._block = block
        self._now_ms = block.window_end_ms
        self._view = view
        self.told = TriageStep([], [], [], [])
        """So far."""
        self._rows = {segment: row for row, segment in enumerate(block.segments)}
        self._touched: dict[str, Open] = {}
        self._before: dict[str, Incident] = {}
        self._at_peak: dict[SeriesKey, Anomaly] = {}
        self._elsewhere: set[str] = set()
        """Incidents that went to another segment in this step."""
        self._budget = docket.budget(Severity.CRITICAL, view.signals)

    def order(self, action: Literal["freeze", "thaw", "relearn"], key: SeriesKey) -> None:
        """Have DETECT do something about a series."""
        self.told.verdicts.append(Verdict(action, *key))

    def finding(self, evidence: Sequence[Evidence]) -> Finding:
        """The clearest change that the detectors of one series saw."""
        clearest = max(evidence, key=lambda e: (e.family == "drift", e.statistic, e.detector))
        return finding_of(clearest, self._view.effects.effect(clearest.segment, clearest.signal))

    def open(self, fingerprint: str, peak: Anomaly) -> Open:
        """A new incident, which has nothing yet but its peak."""
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

    def join(self, entry: Open, finding: Finding, evidence: Sequence[Evidence]) -> None:
        """A change belongs to an open incident."""
        severity = max(found.severity for found in evidence)
        if entry.has_room and key_of(finding) not in self._docket.series:
            self.freeze(entry, finding, severity)
        for found in evidence:
            self.add(entry, found)

    def freeze(self, entry: Open, finding: Finding, severity: Severity) -> None:
        """The incident holds a series, until that is back."""
        key = key_of(finding)
        known = entry.series.get(key)
        if known is None:
            entry.series[key] = series_of(finding, severity, frozen=True)
        else:
            known.frozen = True
            known.take(finding, severity)
        self._docket.series[key] = entry
        self.order("freeze", key)

    def add(self, entry: Open, found: Evidence) -> None:
        """One more piece of evidence for an open incident."""
        self.touch(entry)
        incident = entry.incident
        anomaly = self.record(incident.fingerprint, found)
        incident.last_seen_ms = found.window_end_ms
        incident.anomalies += 1
        entry.worst = max(entry.worst, found.severity)
        if found.family == "rule":
            entry.ruled = max(entry.ruled, found.severity)
        entry.false_per_week = min(entry.false_per_week, found.false_per_week or 0.0)
        key = SeriesKey(found.segment, found.signal)
        if found.family != "rule" and (series := entry.series.get(key)) is not None:
            series.take(self.finding([found]), found.severity)
        self._at_peak[key] = anomaly
        same = key == (incident.segment, incident.signal)
        if (
            same
            and (incident.family == "rule") == (found.family == "rule")
            and stronger(found, incident.peak.evidence)
        ):
            incident.peak = anomaly

    def touch(self, entry: Open) -> None:
        """Judge it at the end of the step, and tell what is new."""
        fingerprint = entry.incident.fingerprint
        if fingerprint not in self._touched:
            self._touched[fingerprint] = entry
            self._before[fingerprint] = _copy(entry.incident)

    @property
    def touched(self) -> Iterable[Open]:
        """Incidents that are judged at the end of the step."""
        return self._touched.values()

    def record(self, fingerprint: str, found: Evidence) -> Anomaly:
        """Tell of evidence."""
        anomaly = self.anomaly(fingerprint, found)
        self.told.anomalies.append(anomaly)
        return anomaly

    def anomaly(self, fingerprint: str, found: Evidence) -> Anomaly:
        """Evidence as it is stored, not told yet."""
        row = self._rows.get(found.segment)
        about = (fingerprint, found.detector, found.segment.label, found.signal, found.window_end_ms)
        return Anomaly(
            anomaly_id=stable_id(*about),
            fingerprint=fingerprint,
            evidence=found,
            exemplars=() if row is None else self._block.exemplars(row, found.signal),
        )

    def judge_touched(self) -> None:
        """Say what those incidents are that anything was done to."""
        for entry in self._touched.values():
            self._judge(entry)

    def _judge(self, entry: Open) -> None:
        incident = entry.incident
        self.move(entry)
        said = conclude(
            incident.segment,
            entry.shown,
            entry.worst,
            self._view,
            rule=incident.family == "rule",
            of_another=partial(of_an_incident, self._docket, self._view, but=entry),
            taken_over_before=entry.settled_takeover(self._now_ms),
        )
        if is_forecast(incident.peak.evidence):
            said = said._replace(type="forecast", severity=min(said.severity, Severity.WARNING))
        # Nobody waits for a second item when safety is at stake.
        affordable = entry.false_per_week <= self._budget
        entry.take(said, affordable=affordable or said.type == "safety")
        entry.remember_takeover(said.taken_over, self._now_ms)
        entry.grow(self._view)
        before = self._before.get(incident.fingerprint)
        if (
            before is None
            or any(getattr(before, name) != getattr(incident, name) for name in _NEWS)
            or len(before.members) != len(incident.members)
        ):
            self.told.incidents.append(_copy(incident))
        self._tell(entry)

    def move(self, entry: Open) -> None:
        """Give the incident to the series that explains it better, if there is one."""
        new = better_place(entry, self._view)
        if new is None:
            return
        incident = entry.incident
        entry.moved = new.signal == incident.signal
        if new not in self._at_peak and not entry.moved:
            found = evidence_at(entry.series[new].finding, incident.peak.evidence)
            self._at_peak[new] = self.record(incident.fingerprint, found)
        if incident.segment != new.segment:
            self._elsewhere.add(incident.fingerprint)
        incident.segment, incident.signal = new
        incident.peak = self._at_peak.get(new, incident.peak)

    def _tell(self, entry: Open) -> None:
        """An alert that the incident fires, unless nobody wants it or was told the same already.

        Where and what it is counts as much as how bad it is: who was told of another segment or type looks in the
        wrong place. A type is corrected once, for some incidents lie between two.
        """
        incident = entry.incident
        elsewhere = incident.fingerprint in self._elsewhere
        otherwise = entry.alerted_type not in ("", incident.incident_type) and not entry.corrected
        if incident.severity < self._params.least_alerted:
            return
        if incident.severity > entry.alerted or elsewhere or otherwise:
            entry.corrected |= otherwise
            entry.alerted, entry.alerted_type = int(incident.severity), incident.incident_type
            self._say(entry)

    def _say(self, entry: Open) -> None:
        entry.transitions += 1
        self.told.alerts.append(alert_of(entry.incident, entry.transitions, self._view.signals))

    def merge(self, entry: Open, home: Open) -> None:
        """An incident that nobody was told of turns out to be a part of another, which goes on with its series."""
        docket, incident = self._docket, entry.incident
        self.touch(home)
        for key, series in entry.series.items():
            if docket.series.get(key) is entry:
                docket.series[key] = home
            home.series.setdefault(key, series)
        home.incident.anomalies += incident.anomalies
        home.incident.last_seen_ms = max(home.incident.last_seen_ms, incident.last_seen_ms)
        home.worst = max(home.worst, entry.worst)
        home.false_per_week = min(home.false_per_week, entry.false_per_week)
        self._close(entry)

    def resolve(
        self, entry: Open, action: Literal["thaw", "relearn"], showing: Iterable[SeriesKey] = ()
    ) -> None:
        """The incident is over. ``showing``: series that are no part of it and have its level for their normal."""
        incident, docket = entry.incident, self._docket
        until_ms = self._now_ms + self._params.max_firing_secs * 1000
        for series in entry.series.values():
            if not series.frozen:
                continue
            del docket.series[series.key]
            if action == "relearn":
                self.order("relearn", series.key)
            else:
                docket.lingering.add(series.key, incident.fingerprint, until_ms)
        for key in showing:
            self.order("relearn", key)
        self._close(entry)
        docket.lingering.remember(entry, self._now_ms)
        if entry.alerted >= 0:
            self._say(entry)

    def _close(self, entry: Open) -> None:
        incident = entry.incident
        del self._docket.open[incident.fingerprint]
        self._touched.pop(incident.fingerprint, None)
        incident.status = "resolved"
        incident.resolved_at_ms = self._now_ms
        self.told.incidents.append(_copy(incident))


def _copy(incident: Incident) -> Incident:
    """The incident as it is now; the open one goes on changing."""
    return msgspec.structs.replace(incident)
