"""Everything that TRIAGE remembers from one window to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from pydantic import Field

from detectors.base import Params
from detectors.incidents.changes import Changes
from detectors.incidents.firing import Open, RuleKey, SeriesKey
from detectors.incidents.lingering import Lingering
from detectors.records import Evidence, Severity, Signal, stable_id

STATISTICAL: Final = "statistical"
_SEVERITIES: Final = {severity.label: severity for severity in Severity}


class TriageParams(Params):
    """How evidence becomes incidents."""

    max_firing_secs: int = Field(
        default=86_400,
        ge=60,
        le=31_536_000,
        description="A statistical incident that held this long without growing is the new normal and resolves.",
    )
    planned_secs: int = Field(
        default=3_600,
        ge=60,
        le=31_536_000,
        description="The same for one that an announced change says was to be expected.",
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

    @property
    def least_alerted(self) -> Severity:
        return _SEVERITIES[self.min_alert_severity]


class Docket:
    """Open incidents and what belongs to them, what is left of resolved ones, and the announced changes."""

    def __init__(self, params: TriageParams, fleet: str) -> None:
        self.params = params
        self.fleet = fleet
        self.open: dict[str, Open] = {}
        """By fingerprint, in the order in which they were opened."""
        self.series: dict[SeriesKey, Open] = {}
        """Series that are frozen for an open incident."""
        self.rules: dict[RuleKey, Open] = {}
        self.lingering = Lingering()
        self.changes = Changes()
        self.not_raised = 0

    def take_over(self, entries: Iterable[Open], lingering: Lingering, changes: Changes) -> None:
        """Go on from what was stored."""
        self.open = {entry.incident.fingerprint: entry for entry in entries}
        self.series = {
            key: entry for entry in self.open.values() for key, s in entry.series.items() if s.frozen
        }
        self.rules = {rule: entry for entry in self.open.values() for rule in entry.rules}
        self.lingering, self.changes = lingering, changes

    def fingerprint_of(self, evidence: Evidence) -> str:
        """What incident the evidence opens: the rule, or the signal under statistics, and the segment."""
        kind = evidence.detector if evidence.family == "rule" else f"{STATISTICAL}:{evidence.signal}"
        return stable_id(self.fleet, kind, evidence.segment.label)

    def has_room(self) -> bool:
        """Whether one more incident may open; counts it if not."""
        if len(self.open) < self.params.max_open:
            return True
        self.not_raised += 1
        return False

    def budget(self, severity: Severity, signals: Mapping[str, Signal]) -> float:
        """False alarms a week that one of the signals may raise by chance.

        The statistics of one measure move together, and an alarm of several is one alarm: measures share it.
        """
        whole = self.params
        per_week = whole.criticals_per_week if severity == Severity.CRITICAL else whole.warnings_per_week
        judged = {signal.measure or signal.name for signal in signals.values() if signal.worse != "none"}
        return per_week / len(judged)
