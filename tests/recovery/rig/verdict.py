"""What a run said, and how it differs from what it should have said: by content, lost and doubled rows counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from streams.topics import ALERTS, ANOMALIES, DEADLETTERS, INCIDENTS, SUMMARIES

RESULTS: Final = (SUMMARIES, ANOMALIES, INCIDENTS, ALERTS, DEADLETTERS)
"""The topics that a run is judged by."""


class Results(NamedTuple):
    """What a run said up to the last input window: topic -> identity of a row -> digests of its contents.

    More than one content of an identity is an error of the run; the same content twice is delivery at least
    once, and stored once.
    """

    rows: dict[str, dict[str, set[bytes]]]

    def count(self, topic: str) -> int:
        return len(self.rows[topic])


class Verdict(NamedTuple):
    """A run held against the undisturbed one, in rows."""

    lost: int
    """Rows that are missing, or have other contents."""
    doubled: int
    """Identities with several contents, or which should not be there at all."""
    examples: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not (self.lost or self.doubled)


def results(by_topic: Mapping[str, Iterable[bytes]], end_ms: int) -> Results:
    """Sort what the topics hold by identity, as far as it is about windows that end by ``end_ms``."""
    rows: dict[str, dict[str, set[bytes]]] = {topic: {} for topic in RESULTS}
    for topic, values in by_topic.items():
        for value in set(values):  # repeats of the same are delivery at least once
            for identity, at_ms, content in _ROWS[topic](orjson.loads(value)):
                if at_ms <= end_ms:
                    # A digest: long runs have a million rows, and orjson's buffers are a kilobyte each.
                    packed = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
                    digest = hashlib.blake2b(packed, digest_size=16).digest()
                    rows[topic].setdefault(identity, set()).add(digest)
    return Results(rows)


def compare(found: Results, expected: Results) -> Verdict:
    """Count what is lost and doubled in ``found``."""
    lost = doubled = 0
    examples: list[str] = []
    for topic, wanted in expected.rows.items():
        there = found.rows[topic]
        if wanted == there:
            continue
        for identity in wanted.keys() | there.keys():
            want, have = wanted.get(identity, set()), there.get(identity, set())
            lost += len(want - have)
            doubled += len(have - want)
            if want != have and len(examples) < 5:
                kind = "lost" if not have else "unexpected" if not want else "other content"
                examples.append(f"{topic} {identity}: {kind}")
    return Verdict(lost, doubled, tuple(examples))


def total(verdicts: Iterable[Verdict]) -> Verdict:
    """Several runs together."""
    all_of = list(verdicts)
    return Verdict(
        sum(v.lost for v in all_of),
        sum(v.doubled for v in all_of),
        tuple(example for v in all_of for example in v.examples)[:5],
    )


_Row = tuple[str, int, Any]


def _summary_rows(record: dict[str, Any]) -> Iterable[_Row]:
    for row in record["rows"]:
        where = [record["window_start_ms"], row[0], row[1]]
        identity = orjson.dumps(where, option=orjson.OPT_SORT_KEYS).decode()
        yield identity, record["window_end_ms"], row


def _anomaly_rows(record: dict[str, Any]) -> Iterable[_Row]:
    yield record["anomaly_id"], record["evidence"]["window_end_ms"], record


def _incident_rows(record: dict[str, Any]) -> Iterable[_Row]:
    at_ms = max(record["last_seen_ms"], record["detected_at_ms"], record["resolved_at_ms"] or 0)
    # Each transition of an incident is a row of its own. A change that is named belongs to the time that counts,
    # too: the marker that ends a run is one that no undisturbed run has heard of.
    change_ms = (record.get("related_change") or {"at_ms": 0})["at_ms"]
    yield f"{record['incident_id']} {record['status']} {at_ms}", max(at_ms, change_ms), record


def _alert_rows(record: dict[str, Any]) -> Iterable[_Row]:
    if record["detector"].startswith("monitoring:"):
        return  # about Tidewatch itself and what is done to it, by the clock on the wall
    time = record["resolved_at"] or record["detected_at"]
    yield record["alert_id"], int(datetime.fromisoformat(time).timestamp() * 1000), record


def _dead_letter_rows(record: dict[str, Any]) -> Iterable[_Row]:
    # By the record refused, not by its place: partitions are not part of the question.
    yield record["sha256"], 0, [record["kind"], record["reason"], record["path"], record["size_bytes"]]


_ROWS: Final = {
    SUMMARIES: _summary_rows,
    ANOMALIES: _anomaly_rows,
    INCIDENTS: _incident_rows,
    ALERTS: _alert_rows,
    DEADLETTERS: _dead_letter_rows,
}
