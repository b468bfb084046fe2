"""Records of the topics as rows of the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from detectors.records import (
    FLEET,
    AnnouncedChange,
    Anomaly,
    Evidence,
    Incident,
    Member,
    Mover,
    SegmentKey,
    Severity,
)
from sinks.base import Batch
from sinks.columnar import encode
from sinks.tables import INTERACTIONS, TABLES
from streams.deadletters import dead_letter, encode_dead_letter
from streams.diagnosis import BadRecord
from streams.events import Interaction
from streams.messages import LocalRecord
from streams.pseudonyms import KEY_VARIABLE, PseudonymKeyError, Pseudonyms, load_key
from streams.record import Recorder, incident_version
from streams.topics import RECORDED

NOW_MS = 1_790_000_100_000
SEGMENT = SegmentKey(("provider", "model"), ("openai", "gpt-x"))
PSEUDONYMS = Pseudonyms(b"k" * 32)


def recorder(**options: Any) -> Recorder:
    return Recorder(fleet="f", pseudonyms=PSEUDONYMS, **options)


def rows_of(topic: str, *values: object, by: Recorder | None = None) -> list[dict[str, Any]]:
    """The rows of records of one topic; each also converts to its table's columns."""
    records = [
        LocalRecord(
            topic, 3, 40 + i, v if isinstance(v, bytes) or v is None else orjson.dumps(v), None, NOW_MS
        )
        for i, v in enumerate(values)
    ]
    batches = (by or recorder()).rows(records, NOW_MS)
    for batch in batches:
        assert encode(TABLES[batch.table], batch).refused == {}
    return [batch.row(index) for batch in batches for index in range(batch.rows)]


def interaction(**fields: object) -> dict[str, Any]:
    return {"event_id": "e1", "occurred_at": 1_790_000_000_000, "operation": "chat", **fields}


EVIDENCE = Evidence(
    detector="adwin",
    family="drift",
    segment=SEGMENT,
    signal="refusal_ratio",
    window_start_ms=1_790_000_000_000,
    window_end_ms=1_790_000_010_000,
    severity=Severity.CRITICAL,
    statistic=9.5,
    threshold=4.0,
    observed=0.3,
    expected=0.02,
    lower=None,
    upper=0.05,
    n=800,
    started_at_ms=1_789_999_990_000,
)
ANOMALY = Anomaly("a1", "fp", EVIDENCE, ("e1", "e2"))
INCIDENT = Incident(
    incident_id="i1",
    fingerprint="fp",
    status="firing",
    severity=Severity.CRITICAL,
    family="drift",
    segment=SEGMENT,
    signal="refusal_ratio",
    started_at_ms=1_789_999_990_000,
    detected_at_ms=1_790_000_010_000,
    last_seen_ms=1_790_000_010_000,
    resolved_at_ms=None,
    anomalies=1,
    peak=ANOMALY,
)


def test_every_recorded_topic_is_known() -> None:
    with pytest.raises(ValueError, match=r"llm\.feedback"):
        rows_of("llm.feedback", {})


def test_every_field_of_an_interaction_has_a_column_or_a_reason() -> None:
    not_stored = {
        "user_id": "only its pseudonym is",
        "tool_calls": "their names are, in tools",
        "retrieval": "its count and score are",
        "schema_version": "it is always 1",
    }
    columns = set(INTERACTIONS.column_names) | {"occurred_at"}
    assert set(Interaction.__struct_fields__) - columns == set(not_stored)


def test_an_interaction() -> None:
    (row,) = rows_of(
        "llm.interactions",
        interaction(
            occurred_at="2026-09-21T14:13:20Z",
            tenant="t",
            user_id="ann@example.com",
            tokens_in=7,
            cost=0.5,
            status=503,
            cache_hit=False,
            index_updated_at="2026-09-21T00:00:00Z",
            tool_calls=[{"name": "search", "arguments": "secret"}],
            attributes={"plan": "pro", "beta": True, "level": 3, "none": None},
            input="my prompt",
            output="the answer",
        ),
    )
    told = {name: value for name, value in row.items() if value not in (None, [], {})}
    assert told == {
        "event_id": "e1",
        "occurred_at": 1_790_000_000_000,
        "operation": "chat",
        "tenant": "t",
        "user_hash": PSEUDONYMS("t", "ann@example.com"),
        "tokens_in": 7,
        "cost": 0.5,
        "cost_usd": 0.5,
        "status": "503",
        "is_error": True,
        "cache_hit": False,
        "index_updated_at": 1_789_948_800_000,
        "tools": ["search"],
        "attributes": {"plan": "pro", "beta": "true", "level": "3"},
        "source_partition": 3,
        "source_offset": 40,
    }


def test_no_text_and_no_user_id_is_in_the_rows() -> None:
    secrets = {"input": "SECRET1", "output": "SECRET2", "user_id": "SECRET3"}
    (row,) = rows_of("llm.interactions", interaction(**secrets, retrieval={"query": "SECRET4"}))
    assert "SECRET" not in repr(row)


