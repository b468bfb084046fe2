"""Hypothesis strategies for input records, as the dictionaries that a producer would encode.

``interactions()``, ``feedbacks()`` and ``changes()`` only make good records: whatever they make must be accepted.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st

from streams.events import CHANGE_KINDS, MIN_TIME_MS

# How long an example takes on a shared machine is no property of the code.
settings.register_profile("tidewatch", deadline=None)
settings.load_profile("tidewatch")

Fields = dict[str, Any]

NOW_MS: Final = 1_790_000_000_000
"""The wall clock that these records are good for."""

_ALPHABET: Final = 'azAZ09 _-.:/@"\\\n\x00\x7fé✓漢😀\u202e\uffff'
"""Plain characters and those that break careless code; the whole of Unicode takes seconds to set up."""
texts = st.text(_ALPHABET, max_size=60)
names = st.text(_ALPHABET, min_size=1, max_size=40)
labels = st.sampled_from(["acme", "globex", "gpt-x", "claude-y", "eu-west-1", "search", "ünïcode ✓"])
epoch_times_ms = st.integers(MIN_TIME_MS, NOW_MS + 300_000)
amounts = st.floats(0, 1_000, allow_nan=False)
counts = st.integers(0, 1_000_000)


@st.composite
def wire_times(draw: st.DrawFn) -> int | str:
    """Epoch milliseconds, or RFC 3339 with any offset, any number of fractional digits, and ``T`` or a blank."""
    at_ms = draw(epoch_times_ms)
    if draw(st.booleans()):
        return at_ms
    offset = draw(st.sampled_from([0, 0, 60, -330, 840]))
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    text = moment.astimezone(timezone(timedelta(minutes=offset))).isoformat(
        sep=draw(st.sampled_from("T ")),
        timespec=draw(st.sampled_from(["seconds", "milliseconds", "microseconds"])),
    )
    return text.replace("+00:00", "Z") if draw(st.booleans()) else text


_SEGMENT_FIELDS: Final = """
    service environment tenant user_id user_hash feature topic region priority operation provider model_served
    prompt_name prompt_version agent_id agent_name agent_version workflow index_version conversation_id response_id
    trace_id
"""
_SEGMENT: Final[Fields] = dict.fromkeys(_SEGMENT_FIELDS.split(), labels)
_SHARED: Final[Fields] = {
    "schema_version": st.sampled_from([1, "1", "1.0", "1.12"]),
    "schema_url": st.just("https://opentelemetry.io/schemas/gen-ai/1.42.0"),
    "attributes": st.dictionaries(
        names, st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | amounts | texts, max_size=4
    ),
}
_MEASURES: Final[Fields] = {
    **dict.fromkeys(("duration_ms", "ttft_ms"), st.floats(0, 86_400_000) | st.integers(0, 86_400_000)),
    **dict.fromkeys(
        ("tokens_in", "tokens_out", "tokens_cache_read", "tokens_cache_write", "tokens_reasoning"),
        st.integers(0, 100_000_000),
    ),
    **dict.fromkeys(("steps", "retries", "retrieved_chunks"), counts),
    **dict.fromkeys(
        ("streamed", "refusal", "idk", "out_of_scope", "schema_valid", "cache_hit", "safety_flag"),
        st.booleans(),
    ),
    "cost": amounts,
    "currency": st.sampled_from(["USD", "EUR"]),
    "cost_source": labels,
    "retrieval_score": st.floats(0, 10_000),
    "status": st.sampled_from(["ok", "error", "timeout", 200, 429, "503"]),
    "error_type": st.sampled_from(["timeout", "RateLimitError"]),
    "finish_reason": st.sampled_from(["stop", "length", "content_filter"]),
    "outcome": labels,
    "index_updated_at": wire_times(),
    "span_id": st.just("eee19b7ec3c1b174"),
    "parent_span_id": st.just("eee19b7ec3c1b175"),
    "input": texts,
    "output": texts,
    "retrieval": st.fixed_dictionaries(
        {},
        optional={
            "data_source_id": labels,
            "top_k": counts,
            "query": texts,
            "documents": st.lists(
                st.fixed_dictionaries({}, optional={"id": names, "score": amounts}), max_size=3
            ),
        },
    ),
    "tool_calls": st.lists(
        st.fixed_dictionaries(
            {"name": labels},
            optional={
                "id": names,
                "type": labels,
                "duration_ms": amounts,
                "arguments": texts,
                "result": texts,
            },
        ),
        max_size=3,
    ),
}


def _optional(fields: Fields) -> Fields:
    return {name: st.none() | strategy for name, strategy in fields.items()}


@st.composite
def interactions(draw: st.DrawFn) -> Fields:
    """A good record of ``llm.interactions``."""
    required: Fields = {"event_id": names, "occurred_at": wire_times()}
    what = draw(st.sampled_from(["model_requested", "operation"]))
    optional = _optional({**_SHARED, **_SEGMENT, **_MEASURES, "model_requested": labels})
    optional.pop(what)
    record: Fields = draw(st.fixed_dictionaries({**required, what: labels}, optional=optional))
    return record


@st.composite
def feedbacks(draw: st.DrawFn) -> Fields:
    """A good record of ``llm.feedback``."""
    required: Fields = {"occurred_at": wire_times(), "name": st.sampled_from(["user_feedback", "relevance"])}
    required[draw(st.sampled_from(["event_id", "trace_id"]))] = names
    verdict = draw(st.sampled_from(["score", "label"]))
    verdicts: Fields = {
        "score": st.floats(0, 1),
        "label": st.sampled_from(["thumbs_up", "thumbs_down", "pass"]),
    }
    required[verdict] = verdicts.pop(verdict)
    extra: Fields = {
        **_SHARED,
        **_SEGMENT,
        **verdicts,
        "model_requested": labels,
        "feedback_id": names,
        "evaluator": labels,
        "evaluator_version": labels,
        "explanation": texts,
    }
    optional = _optional({name: made for name, made in extra.items() if name not in required})
    record: Fields = draw(st.fixed_dictionaries(required, optional=optional))
    return record


@st.composite
def changes(draw: st.DrawFn) -> Fields:
    """A good record of ``llm.changes``."""
    record: Fields = draw(
        st.fixed_dictionaries(
            {"change_id": names, "occurred_at": wire_times(), "kind": st.sampled_from(CHANGE_KINDS)},
            optional=_optional(
                {**_SHARED, "scope": st.dictionaries(names, labels, max_size=3), "summary": texts}
            ),
        )
    )
    return record


def encoded(fields: Fields) -> bytes:
    """As a producer in plain Python would send it."""
    return json.dumps(fields).encode()
