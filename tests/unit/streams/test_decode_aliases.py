"""Names of other conventions: the table, its conversions, and the traps of the conventions."""

from __future__ import annotations

from typing import Any

import pytest

from streams.aliases import ALIASES, Alias
from streams.conversions import CONVERSIONS
from streams.decode import BadRecord, UnknownFields, decode_feedback, decode_interaction
from streams.events import STRUCTS, Interaction, Retrieval, ToolCall
from tests.strategies import NOW_MS, encoded

BASE: dict[str, Any] = {"event_id": "e1", "occurred_at": NOW_MS, "operation": "chat"}


def decoded(**fields: Any) -> Interaction:
    unknown = UnknownFields()
    event = decode_interaction(encoded(BASE | fields), now_ms=NOW_MS, unknown=unknown)
    assert unknown.total == 0
    return event


def otel(fields: dict[str, Any]) -> Interaction:
    return decoded(**fields)


def test_every_row_names_a_field_and_a_conversion() -> None:
    parts = {"retrieval": Retrieval, "tool_calls": ToolCall}
    for stream, aliases in ALIASES.items():
        own = STRUCTS[stream].__struct_fields__
        for alias in aliases:
            field, _, part = alias.field.partition(".")
            assert field in own
            assert not part or part in parts[field].__struct_fields__
            assert alias.convert in CONVERSIONS
        assert len(set(aliases)) == len(aliases)


SAMPLES: dict[str, Any] = {
    "as_is": "x",
    "text": "x",
    "integer": 7,
    "operation": "chat",
    "join": ["stop"],
    "secs_to_ms": 0.5,
}
NUMERIC = {"cost": 0.25, "score": 0.25, "streamed": True}


@pytest.mark.parametrize(
    "alias",
    [alias for alias in ALIASES["interaction"] if alias.convert in SAMPLES and "." not in alias.field],
    ids=lambda alias: alias.name,
)
def test_every_name_reaches_its_field_and_loses_to_our_own(alias: Alias) -> None:
    sample = NUMERIC.get(alias.field, SAMPLES[alias.convert])
    own = BASE | {"model_requested": "m"}
    own.pop(alias.field, None)
    if alias.field == "occurred_at":
        sample = "2026-01-01T00:00:00Z"
    event = decode_interaction(encoded(own | {alias.name: sample}), now_ms=NOW_MS)
    value = getattr(event, alias.field)
    assert value is not None
    theirs = {"streamed": False, "cost": 0.75}.get(alias.field, sample)
    both = decode_interaction(encoded({alias.name: theirs, **own, alias.field: value}), now_ms=NOW_MS)
    assert getattr(both, alias.field) == value


def test_a_record_of_current_opentelemetry_names() -> None:
    event = decode_interaction(
        encoded(
            {
                "spanId": "eee19b7ec3c1b174",
                "traceId": "5b8efff798038103d269b633813fc60c",
                "startTimeUnixNano": "1789999998000000000",
                "endTimeUnixNano": "1789999999250000000",
                "service.name": "summariser",
                "deployment.environment.name": "production",
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-x",
                "gen_ai.response.model": "gpt-x-2026-01-01",
                "gen_ai.usage.input_tokens": "100",
                "gen_ai.usage.output_tokens": 12,
                "gen_ai.usage.cache_read.input_tokens": 80,
                "gen_ai.response.time_to_first_chunk": 0.25,
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.prompt.name": "summary",
                "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}],
                "error.type": None,
            }
        ),
        now_ms=NOW_MS,
    )
    assert event.event_id == event.span_id == "eee19b7ec3c1b174"
    assert (event.occurred_at, event.duration_ms) == (1_789_999_999_250, 1_250.0)
    assert (event.service, event.environment, event.provider) == ("summariser", "production", "openai")
    assert (event.model_requested, event.model_served) == ("gpt-x", "gpt-x-2026-01-01")
    assert (event.tokens_in, event.tokens_out, event.tokens_cache_read) == (100, 12, 80)
    assert (event.ttft_ms, event.finish_reason, event.error_type) == (250.0, "stop", None)
    assert event.prompt_name == "summary"
    assert event.input == '[{"parts":[{"content":"hi","type":"text"}],"role":"user"}]'


def test_cached_tokens_are_inside_input_tokens_and_never_added() -> None:
    event = otel({"gen_ai.usage.input_tokens": 100, "gen_ai.usage.cache_read.input_tokens": 80})
    assert (event.tokens_in, event.tokens_cache_read) == (100, 80)


def test_time_to_first_chunk_is_in_seconds() -> None:
    assert otel({"gen_ai.response.time_to_first_chunk": 2}).ttft_ms == 2_000.0
    assert otel({"gen_ai.response.time_to_first_chunk": 2, "ttft_ms": 3}).ttft_ms == 3.0


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["stop"], "stop"),
        (["stop", "stop"], "stop"),
        (["stop", "length"], "length+stop"),
        (["length", "stop"], "length+stop"),
        ([], None),
        ([""], None),
        ("stop", "stop"),
    ],
)
def test_finish_reasons_are_an_array(reasons: object, expected: str | None) -> None:
    assert otel({"gen_ai.response.finish_reasons": reasons}).finish_reason == expected