def test_texts_are_kept_redacted_when_configured() -> None:
    (row,) = rows_of(
        "llm.interactions",
        interaction(input="mail bob@example.com", output="hello", user_id="u"),
        by=recorder(store_text=True),
    )
    assert (row["input"], row["output"]) == ("mail <email>", "hello")


def test_cost_in_another_currency_is_no_cost_in_dollars() -> None:
    (row,) = rows_of("llm.interactions", interaction(cost=2.0, currency="EUR"))
    assert (row["cost"], row["cost_usd"]) == (2.0, None)


def test_bad_records_are_skipped_and_counted() -> None:
    by = recorder()
    values: tuple[object, ...] = (interaction(), b"{", b"", None, interaction(event_id="e2", tokens_in=-1))
    assert [row["event_id"] for row in rows_of("llm.interactions", *values, by=by)] == ["e1"]
    assert by.skipped["llm.interactions"] == 2
    for topic in set(RECORDED) - {"llm.interactions"}:
        assert rows_of(topic, b"{", {"rows": 1}, b"\xff", by=by) == []
        assert by.skipped[topic] == 3


def test_only_bad_records_make_no_batch() -> None:
    assert recorder().rows([LocalRecord("llm.interactions", 0, 0, b"{")], NOW_MS) == []


def test_a_summary_record() -> None:
    rows = rows_of(
        "tidewatch.summaries",
        {
            "window_start_ms": 10_000,
            "window_end_ms": 20_000,
            "fleet": "other",
            "rows": [
                [{}, "request_rate", 1.5, 15, None, "learning", None],
                [
                    {"provider": "p", "model": "m"},
                    "finish_reason_mix",
                    None,
                    3,
                    None,
                    "ok",
                    {"stop": 2, "length": 1},
                ],
            ],
        },
    )
    assert [row["segment"] for row in rows] == ["all", "provider=p,model=m"]
    assert rows[1] == {
        "fleet": "other",
        "window_start": 10_000,
        "window_end": 20_000,
        "segment": "provider=p,model=m",
        "dimensions": {"provider": "p", "model": "m"},
        "signal": "finish_reason_mix",
        "value": None,
        "n": 3,
        "expected": None,
        "status": "ok",
        "mix": {"stop": 2, "length": 1},
    }


def test_an_anomaly() -> None:
    (row,) = rows_of("tidewatch.anomalies", msgspec.json.encode(ANOMALY))
    assert row == {
        "fleet": "f",
        "anomaly_id": "a1",
        "fingerprint": "fp",
        "family": "drift",
        "window_start": 1_790_000_000_000,
        "window_end": 1_790_000_010_000,
        "started_at": 1_789_999_990_000,
        "segment": "provider=openai,model=gpt-x",
        "dimensions": {"provider": "openai", "model": "gpt-x"},
        "signal": "refusal_ratio",
        "detector": "adwin",
        "severity": "critical",
        "observed": 0.3,
        "expected": 0.02,
        "lower": None,
        "upper": 0.05,
        "n": 800,
        "statistic": 9.5,
        "threshold": 4.0,
        "firing": True,
        "exemplars": ["e1", "e2"],
        "movers": None,
        "moved_share": None,
    }


def test_the_movers_of_a_mix_are_json() -> None:
    movers = (Mover("scams", 0.12, 0.0), Mover("billing", 0.3, 0.4))
    evidence = msgspec.structs.replace(EVIDENCE, movers=movers, moved_share=0.13)
    (row,) = rows_of(
        "tidewatch.anomalies", msgspec.json.encode(msgspec.structs.replace(ANOMALY, evidence=evidence))
    )
    assert row["moved_share"] == 0.13
    assert orjson.loads(row["movers"]) == [
        {"label": "scams", "observed": 0.12, "expected": 0.0},
        {"label": "billing", "observed": 0.3, "expected": 0.4},
    ]


def test_the_whole_fleet_is_the_segment_all() -> None:
    anomaly = msgspec.structs.replace(ANOMALY, evidence=msgspec.structs.replace(EVIDENCE, segment=FLEET))
    (row,) = rows_of("tidewatch.anomalies", msgspec.json.encode(anomaly))
    assert (row["segment"], row["dimensions"]) == ("all", {})


def test_an_incident() -> None:
    (row,) = rows_of("tidewatch.incidents", msgspec.json.encode(INCIDENT))
    assert row["severity"] == "critical"
    assert (row["peak_anomaly_id"], row["peak_observed"], row["peak_detector"]) == ("a1", 0.3, "adwin")
    assert (row["detected_at"], row["resolved_at"]) == (1_790_000_010_000, None)


