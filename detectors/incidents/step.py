"""One window on its way through TRIAGE: which incidents its evidence ends, opens or belongs to.

What is then done to them see ``clerk``; the rules are in ``triage``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from detectors.incidents.clerk import Clerk, TriageStep
from detectors.incidents.docket import Docket
from detectors.incidents.effects import Effects, Without
from detectors.incidents.findings import Finding, in_order
from detectors.incidents.firing import Open, RuleKey, SeriesKey, evidence_at, key_of, series_of
from detectors.incidents.grouping import Group, group
from detectors.incidents.homes import Homes
from detectors.incidents.judging import View, conclude
from detectors.records import FLEET, AnnouncedChange, Evidence, SegmentKey, Severity, Signal
from detectors.rules.days import is_forecast
from detectors.sketches.window import WindowBlock

_REVIEW_MS: Final = 60_000
_SYMPTOMS_MS: Final = 3_600_000
_REVIEWED: Final = 100
"""Open incidents that are looked at again every minute; the oldest."""


class Step:
    """One window on its way through ``Triage``, whose parts it changes."""

    def __init__(
        self, docket: Docket, block: WindowBlock, signals: Mapping[str, Signal], effects: Effects
    ) -> None:
        self._docket = docket
        self._params = docket.params
        self._now_ms = block.window_end_ms
        self._returned: set[tuple[SegmentKey, str]] = set()
        effects = Without(effects, self._returned)
        self._budget = docket.budget(Severity.WARNING, signals)
        self._view = View(self._now_ms, block.segments, signals, effects, docket.changes)
        self._homes = Homes(docket, self._view)
        self._clerk = Clerk(docket, block, self._view)

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
                self._clerk.touch(entry)
        self._merge()
        self._clerk.judge_touched()
        self._expire()
        return self._clerk.told

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
                self._clerk.order("thaw", key)
            entry = docket.series.pop(key, None)
            if entry is not None:
                self._clerk.order("thaw", key)
                if (series := entry.series.get(key)) is not None:
                    series.frozen = False
        if entry is not None and not entry.holding:
            self._clerk.resolve(entry, "thaw")

    def _expire(self) -> None:
        for entry in list(self._docket.open.values()):
            held_ms = self._now_ms - max(entry.incident.detected_at_ms, entry.grown_at_ms)
            limit_secs = self._params.planned_secs if entry.planned else self._params.max_firing_secs
            if not entry.rules and held_ms >= limit_secs * 1000:
                self._clerk.resolve(entry, "relearn", self._homes.showing(entry))
        for key in self._docket.lingering.expire(self._now_ms):
            self._clerk.order("relearn", key)

    # What is firing

    def _merge(self) -> None:
        """Several segments can be the first to show one cause; what was not told yet needs no alert of its own."""
        for entry in list(self._clerk.touched):
            if entry.alerted < 0 and not entry.rules:
                home = self._homes.of_incident(entry)
                if home is not None and home.has_room:
                    self._clerk.merge(entry, home)

    def _take_statistical(self, evidence: list[Evidence]) -> None:
        docket, view = self._docket, self._view
        new: dict[SeriesKey, list[Evidence]] = {}
        for found in evidence:
            key = SeriesKey(found.segment, found.signal)
            if (entry := docket.series.get(key)) is not None:
                self._clerk.add(entry, found)
            elif (fingerprint := docket.lingering.fingerprint_of(key)) is not None:
                self._clerk.record(fingerprint, found)
            else:
                new.setdefault(key, []).append(found)
        findings = in_order(self._clerk.finding(found) for found in new.values())
        findings = [f for f in findings if not docket.lingering.is_return(f)]
        findings = self._join_open(findings, new)
        # What is too weak to open an incident can still say where one is, or belong to what has just been opened.
        left: list[Finding] = []
        for cause in group(findings, view.segments, view.signals, view.effects, docket.series):
            members = {key_of(member): new[key_of(member)] for member in cause.members}
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
                    self._clerk.join(entry, finding, given[key_of(finding)])
                    self._clerk.move(entry)
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
                peak = self._clerk.record(fingerprint, found)
                if not self._docket.has_room():
                    return
                entry = self._clerk.open(fingerprint, peak)
                if finding is not None:
                    entry.series[key_of(finding)] = series_of(finding, found.severity, frozen=False)
                entry.rules.append(rule)
                entry.worst = entry.ruled = found.severity
                docket.rules[rule] = entry
                return
            if finding is not None and entry.has_room:
                entry.series.setdefault(key_of(finding), series_of(finding, found.severity, frozen=False))
            entry.rules.append(rule)
            docket.rules[rule] = entry
        self._clerk.add(entry, found)

    def _affordable(self, found: Evidence) -> bool:
        """Whether the budget has room: every measure may spend an equal part of it on its own chance findings."""
        return found.false_per_week is None or found.false_per_week <= self._budget

    def _raise(self, cause: Group, members: Mapping[SeriesKey, list[Evidence]]) -> None:
        """Open an incident for one cause."""
        given = [found for evidence in members.values() for found in evidence]
        headline = self._headline(cause, max(found.severity for found in given))
        clearest = cause.members[0].segment
        holder = self._docket.series.get(key_of(headline)) or self._lately_at(cause.owner)
        if holder is None and clearest != FLEET:  # a part that shows the same has not the incident for that
            holder = self._lately_at(clearest)
        if holder is not None:  # what shows it best has an incident already: it is that one
            for member in cause.members:
                self._clerk.join(holder, member, members[key_of(member)])
            return
        evidence = members.get(key_of(headline))
        first = evidence[0] if evidence else evidence_at(headline, given[0])
        fingerprint = self._docket.fingerprint_of(first)
        entry = self._docket.open.get(fingerprint)
        if entry is None:
            if not self._docket.has_room():
                for found in given:
                    self._clerk.record(self._docket.fingerprint_of(found), found)
                return
            entry = self._clerk.open(fingerprint, self._clerk.anomaly(fingerprint, first))
            if not evidence:
                self._clerk.told.anomalies.append(entry.incident.peak)
                self._clerk.freeze(entry, headline, first.severity)
        for member in cause.members:
            self._clerk.join(entry, member, members[key_of(member)])

    def _lately_at(self, segment: SegmentKey) -> Open | None:
        """The incident that was opened there within the hour: symptoms come one after the other."""
        for entry in self._docket.open.values():
            lately = self._now_ms - entry.incident.detected_at_ms <= _SYMPTOMS_MS
            if lately and entry.incident.segment == segment and entry.has_room and not entry.rules:
                return entry
        return None

    def _headline(self, cause: Group, worst: Severity) -> Finding:
        """The finding at the owner that shows the type of the incident best."""
        said = conclude(cause.owner, cause.own, worst, self._view, rule=False)
        clearest = max(cause.own.values(), key=lambda f: (f.effect.nats, f.signal))
        if said.signal is None or said.signal in cause.own:
            return cause.own.get(said.signal or "", clearest)
        effect = self._view.effects.effect(cause.owner, said.signal)
        return clearest if effect is None else Finding(cause.owner, said.signal, effect, self._now_ms)
