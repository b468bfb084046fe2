"""RECORD's projection: records of the topics to rows of the tables. Pure: the same records give the same rows.

Interactions are projected column by column, because there are many; everything else row by row. Records that
cannot be read are skipped and counted: bad input is AGGREGATE's to dead-letter, and a foreign record on one of
our own topics must not stop the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import msgspec

from detectors.records import (
    Alert,
    AlertMember,
    Anomaly,
    Evidence,
    Incident,
    Member,
    SegmentKey,
    Severity,
    rfc3339,
)
from sinks import tables
from sinks.base import Batch
from streams.deadletters import decode_dead_letter
from streams.decode import decode_chunk
from streams.events import Change, Interaction, cost_usd, epoch_ms, is_error
from streams.messages import Record, append_times_ms
from streams.partials import NewerRecord
from streams.pseudonyms import Pseudonyms
from streams.redact import redact_text
from streams.topics import (
    ALERTS,
    ANOMALIES,
    CHANGES,
    DEADLETTERS,
    INCIDENTS,
    INTERACTIONS,
    RECORDED,
    SUMMARIES,
)

Row = tuple[Any, ...]
RECORD_VERSION: Final = 1
"""Of our own JSON records: summaries, anomalies, incidents, alerts, dead letters."""

SummaryRow = tuple[dict[str, str], str, float | None, int, float | None, str, dict[str, int] | None]


class SummaryRecord(msgspec.Struct, frozen=True):
    """A record of ``tidewatch.summaries``: some of the rows of one closed base window."""

    window_start_ms: int
    window_end_ms: int
    fleet: str
    rows: list[SummaryRow]


class _Versioned(msgspec.Struct):
    """What every version of our own JSON records can be read as; version 1 does not write its number."""

    schema_version: int = 1


_VERSION: Final = msgspec.json.Decoder(_Versioned)
_SUMMARY: Final = msgspec.json.Decoder(SummaryRecord)
_ANOMALY: Final = msgspec.json.Decoder(Anomaly)
_INCIDENT: Final = msgspec.json.Decoder(Incident)
_ALERT: Final = msgspec.json.Decoder(Alert)
_JSON: Final = msgspec.json.Encoder()

_GET: Final = {name: attrgetter(name) for name in Interaction.__struct_fields__}
_COPIED: Final = (_GET.keys() & set(tables.INTERACTIONS.column_names)) - {
    "status",
    "attributes",
    "index_updated_at",
    "input",
    "output",
    "user_hash",
}
"""Columns that are a field of the interaction as it is."""


class Recorder:
    """Turns records of any recorded topic into batches, at most one per table."""

    def __init__(self, *, fleet: str, pseudonyms: Pseudonyms, store_text: bool = False) -> None:
        self._fleet = fleet
        self._pseudonyms = pseudonyms
        self._store_text = store_text
        self.skipped: Counter[str] = Counter()
        """Records that could not be read, by topic."""
        self._rows: dict[str, tuple[tables.Table, Callable[[Record], Iterable[Row]]]] = {
            SUMMARIES: (tables.WINDOW_SUMMARIES, _summary_rows),
            ANOMALIES: (tables.ANOMALIES, self._anomaly_rows),
            INCIDENTS: (tables.INCIDENTS, self._incident_rows),
            ALERTS: (tables.ALERTS, self._alert_rows),
            DEADLETTERS: (tables.DEAD_LETTERS, _dead_letter_rows),
        }

    def rows(self, records: Sequence[Record], now_ms: int) -> list[Batch]:
        """The rows of these records; ``now_ms`` is the wall clock against which future times are judged."""
        by_topic: dict[str, list[Record]] = {}
        for record in records:
            by_topic.setdefault(record.topic, []).append(record)
        batches = [self._batch(topic, chosen, now_ms) for topic, chosen in by_topic.items()]
        return [batch for batch in batches if batch.rows]

    def _batch(self, topic: str, records: list[Record], now_ms: int) -> Batch:
        if topic == INTERACTIONS:
            return self._interactions(records, now_ms)
        if topic == CHANGES:
            return self._changes(records, now_ms)
        if topic not in self._rows:
            raise ValueError(f"topic {topic!r} is not recorded; expected one of {', '.join(RECORDED)}")
        table, project = self._rows[topic]
        rows: list[Row] = []
        for record in records:
            try:
                _refuse_newer(record)
                rows.extend(project(record))
            except (msgspec.MsgspecError, ValueError):
                self.skipped[topic] += 1
        return Batch.of_rows(table.name, table.column_names, rows)

    def _interactions(self, records: list[Record], now_ms: int) -> Batch:
        chunk = decode_chunk("interaction", records, now_ms, append_times_ms(records))
        self.skipped[INTERACTIONS] += len(chunk.bad)
        events: list[Interaction] = chunk.events
        columns: dict[str, Sequence[Any]] = {name: list(map(_GET[name], events)) for name in _COPIED}
        columns |= self._derived(events)
        sources = [records[index] for index in chunk.indices]
        columns["source_partition"] = [record.partition for record in sources]
        columns["source_offset"] = [record.offset for record in sources]
        table = tables.INTERACTIONS
        return Batch(table.name, table.column_names, tuple(columns[name] for name in table.column_names))

    def _derived(self, events: Sequence[Interaction]) -> dict[str, Sequence[Any]]:
        """The columns that are not a field as it is."""
        nothing = (None,) * len(events)
        texts: dict[str, Sequence[Any]] = {"input": nothing, "output": nothing}
        if self._store_text:
            texts = {name: [text and redact_text(text) for text in map(_GET[name], events)] for name in texts}
        return texts | {
            "user_hash": [
                event.user_hash if event.user_id is None else self._pseudonyms(event.tenant, event.user_id)
                for event in events
            ],
            "cost_usd": [cost_usd(event) for event in events],
            "status": [None if event.status is None else str(event.status) for event in events],
            "is_error": [is_error(event) for event in events],
            "index_updated_at": [
                None if event.index_updated_at is None else epoch_ms(event.index_updated_at)
                for event in events
            ],
            "tools": [[call.name for call in event.tool_calls or ()] for event in events],
            "attributes": [_as_text(event.attributes or {}) for event in events],
        }

    def _changes(self, records: list[Record], now_ms: int) -> Batch:
        chunk = decode_chunk("change", records, now_ms, append_times_ms(records))
        self.skipped[CHANGES] += len(chunk.bad)
        rows = [_change_row(e, records[i]) for e, i in zip(chunk.events, chunk.indices, strict=True)]
        return Batch.of_rows(tables.CHANGES.name, tables.CHANGES.column_names, rows)

    def _anomaly_rows(self, record: Record) -> Iterable[Row]:
        anomaly = _ANOMALY.decode(record.value or b"")
        evidence = anomaly.evidence
        row = {
            "fleet": self._fleet,
            **_fields(evidence),
            "anomaly_id": anomaly.anomaly_id,
            "fingerprint": anomaly.fingerprint,
            "window_start": evidence.window_start_ms,
            "window_end": evidence.window_end_ms,
            "started_at": evidence.started_at_ms,
            **_segment(evidence.segment),
            "severity": evidence.severity.label,
            "exemplars": list(anomaly.exemplars),
            "movers": _movers(evidence),
        }
        yield tuple(row[name] for name in tables.ANOMALIES.column_names)

    def _incident_rows(self, record: Record) -> Iterable[Row]:
        incident = _INCIDENT.decode(record.value or b"")
        peak = incident.peak
        row = {
            "fleet": self._fleet,
            **_fields(incident),
            **_segment(incident.segment),
            "severity": Severity(incident.severity).label,
            "started_at": incident.started_at_ms,
            "detected_at": incident.detected_at_ms,
            "last_seen": incident.last_seen_ms,
            "resolved_at": incident.resolved_at_ms,
            "peak_anomaly_id": peak.anomaly_id,
            "peak_detector": peak.evidence.detector,
            "peak_observed": peak.evidence.observed,
            "peak_expected": peak.evidence.expected,
            **_triaged(incident),
            "version": incident_version(incident),
        }
        yield tuple(row[name] for name in tables.INCIDENTS.column_names)

    def _alert_rows(self, record: Record) -> Iterable[Row]:
        alert = _ALERT.decode(record.value or b"")
        times = ("window_start", "window_end", "started_at", "detected_at", "resolved_at")
        row = {
            "fleet": self._fleet,
            **_fields(alert),
            **{name: _time_ms(getattr(alert, name)) for name in times},
            "segment": SegmentKey(tuple(alert.segment), tuple(alert.segment.values())).label,
            "dimensions": alert.segment,
            "exemplars": list(alert.exemplars),
            "movers": _movers(alert),
            **_triaged(alert),
        }
        yield tuple(row[name] for name in tables.ALERTS.column_names)


def incident_version(incident: Incident) -> int:
    """The order of an incident's states, so that the newest wins whatever order they arrive in.

    Later event time first (epoch ms, 41 bits), then the number of anomalies (capped at 19 bits), then resolved
    over firing.
    """
    at_ms = max(incident.last_seen_ms, incident.resolved_at_ms or 0)
    anomalies = min(incident.anomalies, (1 << 19) - 1)
    return at_ms << 20 | anomalies << 1 | (incident.status == "resolved")


def _refuse_newer(record: Record) -> None:
    """Raises NewerRecord: its rows would not say what the record says."""
    version = _VERSION.decode(record.value or b"").schema_version
    if version > RECORD_VERSION:
        raise NewerRecord(
            f"{record.topic}-{record.partition} at offset {record.offset}: got schema_version {version}; expected "
            f"{RECORD_VERSION} or lower. A newer Tidewatch wrote it: use that version for the record workers, too"
        )


def _summary_rows(record: Record) -> Iterable[Row]:
    summary = _SUMMARY.decode(record.value or b"")
    head = (summary.fleet, summary.window_start_ms, summary.window_end_ms)
    for segment, signal, value, n, expected, status, mix in summary.rows:
        label = ",".join([f"{d}={v}" for d, v in segment.items()]) or "all"
        yield (*head, label, segment, signal, value, n, expected, status, mix)


def _dead_letter_rows(record: Record) -> Iterable[Row]:
    letter = decode_dead_letter(record.value or b"")
    row = {**_fields(letter), "seen_at": record.timestamp}
    yield tuple(row[name] for name in tables.DEAD_LETTERS.column_names)


def _change_row(change: Change, record: Record) -> Row:
    return (
        change.change_id,
        epoch_ms(change.occurred_at),
        change.kind,
        change.scope,
        None if change.summary is None else redact_text(change.summary),
        _as_text(change.attributes or {}),
        record.partition,
        record.offset,
    )


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _triaged(said: Incident | Alert) -> dict[str, Any]:
    """Columns of what TRIAGE found out."""
    change = said.related_change
    return {
        "verdict_for": list(said.verdict_for),
        "verdict_against": list(said.verdict_against),
        "members": _JSON.encode([_member(member) for member in said.members]).decode(),
        "related_change_id": None if change is None else change.id,
    }


def _movers(said: Evidence | Alert) -> str | None:
    return _JSON.encode(said.movers).decode() if said.movers else None


def _member(member: Member | AlertMember) -> dict[str, Any]:
    if isinstance(member, AlertMember):
        return _fields(member)
    return {
        "segment": member.segment.as_dict(), "signal": member.signal, "observed": member.observed,
        "expected": member.expected, "since": rfc3339(member.since_ms), "label": member.label,
    }  # fmt: skip


def _segment(key: SegmentKey) -> dict[str, Any]:
    return {"segment": key.label, "dimensions": key.as_dict()}


def _time_ms(time: str | None) -> int | None:
    return None if time is None else epoch_ms(datetime.fromisoformat(time))


def _as_text(attributes: dict[str, Any]) -> dict[str, str]:
    """Values of free dimensions as text, in JSON's spelling; unknown ones are left out."""
    return {
        name: value if isinstance(value, str) else _JSON.encode(value).decode()
        for name, value in attributes.items()
        if value is not None
    }
