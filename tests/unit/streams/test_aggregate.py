"""AGGREGATE: what becomes of bad, empty and future records, and of the offset."""

from __future__ import annotations

import orjson

from streams.aggregate import Aggregate
from streams.config import parse_config
from streams.messages import LocalRecord, Message
from streams.topics import DEADLETTERS, PARTIALS

NOW_MS = 1_790_000_000_000
GOOD = orjson.dumps({"event_id": "e", "occurred_at": NOW_MS - 1000, "model_requested": "m"})


def aggregate(**limits: int) -> Aggregate:
    config = parse_config({"limits": limits})
    return Aggregate(config, topic="llm.interactions", partition=3, attempt="a", sources_total=1)


def records(*values: bytes | None) -> list[LocalRecord]:
    return [LocalRecord("llm.interactions", 3, 100 + at, value) for at, value in enumerate(values)]


def letters(messages: list[Message]) -> list[dict[str, object]]:
    return [orjson.loads(message.value) for message in messages if message.topic == DEADLETTERS]


def test_bad_records_become_letters_and_good_ones_are_kept() -> None:
    step = aggregate().add(records(b"{", GOOD, None, b"[]"), NOW_MS)
    found = letters(step.messages)
    assert [(letter["reason"], letter["source_offset"]) for letter in found] == [
        ("not_json", 100),
        ("not_an_object", 103),
    ]
    assert step.commit_offset == 101, "the good record's window is open"


def test_letters_come_before_the_offset_moves_past_their_records() -> None:
    step = aggregate().add(records(b"{", b"{"), NOW_MS)
    assert len(letters(step.messages)) == 2
    assert step.commit_offset == 102


def test_beyond_the_cap_one_letter_stands_for_the_rest() -> None:
    step = aggregate(dead_letters_per_chunk=2).add(records(*[b"{"] * 10), NOW_MS)
    *single, rest = letters(step.messages)
    assert [letter["source_offset"] for letter in single] == [100, 101]
    assert (rest["source_offset"], rest["source_offset_last"], rest["count"]) == (102, 109, 8)


def test_a_window_is_sent_with_its_watermark_last() -> None:
    source = aggregate()
    source.add(records(GOOD), NOW_MS)
    topics = [message.topic for message in source.idle(10_000).messages]
    assert topics == [PARTIALS, PARTIALS]