def test_the_newer_name_wins_over_the_replaced_one_in_any_order() -> None:
    fields = {"gen_ai.system": "old", "gen_ai.provider.name": "new"}
    assert otel(fields).provider == "new"
    assert otel(dict(reversed(fields.items()))).provider == "new"


def test_a_null_never_hides_a_value() -> None:
    assert (
        otel({"provider": None, "gen_ai.provider.name": None, "gen_ai.system": "openai"}).provider == "openai"
    )


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("LLM", "chat"),
        ("RETRIEVER", "retrieval"),
        ("TOOL", "execute_tool"),
        ("AGENT", "invoke_agent"),
        ("X", "x"),
    ],
)
def test_span_kinds_become_operations(kind: str, operation: str) -> None:
    fields = {"event_id": "e", "occurred_at": NOW_MS, "openinference.span.kind": kind}
    assert decode_interaction(encoded(fields), now_ms=NOW_MS).operation == operation


def test_flattened_messages_are_text_but_prompt_names_are_not() -> None:
    event = otel(
        {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "hi", "gen_ai.prompt.version": 3}
    )
    assert event.input == '{"gen_ai.prompt.0.content":"hi","gen_ai.prompt.0.role":"user"}'
    assert event.prompt_version == "3"


def test_free_dimensions_become_attributes() -> None:
    event = otel(
        {
            "traceloop.association.properties.plan": "gold",
            "traceloop.association.properties.user_id": "u1",
            "metadata": '{"index_version": "v7", "team": "core", "nested": {"ignored": true}}',
            "attributes": {"team": "ours"},
        }
    )
    assert (event.user_id, event.index_version) == ("u1", "v7")
    assert event.attributes == {"plan": "gold", "team": "ours"}


def test_retrieval_and_tool_names_fill_structures() -> None:
    event = otel(
        {
            "gen_ai.data_source.id": "kb",
            "gen_ai.retrieval.top_k": 3,
            "retrieval.documents": [
                {"document.id": "d1", "document.score": 0.5, "document.content": "secret"}
            ],
            "gen_ai.tool.name": "search",
            "gen_ai.tool.call.arguments": {"q": 1},
        }
    )
    assert event.retrieval is not None
    assert event.retrieval.documents is not None
    assert (event.retrieval.data_source_id, event.retrieval.top_k) == ("kb", 3)
    assert (event.retrieval.documents[0].id, event.retrieval.documents[0].score) == ("d1", 0.5)
    assert event.tool_calls is not None
    assert (event.tool_calls[0].name, event.tool_calls[0].arguments) == ("search", '{"q":1}')


@pytest.mark.parametrize(
    ("fields", "duration_ms"),
    [
        ({"start_time": "2026-01-01T00:00:00.0005Z", "end_time": "2026-01-01T00:00:01Z"}, 999.5),
        ({"startTimeUnixNano": 1_789_999_999_000_000_000}, 1_000.0),
        ({"start_time": "2026-09-21T14:13:19Z"}, 1_000.0),
        ({"startTimeUnixNano": "1", "duration_ms": 7}, 7.0),
    ],
)
def test_a_spans_start_gives_its_duration(fields: dict[str, Any], duration_ms: float) -> None:
    assert otel(fields).duration_ms == duration_ms


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"gen_ai.usage.input_tokens": -1}, "out_of_range", "given as gen_ai.usage.input_tokens"),
        ({"gen_ai.usage.input_tokens": "many"}, "wrong_type", "expected an integer"),
        ({"gen_ai.response.time_to_first_chunk": True}, "wrong_type", "expected a number of seconds"),
        ({"gen_ai.response.finish_reasons": [1]}, "wrong_type", "expected an array of strings"),
        ({"startTimeUnixNano": NOW_MS * 1_000_001}, "out_of_range", ">= 0"),
        ({"start_time": "2026-09-21"}, "wrong_type", "RFC 3339"),
        ({"metadata": "[1]"}, "wrong_type", "expected an object"),
        ({"gen_ai.retrieval.documents": "d1"}, "wrong_type", "an array of documents"),
    ],
)
def test_bad_foreign_values_are_named_as_given(fields: dict[str, Any], reason: str, detail: str) -> None:
    with pytest.raises(BadRecord) as caught:
        otel(fields)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


def test_an_opentelemetry_evaluation_event_is_feedback() -> None:
    """Its evaluator and version are ours: the standard event has no names for them."""
    feedback = decode_feedback(
        encoded(
            {
                "traceId": "5b8efff798038103d269b633813fc60c",
                "spanId": "eee19b7ec3c1b174",
                "timeUnixNano": "1789999999000000000",
                "gen_ai.evaluation.name": "Relevance",
                "gen_ai.evaluation.score.value": 0.75,
                "gen_ai.evaluation.score.label": "relevant",
                "gen_ai.evaluation.explanation": "on topic",
                "gen_ai.response.id": "r1",
                "evaluator": "judge-7b",
                "evaluator_version": "3",
            }
        ),
        now_ms=NOW_MS,
    )
    assert feedback.event_id == "eee19b7ec3c1b174"
    assert feedback.trace_id == "5b8efff798038103d269b633813fc60c"
    assert (feedback.occurred_at, feedback.name, feedback.score) == (1_789_999_999_000, "Relevance", 0.75)
    assert (feedback.label, feedback.explanation, feedback.response_id) == ("relevant", "on topic", "r1")
    assert (feedback.evaluator, feedback.evaluator_version) == ("judge-7b", "3")
