"""From fields to labels and columns: what counts as missing, as the same, and as too long."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from detectors.sketches.labels import MAX_LABEL_CHARS
from streams.config import SegmentsConfig
from streams.verdicts import OUTCOMES, outcome_of
from tests.support import measures

START_MS = 1_790_000_000_000


def mixes(records: list[dict[str, Any]], **segments: Any) -> dict[str, dict[str, int]]:
    base = {"occurred_at": START_MS, "model_requested": "m"}
    lines = [orjson.dumps({"event_id": f"e{n}", **base, **fields}) for n, fields in enumerate(records)]
    window = measures.window(START_MS, lines, segments=SegmentsConfig(**segments))
    return {signal: mix for (row, signal), mix in window.mixes().items() if row == 0}


def test_the_values_and_the_gaps_of_watched_attributes_are_counted() -> None:
    given = [
        {"attributes": {"doc_locale": "en", "plan": "gold"}},
        {"attributes": {"doc_locale": None}},
        {"attributes": {"plan": "gold"}},
        {"attributes": {}},
        {},
    ]
    found = mixes(given, watched_attributes=("doc_locale",))["attributes_mix"]
    assert found == {"doc_locale=en": 1, "doc_locale=": 3}, "a record without attributes says nothing"


def test_each_watched_attribute_is_counted_for_itself() -> None:
    given = [{"attributes": {"a": "x", "b": "y"}}, {"attributes": {"a": "x"}}]
    found = mixes(given, watched_attributes=("a", "b"))["attributes_mix"]
    assert found == {"a=x": 2, "b=y": 1, "b=": 1}


def test_attributes_that_are_no_texts_are_told_apart() -> None:
    given = [{"attributes": {"a": value}} for value in (1, True, 1.0, "1", "true", False)]
    for records in (given, given[::-1]):
        found = mixes(records, watched_attributes=("a",))["attributes_mix"]
        assert found == {"a=1": 2, "a=true": 2, "a=1.0": 1, "a=false": 1}


def test_without_watched_attributes_there_is_no_mix_of_them() -> None:
    assert "attributes_mix" not in mixes([{"attributes": {"a": "x"}}], watched_attributes=())


def test_tools_are_counted_by_name_call_by_call() -> None:
    given = [
        {"tool_calls": [{"name": "lookup"}, {"name": "lookup"}, {"name": "calendar"}, {"id": "unnamed"}]},
        {"tool_calls": [{"name": "calendar"}]},
        {"tool_calls": []},
        {},
    ]
    assert mixes(given)["tool_mix"] == {"lookup": 2, "calendar": 2}


@pytest.mark.parametrize("by", [(), (("topic",), ("model", "topic"))])
def test_a_label_is_counted_whether_or_not_it_is_a_dimension(by: tuple[tuple[str, ...], ...]) -> None:
    given = [{"topic": "billing"}, {"topic": "billing"}, {"topic": "refunds", "finish_reason": "stop"}, {}]
    found = mixes(given, by=by)
    assert found["topic_mix"] == {"billing": 2, "refunds": 1}
    assert found["model_requested_mix"] == {"m": 4}
    assert found["finish_reason_mix"] == {"stop": 1}


def test_long_labels_are_cut_and_told_apart() -> None:
    given = [{"topic": "x" * 500 + end} for end in "aab"]
    found = mixes(given)["topic_mix"]
    assert sorted(found.values()) == [1, 2]
    assert {len(label) for label in found} == {MAX_LABEL_CHARS}


def test_outcomes_are_matched_however_they_are_written() -> None:
    assert outcome_of(" Handed-Off ") == "escalated"
    assert outcome_of("purple") is None
    assert all(outcome_of(word) == meaning for word, meaning in OUTCOMES.items())
