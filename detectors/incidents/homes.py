"""Which open incident a change belongs to, if any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from detectors.incidents.docket import Docket
from detectors.incidents.effects import VOLUME
from detectors.incidents.findings import RELEASED, Finding, near
from detectors.incidents.firing import Open, SeriesKey
from detectors.incidents.grouping import (
    agrees,
    began_within,
    better_owner,
    carries,
    cause_of,
    explains,
    shows,
)
from detectors.incidents.judging import FLAT_NATS, MOVED_NATS, View, seen_now
from detectors.incidents.places import within
from detectors.incidents.shares import displaces
from detectors.records import FLEET, Evidence, SegmentKey


def of_an_incident(docket: Docket, view: View, finding: Finding, but: Open | None = None) -> bool:
    """Whether a change only shows what an open incident has at its own segment; ``but``: not this one."""
    for entry in docket.open.values():
        series = entry.series.get(SeriesKey(entry.incident.segment, finding.signal))
        if entry is but or series is None or series.segment == finding.segment:
            continue
        signal = view.signals[finding.signal]
        if began_within(series.finding, finding) and explains(series.finding, finding, signal, view.effects):
            return True
    return False


class Homes:
    """Looks for incidents in the order in which they were opened."""

    def __init__(self, docket: Docket, view: View) -> None:
        self._docket = docket
        self._view = view
        self._known: dict[str, tuple[int, SegmentKey, dict[str, Finding]]] = {}

    def of(self, finding: Finding) -> Open | None:
        """The open incident that a finding belongs to."""
        return self.of_the_signal(finding) or self._agreeing(finding)

    def of_incident(self, entry: Open) -> Open | None:
        """Another open incident that one belongs to after all: each was the first to be seen of the same cause."""
        head = entry.own.get(entry.incident.signal)
        if head is None:
            return None
        head = seen_now(head, self._view)
        for other in self._docket.open.values():
            same_place = other is not entry and other.incident.segment == entry.incident.segment
            if same_place and any(near(head, found) for found in self._own(other).values()):
                return other
        return self.of_the_signal(head, but=entry)

    def of_the_signal(self, finding: Finding, but: Open | None = None) -> Open | None:
        """The open incident whose change in the same signal this is a part of, or whose cause it shows better.

        Mixes and the volumes that displace them count as one signal. ``but``: not this one.
        """
        signals, effects = self._view.signals, self._view.effects
        signal = signals[finding.signal]
        others = [entry for entry in self._docket.open.values() if entry is not but]
        for entry in others:
            own = self._own(entry)
            if shows(own, finding, signal, effects):
                return entry
            head = own.get(entry.incident.signal)
            if finding.signal == VOLUME and head is not None and signals[head.signal].kind == "mix":
                if displaces(finding, head, effects):
                    return entry
                continue
            known = own.get(finding.signal)
            if carries(finding, known, signal, effects):
                return entry
            if known is not None and not entry.moved and better_owner(known, finding, signal, effects):
                return entry
        return self._of_a_member(finding, others)

    def _of_a_member(self, finding: Finding, entries: Iterable[Open]) -> Open | None:
        """The open incident with which a segment moved that explains this change: a wider one, or one as clear.

        The whole fleet is no such segment: it shows every cause a little.
        """
        signal, effects = self._view.signals[finding.signal], self._view.effects
        for entry in entries:
            for series in entry.series.values() if entry.has_room else ():
                if series.signal != finding.signal or series.segment == FLEET or not series.frozen:
                    continue
                known = series.finding
                wider = len(series.segment.dimensions) < len(finding.segment.dimensions)
                crossing = (
                    not within(series.segment, finding.segment) and known.effect.nats >= finding.effect.nats
                )
                if not (wider or crossing) or not began_within(known, finding):
                    continue
                if explains(known, finding, signal, effects):
                    return entry
        return None

    def _agreeing(self, finding: Finding) -> Open | None:
        """The open incident at the segment that the finding belongs to, too."""
        entries = [(e, own) for e in self._docket.open.values() if (own := self._own(e))]
        if not entries:
            return None
        view = self._view
        owner = cause_of(finding, view.segments, view.signals, view.effects, self._docket.series)
        return next(
            (
                e
                for e, own in entries
                if agrees(e.incident.segment, own, owner, view.signals, view.effects)
                or self._released(e, owner)
            ),
            None,
        )

    def _released(self, entry: Open, found: Finding) -> bool:
        """Whether an incident is a release, or another judge, that a segment got when its change began."""
        key = SeriesKey(found.segment, entry.incident.signal)
        series = entry.series.get(key) if key.signal in RELEASED else None
        return series is not None and near(series.finding, found)

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
        signals, effects = self._view.signals, self._view.effects
        for name, known in entry.own.items():
            for found in self._apart(name, entry):
                if explains(known, found, signals[name], effects):
                    yield SeriesKey(found.segment, name)
        volume = entry.own.get(VOLUME)
        for name in (signal.name for signal in signals.values() if signal.kind == "mix"):
            if volume is None or name in entry.own:
                continue
            for found in self._apart(name, entry):
                if displaces(volume, found, effects):
                    yield SeriesKey(found.segment, name)

    def _apart(self, name: str, entry: Open) -> Iterator[Finding]:
        """Changes of a signal that are no part of any incident."""
        view = self._view
        for segment in view.segments:
            key = SeriesKey(segment, name)
            effect = view.effects.effect(segment, name)
            if effect is None or effect.nats < FLAT_NATS or key in self._docket.series or key in entry.series:
                continue
            yield Finding(segment, name, effect, view.now_ms)

    def _own(self, entry: Open) -> dict[str, Finding]:
        """The findings at an incident's segment, if more may join it."""
        incident = entry.incident
        known = self._known.get(incident.fingerprint)
        if known is None or known[:2] != (len(entry.series), incident.segment):
            own = entry.own if entry.has_room else {}
            known = self._known[incident.fingerprint] = (len(entry.series), incident.segment, own)
        return known[2]
