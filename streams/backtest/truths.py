"""What was simulated, as labels: of a plan, or of the file that `tidewatch simulate --truth` wrote."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from streams.backtest.overlap import in_reference
from streams.backtest.scoring import Label
from streams.events import epoch_ms
from streams.simulate.scenarios import Truth

VERSION: Final = 1
Zoned = Annotated[datetime, Meta(tz=True)]


class _Incident(msgspec.Struct):
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


def labels_of_truth(text: str) -> list[Label]:
    """The labels of a truth file. Raises ValueError for anything else."""
    found = msgspec.json.decode(text, type=_File)
    if found.version != VERSION:
        raise ValueError(f"version: got {found.version}; expected {VERSION}. Another Tidewatch wrote it")
    return [label_of(incident.truth()) for incident in found.incidents]


def label_of(truth: Truth) -> Label:
    """What an incident should be told as; of a benign twin only that it must not page."""
    benign = truth.benign
    return Label(
        id=truth.id,
        start_ms=truth.onset_ms,
        end_ms=truth.end_ms,
        segment=in_reference(truth.segment),
        type="" if benign else truth.alert_type,
        severity="" if benign else truth.severity,
        origin="" if benign else truth.origin,
        counts_from_ms=truth.onset_ms + truth.ramp_ms // 2,
        target_events=None if benign else truth.target_events,
        benign=benign,
        versioned="prompt_version" in truth.fields,
    )
