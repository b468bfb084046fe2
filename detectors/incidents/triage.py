"""TRIAGE: from evidence to incidents and their alerts, one incident per cause.

What DETECT found in one window is grouped by cause (``grouping``): changes that an open incident explains join it,
the others open new ones, each at the segment that it belongs to. An incident is named and judged from everything
that is known at its segment (``judging``). Its fingerprint says what opened it: the rule, or the signal under
statistics, and the segment; it never contains a value. It fires once, is told again only if it gets worse, and
resolves once:

* when every rule says that its condition has ended, and the level of every series at its segment that is worth a
  warning is back (thaw). Other series of it stay frozen until they are back, too;
* or, if only statistics hold it, after ``max_firing_secs``: a level that held that long is the new normal
  (relearn). What was announced as planned becomes normal after ``planned_secs``.

Chance findings are paid from the fleet's budget; what joins an incident costs nothing. Evidence below
``min_alert_severity`` opens an incident too (it is recorded and freezes the baseline), but nobody is told. Ids are
hashes of what they are about, so a repeated step repeats them, and the order of evidence within a step is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from detectors.base import State
from detectors.incidents import stored
from detectors.incidents.clerk import TriageStep
from detectors.incidents.docket import Docket, TriageParams
from detectors.incidents.effects import NOTHING, Effects
from detectors.incidents.step import Step
from detectors.records import AnnouncedChange, Evidence, Incident, Severity, Signal
from detectors.sketches.window import WindowBlock

__all__ = ["Triage", "TriageParams", "TriageStep"]


class Triage:
    """The open incidents of one fleet."""

    def __init__(self, params: TriageParams, fleet: str) -> None:
        self.params = params
        self._docket = Docket(params, fleet)

    @property
    def firing(self) -> list[Incident]:
        """Open incidents, in the order in which they were opened."""
        return [entry.incident for entry in self._docket.open.values()]

    @property
    def not_raised(self) -> int:
        """Anomalies since this process began that became no incident: ``max_open`` are firing."""
        return self._docket.not_raised

    def budget(self, severity: Severity, signals: Mapping[str, Signal]) -> float:
        """False alarms a week that one of the signals may raise by chance."""
        return self._docket.budget(severity, signals)

    def step(
        self,
        evidence: Sequence[Evidence],
        block: WindowBlock,
        signals: Mapping[str, Signal],
        changes: Iterable[AnnouncedChange] = (),
        effects: Effects = NOTHING,
    ) -> TriageStep:
        """Take in the evidence of one window, and the changes announced in it."""
        return Step(self._docket, block, signals, effects).run(evidence, list(changes))

    def to_state(self) -> State:
        docket = self._docket
        return stored.encode(docket.open.values(), docket.lingering, docket.changes)

    def from_state(self, state: State) -> None:
        """Take over stored incidents. Raises ValueError for a newer form: incidents must not be lost."""
        self._docket.take_over(*stored.decode(state))
