"""What was simulated, as the file that `tidewatch simulate --truth` writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from detectors.records import rfc3339
from streams.events import epoch_ms
from streams.simulate.catalogue import Span
from streams.simulate.scenarios import Truth

VERSION: Final = 1
Zoned = Annotated[datetime, Meta(tz=True)]


class _Incident(msgspec.Struct):
    """What is read of ``truth_json``."""

    id: str
    scenario: str
    onset: Zoned
    end: Zoned
    ramp_secs: int
    segment: dict[str, str]
    fields: tuple[str, ...]
    alert_type: str
    severity: str
    origin: str
    target_events: int
    benign: bool

    def truth(self) -> Truth:
        return Truth(
            self.id, self.scenario, epoch_ms(self.onset), epoch_ms(self.end), self.segment, self.fields,
            ramp_ms=self.ramp_secs * 1000, alert_type=self.alert_type, severity=self.severity, origin=self.origin,
            target_events=self.target_events, benign=self.benign,
        )  # fmt: skip


class _File(msgspec.Struct):
    version: int
    incidents: list[_Incident]


def truth_json(truth: Truth) -> dict[str, Any]:
    """One incident."""
    return {
        "id": truth.id, "scenario": truth.scenario, "title": truth.title, "strength": truth.strength,
        "seed": truth.seed, "benign": truth.benign, "onset": rfc3339(truth.onset_ms), "end": rfc3339(truth.end_ms),
        "ramp_secs": truth.ramp_ms // 1000, "segment": dict(truth.segment), "fields": list(truth.fields),
        "alert_type": truth.alert_type, "severity": truth.severity, "origin": truth.origin,
        "target_events": truth.target_events,
    }  # fmt: skip


def truth_file(truths: Sequence[Truth], span: Span) -> dict[str, Any]:
    """The whole file."""
    return {
        "version": VERSION, "start": rfc3339(span.start_ms), "end": rfc3339(span.end_ms),
        "rate_per_day": span.rate_per_day, "seed": span.seed,
        "incidents": [truth_json(truth) for truth in truths],
    }  # fmt: skip


def read_truths(text: str) -> list[Truth]:
    """The incidents of such a file. Raises ValueError for anything else."""
    found = msgspec.json.decode(text, type=_File)
    if found.version != VERSION:
        raise ValueError(f"version: got {found.version}; expected {VERSION}. Another Tidewatch wrote it")
    return [incident.truth() for incident in found.incidents]