def test_what_triage_found_out_has_columns() -> None:
    incident = msgspec.structs.replace(
        INCIDENT,
        incident_type="refusal_surge",
        triage_verdict="model",
        verdict_for=("prompt v20 was released 4 minutes before",),
        members=(Member(SegmentKey(("tenant",), ("t",)), "refusal_ratio", 0.3, 0.02, 1_790_000_000_000),),
        related_change=AnnouncedChange("c1", "prompt", "v20", 1_789_999_760_000, {"prompt_name": "p"}),
    )
    (row,) = rows_of("tidewatch.incidents", msgspec.json.encode(incident))
    assert (row["incident_type"], row["triage_verdict"]) == ("refusal_surge", "model")
    assert row["verdict_for"] == ["prompt v20 was released 4 minutes before"]
    assert row["related_change_id"] == "c1"
    assert orjson.loads(row["members"]) == [
        {
            "segment": {"tenant": "t"}, "signal": "refusal_ratio", "observed": 0.3, "expected": 0.02,
            "since": "2026-09-21T14:13:20.000Z", "label": None,
        }
    ]  # fmt: skip


def test_versions_follow_the_life_of_an_incident() -> None:
    def state(**changed: Any) -> int:
        return incident_version(msgspec.structs.replace(INCIDENT, **changed))

    later = INCIDENT.last_seen_ms + 10_000
    life = [
        state(),
        state(anomalies=2),
        state(anomalies=3, last_seen_ms=later),
        state(anomalies=2**40, last_seen_ms=later),
        state(anomalies=2**40, last_seen_ms=later, status="resolved", resolved_at_ms=later),
        state(last_seen_ms=later, status="resolved", resolved_at_ms=later + 1),
    ]
    assert life == sorted(set(life))
    assert life[-1] < 2**64


def test_an_alert() -> None:
    (row,) = rows_of(
        "llm.alerts",
        {
            "alert_id": "x",
            "type": "tidewatch.alert.resolved",
            "fingerprint": "fp",
            "incident_id": "i1",
            "severity": "warning",
            "summary": "s",
            "segment": {"tenant": "t"},
            "signal": "error_ratio",
            "unit": "ratio",
            "detector": "rule:errors",
            "observed": 0.1,
            "expected": 0.02,
            "lower": None,
            "upper": 0.05,
            "n": 5,
            "window_start": "2026-09-21T14:13:20.000Z",
            "window_end": "2026-09-21T14:13:30.123Z",
            "started_at": "2026-09-21T14:13:20.000Z",
            "detected_at": "2026-09-21T14:13:30.000Z",
            "resolved_at": "2026-09-21T14:20:00.000Z",
            "exemplars": [],
        },
    )
    assert row["window_end"] == 1_790_000_010_123
    assert row["resolved_at"] == 1_790_000_400_000
    assert row["segment"] == "tenant=t"


def test_a_dead_letter() -> None:
    letter = dead_letter(
        LocalRecord("llm.interactions", 1, 7, b"{"),
        BadRecord("not_json", "$", "expected JSON"),
        "interaction",
    )
    (row,) = rows_of("llm.deadletters", encode_dead_letter(letter))
    assert row["dead_letter_id"] == letter.dead_letter_id
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == ("llm.interactions", 1, 7)
    assert (row["reason"], row["size_bytes"], row["seen_at"]) == ("not_json", 1, NOW_MS)


def test_a_change() -> None:
    (row,) = rows_of(
        "llm.changes",
        {"change_id": "c", "occurred_at": 1_790_000_000_000, "kind": "prompt", "scope": {"model": "m"}},
    )
    assert (row["change_id"], row["kind"], row["scope"]) == ("c", "prompt", {"model": "m"})


def test_the_same_records_give_the_same_tokens_in_any_grouping_of_topics() -> None:
    records = [
        LocalRecord("llm.interactions", 0, i, orjson.dumps(interaction(event_id=f"e{i}"))) for i in range(5)
    ]
    other = LocalRecord("tidewatch.anomalies", 0, 0, msgspec.json.encode(ANOMALY))

    def tokens(batches: list[Batch]) -> dict[str, str]:
        return {batch.table: batch.dedup_token for batch in batches}

    assert tokens(recorder().rows([*records, other], NOW_MS)) == tokens(
        recorder().rows([other, *records], NOW_MS)
    )


def test_pseudonyms_tell_users_apart_within_a_tenant_only() -> None:
    same = PSEUDONYMS("t", "ann")
    assert same == Pseudonyms(b"k" * 32)("t", "ann")
    others = {
        PSEUDONYMS("t", "bob"),
        PSEUDONYMS("u", "ann"),
        PSEUDONYMS(None, "ann"),
        Pseudonyms(b"l" * 32)("t", "ann"),
    }
    assert len({same, *others}) == 5
    assert len(same) == 32
    assert "k" * 8 not in repr(PSEUDONYMS)


def test_the_first_start_makes_a_key_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    key = load_key(tmp_path / "state")
    assert load_key(tmp_path / "state") == key
    (file,) = (tmp_path / "state").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv(KEY_VARIABLE, "short")
    with pytest.raises(PseudonymKeyError, match=f"{KEY_VARIABLE}: got 5 bytes"):
        load_key(tmp_path / "state")
