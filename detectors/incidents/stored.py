"""The stored form of TRIAGE, and how an older one is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from detectors.base import State
from detectors.incidents.changes import Changes
from detectors.incidents.firing import Open, RuleKey, Series
from detectors.incidents.lingering import Lingering
from detectors.records import AnnouncedChange

SCHEMA: Final = 2


class Stored(NamedTuple):
    """The parts of TRIAGE."""

    entries: list[Open]
    lingering: Lingering
    changes: Changes


def encode(entries: Iterable[Open], lingering: Lingering, changes: Changes) -> State:
    return {
        "schema": SCHEMA,
        "open": [msgspec.msgpack.encode(entry) for entry in entries],
        "lingering": lingering.to_state(),
        "changes": [msgspec.msgpack.encode(change) for change in changes.known],
    }


def decode(state: State) -> Stored:
    """Raises ValueError for a form that this program does not know."""
    schema = state["schema"]
    if schema == 1:
        return Stored(
            [_alone(msgspec.msgpack.decode(data)) for data in state["open"]], Lingering(), Changes()
        )
    if schema != SCHEMA:
        raise ValueError(f"incidents are stored with schema {schema}, expected {SCHEMA} or lower")
    entries = [_ENTRY.decode(data) for data in state["open"]]
    changes = Changes(_CHANGE.decode(data) for data in state["changes"])
    return Stored(entries, Lingering.from_state(state["lingering"]), changes)


def _alone(data: dict[str, Any]) -> Open:
    """An incident of form 1: of one rule, or of one signal of one segment."""
    entry = msgspec.convert(data, Open)
    incident, evidence = entry.incident, entry.incident.peak.evidence
    entry.worst, entry.false_per_week = incident.severity, evidence.false_per_week or 0.0
    if incident.family == "rule":
        incident.incident_type = "threshold"
        entry.ruled = incident.severity
        entry.rules = [RuleKey(evidence.detector, incident.segment)]
        return entry
    series = Series(
        incident.segment, incident.signal, evidence.statistic, incident.started_at_ms, incident.last_seen_ms,
        float(evidence.n), evidence.observed, evidence.expected, incident.severity,
    )  # fmt: skip
    entry.series = {series.key: series}
    return entry


_ENTRY: Final = msgspec.msgpack.Decoder(Open)
_CHANGE: Final = msgspec.msgpack.Decoder(AnnouncedChange)
