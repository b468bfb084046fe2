"""Which open incident a change belongs to, if any."""

from __future__ import annotations

from collections.abc import Iterator

from detectors.incidents.docket import Docket
from detectors.incidents.firing import Open, SeriesKey
from detectors.incidents.grouping import Finding, agrees, better_owner, explains, owner_of, shows
from detectors.incidents.judging import FLAT_NATS, MOVED_NATS, View
from detectors.records import Evidence, SegmentKey


class Homes:
    """Looks for incidents in the order in which they were opened."""

    def __init__(self, docket: Docket, view: View) -> None:
        self._docket = docket
        self._view = view
        self._known: dict[str, tuple[int, SegmentKey, dict[str, Finding]]] = {}

    def of(self, finding: Finding) -> Open | None:
        """The open incident that a finding belongs to."""
        return self.of_the_signal(finding) or self._agreeing(finding)

    def of_the_signal(self, finding: Finding) -> Open | None:
        """The open incident whose change in the same signal this is a part of, or whose cause it shows better."""
        signal, effects = self._view.signals[finding.signal], self._view.effects
        for entry in self._docket.open.values():
            own = self._own(entry)
            if shows(own, finding, signal, effects):
                return entry
            known = own.get(finding.signal)
            if known is not None and not entry.moved and better_owner(known, finding, signal, effects):
                return entry
        return None

    def _agreeing(self, finding: Finding) -> Open | None:
        """The open incident at the segment that the finding belongs to, too."""
        entries = [(e, own) for e in self._docket.open.values() if (own := self._own(e))]
        if not entries:
            return None
        view, signal = self._view, self._view.signals[finding.signal]
        free = [s for s in view.segments if SeriesKey(s, finding.signal) not in self._docket.series]
        owner = owner_of(finding, free, signal, view.effects)
        return next(
            (e for e, own in entries if agrees(e.incident.segment, own, owner, view.signals, view.effects)),
            None,
        )

    def change_behind(self, found: Evidence) -> Finding | None:
        """The change behind a rule's evidence, if there is one; a bound can be exceeded without any."""
        effect = self._view.effects.effect(found.segment, found.signal)
        if effect is None or effect.nats < MOVED_NATS:
            return None
        return Finding(found.segment, found.signal, effect, found.window_end_ms)

    def of_rule(self, found: Evidence, finding: Finding | None) -> Open | None:
        """The open incident that a rule's evidence belongs to."""
        key = SeriesKey(found.segment, found.signal)
        for entry in self._docket.open.values():
            if key in entry.series:
                return entry
        return None if finding is None else self.of(finding)

    def showing(self, entry: Open) -> Iterator[SeriesKey]:
        """Series that never were clear enough to join an incident, and show the same change: its new normal is
        theirs."""
        view, docket = self._view, self._docket
        for name, known in entry.own.items():
            for segment in view.segments:
                key = SeriesKey(segment, name)
                effect = view.effects.effect(segment, name)
                if effect is None or effect.nats < FLAT_NATS or key in docket.series or key in entry.series:
                    continue
                found = Finding(segment, name, effect, view.now_ms)
                if explains(known, found, view.signals[name], view.effects):
                    yield key

    def _own(self, entry: Open) -> dict[str, Finding]:
        """The findings at an incident's segment, if more may join it."""
        incident = entry.incident
        known = self._known.get(incident.fingerprint)
        if known is None or known[:2] != (len(entry.series), incident.segment):
            own = entry.own if entry.has_room else {}
            known = self._known[incident.fingerprint] = (len(entry.series), incident.segment, own)
        return known[2]
