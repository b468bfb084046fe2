"""The decoder: every reason, both paths alike, and nothing but ``BadRecord`` for any bytes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.decode import (
    MAX_UNKNOWN_NAMES,
    OTHER_NAMES,
    BadRecord,
    UnknownFields,
    decode_change,
    decode_chunk,
    decode_feedback,
    decode_interaction,
)
from streams.diagnosis import REASONS
from streams.events import MAX_RECORD_BYTES, MAX_TEXT_BYTES, MIN_TIME_MS, STREAMS, Stream
from tests.strategies import NOW_MS, changes, encoded, feedbacks, interactions

GOOD: dict[str, Any] = {"event_id": "e1", "occurred_at": NOW_MS, "model_requested": "gpt-x"}
LONG = encoded(GOOD)[:-1] + b',"extra":[' + b"1," * 20_000
VOTE: dict[str, Any] = {"event_id": "e1", "occurred_at": NOW_MS, "name": "user_feedback", "score": 1}
DEPLOY: dict[str, Any] = {"change_id": "c1", "occurred_at": NOW_MS, "kind": "deploy"}
DECODERS = {"interaction": decode_interaction, "feedback": decode_feedback, "change": decode_change}


def refused(value: bytes, stream: Stream = "interaction") -> BadRecord:
    with pytest.raises(BadRecord) as caught:
        DECODERS[stream](value, now_ms=NOW_MS)
    return caught.value


def nested(depth: int) -> bytes:
    return encoded(GOOD)[:-1] + b',"extra":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


BAD: list[tuple[str, bytes, str, str]] = [
    ("no bytes", b"", "empty", "$"),
    ("prose", b"I am not JSON", "not_json", "$"),
    ("cut off", encoded(GOOD)[:-3], "not_json", "$"),
    ("two documents", encoded(GOOD) * 2, "not_json", "$"),
    ("a byte order mark", b"\xef\xbb\xbf" + encoded(GOOD), "not_json", "$"),
    ("latin-1", encoded(GOOD)[:-1] + b',"tenant":"caf\xe9"}', "not_utf8", "$"),
    ("latin-1 in an unknown name", encoded(GOOD)[:-1] + b',"caf\xe9":1}', "not_utf8", "$"),
    ("a surrogate in UTF-8", encoded(GOOD)[:-1] + b',"tenant":"\xed\xa0\x80"}', "not_utf8", "$"),
    ("an array", b"[1]", "not_an_object", "$"),
    ("null", b"null", "not_an_object", "$"),
    ("a string", b'"x"', "not_an_object", "$"),
    ("a lone surrogate", encoded({**GOOD, "tenant": "\ud800"}), "lone_surrogate", "$.tenant"),
    ("a lone surrogate in an unknown field", encoded({**GOOD, "x": ["\udfff"]}), "lone_surrogate", "$.x[...]"),
    ("33 levels", nested(33), "too_deep", "$"),
    ("1,000 levels", nested(1_000), "too_deep", "$"),
    ("100,000 levels", nested(100_000), "too_deep", "$"),
    ("100,000 levels, never closed", b'{"a":' * 40_000, "too_deep", "$"),
    ("too large", encoded({**GOOD, "output": "x" * MAX_RECORD_BYTES}), "too_large", "$"),
    ("no event_id", encoded({**GOOD, "event_id": None}), "missing_field", "$.event_id"),
    ("empty event_id", encoded({**GOOD, "event_id": ""}), "out_of_range", "$.event_id"),
    ("no object of interest", b"{}", "missing_field", "$.occurred_at"),
    ("no model, no operation", encoded({**GOOD, "model_requested": None}), "missing_field", "$.model_requested"),
    ("a number as text", encoded({**GOOD, "tokens_in": "12"}), "wrong_type", "$.tokens_in"),
    ("a fraction of a token", encoded({**GOOD, "tokens_in": 1.5}), "wrong_type", "$.tokens_in"),
    ("a boolean as a number", encoded({**GOOD, "refusal": 1}), "wrong_type", "$.refusal"),
    ("an object as an attribute", encoded({**GOOD, "attributes": {"a": {}}}), "wrong_type", "$.attributes[...]"),
    ("a time without offset", encoded({**GOOD, "occurred_at": "2026-01-01 00:00"}), "wrong_type", "$.occurred_at"),
    ("no time at all", encoded({**GOOD, "occurred_at": "yesterday"}), "wrong_type", "$.occurred_at"),
    ("a fraction of a millisecond", encoded({**GOOD, "occurred_at": 1e12 + 0.5}), "wrong_type", "$.occurred_at"),
    ("NaN", encoded({**GOOD, "cost": float("nan")}), "not_finite", "$.cost"),
    ("-Infinity", encoded({**GOOD, "cost": float("-inf")}), "not_finite", "$.cost"),
    ("1e400", encoded(GOOD)[:-1] + b',"duration_ms":1e400}', "not_finite", "$.duration_ms"),
    ("1e400 in an attribute", encoded(GOOD)[:-1] + b',"attributes":{"a":-1e400}}', "not_finite", "$.attributes.a"),
    ("negative", encoded({**GOOD, "tokens_out": -1}), "out_of_range", "$.tokens_out"),
    ("absurd", encoded({**GOOD, "cost": 1_001}), "out_of_range", "$.cost"),
    ("NaN in a long record", LONG + b"NaN]}", "not_finite", "$"),
    ("1e400 in a long record", LONG + b"1e400]}", "not_finite", "$"),
    ("5,000 digits in a long record", LONG + b"9" * 5_000 + b"]}", "out_of_range", "$"),
    ("a lone surrogate in a long record", LONG + b'"\\ud800"]}', "lone_surrogate", "$"),
    ("NaN in a long record that is cut off", LONG + b"NaN", "not_json", "$"),
    ("400 digits", encoded(GOOD)[:-1] + b',"tokens_in":' + b"9" * 400 + b"}", "out_of_range", "$.tokens_in"),
    ("5,000 digits", encoded(GOOD)[:-1] + b',"cost":' + b"9" * 5_000 + b"}", "out_of_range", "$.cost"),
    ("a long name", encoded({**GOOD, "tenant": "x" * 513}), "out_of_range", "$.tenant"),
    ("seconds, not ms", encoded({**GOOD, "occurred_at": 1_790_000_000}), "time_before_1971", "$.occurred_at"),
    ("1970", encoded({**GOOD, "occurred_at": "1970-12-31T23:59:59.999Z"}), "time_before_1971", "$.occurred_at"),
    ("year 1", encoded({**GOOD, "occurred_at": "0001-01-01T00:00:00+14:00"}), "time_before_1971", "$.occurred_at"),
    ("the future", encoded({**GOOD, "occurred_at": NOW_MS + 300_001}), "time_in_future", "$.occurred_at"),
    ("year 9999", encoded({**GOOD, "occurred_at": "9999-12-31T23:59:59-14:00"}), "time_in_future", "$.occurred_at"),
    ("schema 2", encoded({**GOOD, "schema_version": 2}), "unknown_schema_version", "$.schema_version"),
    ("schema 2.1", encoded({**GOOD, "schema_version": "2.1"}), "unknown_schema_version", "$.schema_version"),
    ("schema 2, otherwise strange", b'{"schema_version":2,"when":1}', "unknown_schema_version", "$.schema_version"),
    ("schema true", encoded({**GOOD, "schema_version": True}), "wrong_type", "$.schema_version"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason", "path"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_every_bad_input_has_its_reason_and_path(value: bytes, reason: str, path: str) -> None:
    bad = refused(value)
    assert (bad.reason, bad.path) == (reason, path)


def test_every_reason_is_reached() -> None:
    assert {case[2] for case in BAD} == set(REASONS)


@pytest.mark.parametrize(
    ("stream", "fields", "reason", "path"),
    [
        ("feedback", {**VOTE, "event_id": None}, "missing_field", "$.event_id"),
        ("feedback", {**VOTE, "score": None}, "missing_field", "$.score"),
        ("feedback", {k: v for k, v in VOTE.items() if k != "name"}, "missing_field", "$.name"),
        ("feedback", {**VOTE, "score": 1.01}, "out_of_range", "$.score"),
        ("change", {**DEPLOY, "kind": "reorg"}, "wrong_type", "$.kind"),
        ("change", {**DEPLOY, "scope": {"tenant": 3}}, "wrong_type", "$.scope[...]"),
        ("change", {**DEPLOY, "occurred_at": 5}, "time_before_1971", "$.occurred_at"),
    ],
)
def test_feedback_and_changes_are_checked(
    stream: Stream, fields: dict[str, Any], reason: str, path: str
) -> None:
    bad = refused(encoded(fields), stream)
    assert (bad.reason, bad.path) == (reason, path)


@pytest.mark.parametrize("at", [MIN_TIME_MS, NOW_MS + 300_000, float(NOW_MS), "2026-01-01T00:00:00+05:30"])
def test_times_at_the_bounds_are_good(at: object) -> None:
    assert isinstance(
        decode_interaction(encoded({**GOOD, "occurred_at": at}), now_ms=NOW_MS).occurred_at, int
    )


def test_exactly_the_allowed_depth_and_size_are_good() -> None:
    decode_interaction(nested(32), now_ms=NOW_MS)
    padding = MAX_RECORD_BYTES - len(encoded({**GOOD, "output": ""}))
    value = encoded({**GOOD, "output": "x" * padding})
    assert len(value) == MAX_RECORD_BYTES
    decode_interaction(value, now_ms=NOW_MS)


def test_long_texts_are_cut_between_characters_and_not_refused() -> None:
    fields = {**GOOD, "output": "€" * MAX_TEXT_BYTES, "tool_calls": [{"name": "f", "result": "y" * 40_000}]}
    event = decode_interaction(json.dumps(fields, ensure_ascii=False).encode(), now_ms=NOW_MS)
    assert event.output == "€" * (MAX_TEXT_BYTES // 3)
    assert event.tool_calls is not None
    assert event.tool_calls[0].result == "y" * MAX_TEXT_BYTES


def test_a_long_text_is_cut_the_same_with_foreign_names() -> None:
    value = encoded({**GOOD, "gen_ai.output.messages": "z" * 40_000})
    assert decode_interaction(value, now_ms=NOW_MS).output == "z" * MAX_TEXT_BYTES


def test_integral_floats_are_integers() -> None:
    event = decode_interaction(encoded({**GOOD, "tokens_in": 374.0, "occurred_at": 1.79e12}), now_ms=NOW_MS)
    assert (event.tokens_in, event.occurred_at) == (374, 1_790_000_000_000)
    assert isinstance(event.tokens_in, int)


def test_unknown_fields_are_ignored_and_counted_with_bounded_names() -> None:
    unknown = UnknownFields()
    fields = {**GOOD, "shoe_size": 44, "retrieval": {"mood": 1}, "tool_calls": [{"name": "f", "x": 1}] * 2}
    event = decode_interaction(encoded(fields), now_ms=NOW_MS, unknown=unknown)
    assert event.event_id == "e1"
    assert dict(unknown.counts) == {"shoe_size": 1, "retrieval.mood": 1, "tool_calls.x": 2}
    unknown.add([f"field_{i}" for i in range(2_000)])
    assert len(unknown.counts) == MAX_UNKNOWN_NAMES + 1
    assert unknown.counts[OTHER_NAMES] > 0
    assert unknown.total == 2_004
    unknown.add(["\x1b[31m" + "n" * 500])
    assert max(map(len, unknown.counts)) <= 64


def test_a_detail_never_holds_a_value() -> None:
    said = "the patient said"
    for fields in (
        {**GOOD, "tokens_in": said},
        {**GOOD, "tokens_in": [said]},
        {**GOOD, "occurred_at": said},
        {**GOOD, "schema_version": said},
        {**GOOD, "attributes": {said: [said]}},
        {**GOOD, said: float("nan")},
        {**GOOD, "gen_ai.response.time_to_first_chunk": said},
        {**GOOD, "metadata": said},
    ):
        assert said not in str(refused(encoded(fields)))
    assert said not in str(refused(encoded({**DEPLOY, "kind": said}), "change"))


def test_a_chunk_is_sorted_into_events_bad_and_empty() -> None:
    values = [encoded(GOOD), None, b"", b"nope", encoded({**GOOD, "extra": 1}), encoded(GOOD)]
    chunk = decode_chunk("interaction", [SimpleNamespace(value=value) for value in values], NOW_MS)
    assert chunk.indices == [0, 4, 5]
    assert [event.event_id for event in chunk.events] == ["e1"] * 3
    assert [(index, bad.reason) for index, bad in chunk.bad] == [(3, "not_json")]
    assert chunk.empty == [1, 2]
    assert dict(chunk.unknown.counts) == {"extra": 1}


STRATEGIES = {"interaction": interactions(), "feedback": feedbacks(), "change": changes()}
records = st.sampled_from(STREAMS).flatmap(lambda stream: st.tuples(st.just(stream), STRATEGIES[stream]))


@given(records)
def test_no_good_record_is_refused_and_both_paths_agree(record: tuple[Stream, dict[str, Any]]) -> None:
    stream, fields = record
    typed = DECODERS[stream](encoded(fields), now_ms=NOW_MS)
    general = DECODERS[stream](encoded({**fields, "not_a_field_of_ours": [1]}), now_ms=NOW_MS)
    assert typed == general
    assert type(typed.occurred_at) is int
    again = DECODERS[stream](msgspec.json.encode(typed), now_ms=NOW_MS)
    assert again == typed


@given(st.sampled_from(STREAMS), st.binary(max_size=200))
@example("interaction", b'"\\')
@example("interaction", b'{"event_id":"\\ud800')
def test_any_bytes_give_a_record_or_a_reason(stream: Stream, value: bytes) -> None:
    try:
        DECODERS[stream](value, now_ms=NOW_MS)
    except BadRecord:
        return


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Stream, bytes]:
    """A good record with fields replaced, aliases added, or bytes changed."""
    stream, fields = draw(records)
    foreign = st.sampled_from(FOREIGN_NAMES)
    for name in draw(st.lists(st.sampled_from(sorted(fields)) | foreign, max_size=3)):
        fields[name] = draw(json_values)
    value = bytearray(encoded(fields))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(value) - 1))
        value[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        if not value:
            break
    return stream, bytes(value)


FOREIGN_NAMES = [
    *("startTimeUnixNano", "endTimeUnixNano", "start_time", "end_time", "metadata", "spanId"),
    *("gen_ai.response.finish_reasons", "gen_ai.response.time_to_first_chunk", "gen_ai.usage.input_tokens"),
    *("gen_ai.retrieval.documents", "gen_ai.tool.name", "gen_ai.prompt.0.content", "openinference.span.kind"),
    *("traceloop.association.properties.plan", "gen_ai.evaluation.score.value"),
]


@given(mutated())
def test_mutated_records_give_a_record_or_a_reason(record: tuple[Stream, bytes]) -> None:
    stream, value = record
    chunk = decode_chunk(stream, [SimpleNamespace(value=value)], NOW_MS)
    assert len(chunk.events) + len(chunk.bad) + len(chunk.empty) == 1
    for _, bad in chunk.bad:
        assert bad.reason in REASONS
    for event in chunk.events:
        msgspec.json.encode(event)


def test_strings_with_many_escapes_and_no_end_are_diagnosed_quickly() -> None:
    assert refused(b'{"a":"' + b'\\"' * 100_000).reason == "not_json"
