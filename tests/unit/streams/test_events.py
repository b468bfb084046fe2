"""The schema's helpers, and the bounds that it shares with the signals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec import inspect

from detectors.sketches.layout import Category
from streams.decode import BadRecord, decode_interaction
from streams.events import (
    STREAMS,
    Feedback,
    Interaction,
    cost_usd,
    epoch_ms,
    is_error,
    is_thumbs_down,
    occurred_at_ms,
)
from streams.signals import CATEGORIES, VALUES
from streams.topics import TOPIC_OF_STREAM, TOPICS
from tests.strategies import NOW_MS, encoded


def interaction(**fields: Any) -> Interaction:
    return Interaction(event_id="e", occurred_at=NOW_MS, model_requested="m", **fields)


def test_times_are_rounded_down_exactly() -> None:
    moment = datetime(2023, 11, 16, 18, 15, 46, 680_999, tzinfo=UTC)
    assert epoch_ms(moment) == 1_700_158_546_680
    assert epoch_ms(moment.astimezone(timezone(timedelta(hours=-7)))) == 1_700_158_546_680
    assert epoch_ms(datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)) == -1
    assert occurred_at_ms(interaction()) == NOW_MS


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"status": "ok"}, False),
        ({"status": "ERROR"}, True),
        ({"status": "timeout"}, True),
        ({"status": 200}, False),
        ({"status": 400}, True),
        ({"status": "399"}, False),
        ({"status": "503"}, True),
        ({"error_type": "RateLimitError"}, True),
        ({"error_type": "RateLimitError", "status": "ok"}, True),
        ({"error_type": ""}, False),
    ],
)
def test_what_counts_as_an_error(fields: dict[str, Any], expected: bool) -> None:
    assert is_error(interaction(**fields)) is expected


def test_only_dollars_are_added_up() -> None:
    assert cost_usd(interaction(cost=0.5)) == 0.5
    assert cost_usd(interaction(cost=0.5, currency="usd")) == 0.5
    assert cost_usd(interaction(cost=0.5, currency="EUR")) is None
    assert cost_usd(interaction()) is None


@pytest.mark.parametrize(
    ("name", "score", "label", "expected"),
    [
        ("user_feedback", None, "thumbs_down", True),
        ("user_feedback", None, " Thumbs Down", True),
        ("user_feedback", None, "👍", False),
        ("user_feedback", 0.0, None, True),
        ("user_feedback", 0.5, None, False),
        ("user_feedback", 0.0, "thumbs_up", False),
        ("user_feedback", 0.2, "slow", True),
        ("user_feedback", None, "slow", None),
        ("relevance", 0.0, "thumbs_down", None),
    ],
)
def test_which_votes_are_down(
    name: str, score: float | None, label: str | None, expected: bool | None
) -> None:
    vote = Feedback(occurred_at=NOW_MS, event_id="e", name=name, score=score, label=label)
    assert is_thumbs_down(vote) is expected


FIELD_OF_VALUE = {"cost_usd": "cost", "tool_errors": "tool_calls"}
INTERACTION_VALUES = [value for value in VALUES if value.stream == "interaction"]


@pytest.mark.parametrize("value", INTERACTION_VALUES, ids=lambda value: value.name)
def test_bounds_are_those_of_the_signals(value: Any) -> None:
    field = FIELD_OF_VALUE.get(value.name, value.name)
    good = {"event_id": "e", "occurred_at": NOW_MS, "operation": "chat"}

    def of(amount: int) -> bytes:
        return encoded({**good, field: [{"error_type": "e"}] * amount if field == "tool_calls" else amount})

    decode_interaction(of(int(value.maximum)), now_ms=NOW_MS)
    with pytest.raises(BadRecord, match="out_of_range"):
        decode_interaction(of(int(value.maximum) + 1), now_ms=NOW_MS)


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_categories_are_fields_of_their_stream(category: Category) -> None:
    struct = Interaction if category.stream == "interaction" else Feedback
    field = {"tool": "tool_calls"}.get(category.name, category.name)
    assert field in struct.__struct_fields__


def test_topics_are_those_that_are_made() -> None:
    assert set(TOPIC_OF_STREAM) == set(STREAMS)
    assert set(TOPIC_OF_STREAM.values()) == {topic.name for topic in TOPICS.values() if topic.input}


def test_every_field_is_described() -> None:
    for struct in (Interaction, Feedback):
        info = inspect.type_info(struct)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            assert isinstance(field.type, inspect.Metadata), field.name
