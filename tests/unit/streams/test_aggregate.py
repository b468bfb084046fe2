"""AGGREGATE: what becomes of bad, empty and future records, and of the offset."""

from __future__ import annotations

import orjson
import pytest

from detectors.sketches.block import decode, merge
from streams.aggregate import Aggregate, AggregateStep
from streams.closing import Closing
from streams.config import parse_config
from streams.messages import LocalRecord, Message
from streams.partials import Notices, Partial, Watermark, decode_log_record
from streams.signals import LAYOUT
from streams.topics import CHANGES, DEADLETTERS, PARTIALS

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
    step = aggregate(dead_letters_per_1000=2).add(records(*[b"{"] * 10), NOW_MS)
    *single, rest = letters(step.messages)
    assert [letter["source_offset"] for letter in single] == [100, 101]
    assert (rest["source_offset"], rest["source_offset_last"], rest["count"]) == (102, 109, 8)


def test_a_window_is_sent_with_its_watermark_last() -> None:
    source = aggregate()
    source.add(records(GOOD), NOW_MS)
    topics = [message.topic for message in source.idle(10_000).messages]
    assert topics == [PARTIALS, PARTIALS]


def test_a_fast_clock_cannot_run_ahead_of_the_brokers_append_time() -> None:
    ahead = orjson.dumps({"event_id": "f", "occurred_at": NOW_MS + 200_000, "model_requested": "m"})
    appended = LocalRecord("llm.interactions", 3, 0, ahead, None, NOW_MS - 500, 1)
    source = aggregate()
    source.add([appended], NOW_MS)
    assert source.max_event_ms == NOW_MS - 500
    unstamped = aggregate()
    unstamped.add(records(ahead), NOW_MS)
    assert unstamped.max_event_ms == NOW_MS + 200_000, "without append time there is no guard"


def test_of_a_fast_clock_everything_counts_at_the_time_it_was_appended() -> None:
    index = {"index_updated_at": NOW_MS - 86_400_000, "model_requested": "m", "event_id": "f"}
    said = []
    for at_ms in (NOW_MS + 200_000, NOW_MS - 500):
        source = aggregate()
        value = orjson.dumps({**index, "occurred_at": at_ms})
        source.add([LocalRecord("llm.interactions", 3, 0, value, None, NOW_MS - 500, 1)], NOW_MS)
        said.append(source.idle(0).messages)
    assert said[0] == said[1]


def vote(n: int, at_ms: int) -> LocalRecord:
    value = orjson.dumps({"event_id": f"e{n}", "occurred_at": at_ms, "name": "user_feedback", "score": 0.0})
    return LocalRecord("llm.feedback", 0, n, value)


@pytest.mark.parametrize("restarted", [False, True])
def test_late_feedback_counts_after_a_quiet_source_began_again(restarted: bool) -> None:
    """The windows it belongs to were sealed when the source fell quiet; it joins the first one that was not."""
    config = parse_config({})

    def begin(attempt: str, metadata: str) -> Aggregate:
        return Aggregate(
            config, topic="llm.feedback", partition=0, attempt=attempt, sources_total=1, metadata=metadata
        )

    closing = Closing(
        base_ms=config.base_window_ms, lateness_ms=config.allowed_lateness_ms, keep_late=("llm.feedback-",)
    )
    votes = 0

    def take(step: AggregateStep) -> None:
        nonlocal votes
        for message in step.messages:
            for closed in closing.step(decode_log_record(message.value)):
                counters = merge([decode(block, LAYOUT) for block in closed.blocks], LAYOUT).counters
                votes += int(counters[0, LAYOUT.column["thumbs_down.known"]]) if len(counters) else 0

    source = begin("a", "")
    take(source.start())
    take(source.add([vote(0, NOW_MS - 60_000)], NOW_MS))
    quiet = source.idle(10_000)
    take(quiet)
    assert quiet.commit_offset == 1
    if restarted:
        source = begin("b", quiet.metadata)
        take(source.start())
    take(source.add([vote(1, NOW_MS - 600_000)], NOW_MS))
    take(source.add([vote(2, NOW_MS)], NOW_MS))
    for _ in range(2):
        take(source.idle(10_000))
    assert votes == 3


@pytest.mark.parametrize("metadata", ["", "1", "1 2", "1 2 x", "2 3 4", "1 -5 4", "1 2 3 4", None])
def test_metadata_that_other_tools_left_is_passed_over(metadata: str | None) -> None:
    source = Aggregate(
        parse_config({}), topic="llm.feedback", partition=0, attempt="a", sources_total=1, metadata=metadata
    )
    assert source.max_event_ms is None


def test_feedback_is_never_late() -> None:
    feedback = Aggregate(parse_config({}), topic="llm.feedback", partition=0, attempt="a", sources_total=1)
    votes = [
        orjson.dumps({"event_id": f"e{n}", "occurred_at": at, "name": "user_feedback", "score": 0.0})
        for n, at in enumerate([NOW_MS - 1000, NOW_MS - 600_000])
    ]
    made = [LocalRecord("llm.feedback", 0, at, value) for at, value in enumerate(votes)]
    messages = [*feedback.add(made, NOW_MS).messages, *feedback.idle(0).messages]
    sealed = [decode_log_record(message.value) for message in messages]
    partials = [record for record in sealed if isinstance(record, Partial)]
    late = [record.late for record in sealed if isinstance(record, Watermark)]
    assert len(partials) == 2
    assert set(late) == {0}


def test_a_record_from_the_future_is_refused_for_good_whenever_it_is_read() -> None:
    ahead = orjson.dumps({"event_id": "f", "occurred_at": NOW_MS + 3_600_000, "model_requested": "m"})
    stamped = [LocalRecord("llm.interactions", 3, 0, ahead, None, NOW_MS, 1)]
    for read_at_ms in (NOW_MS, NOW_MS + 3 * 3_600_000):
        (letter,) = letters(aggregate().add(stamped, read_at_ms).messages)
        assert letter["reason"] == "time_in_future"
    behind = [LocalRecord("llm.interactions", 3, 0, ahead, None, NOW_MS + 3_500_000, 1)]
    assert not letters(aggregate().add(behind, NOW_MS).messages), "our own clock may be the slow one"


def test_a_window_of_records_that_measure_nothing_is_sealed() -> None:
    """A failed evaluation has neither score nor vote."""
    value = {
        "event_id": "e",
        "occurred_at": NOW_MS,
        "name": "quality",
        "error_type": "Timeout",
        "feature": "f",
    }
    source = Aggregate(parse_config({}), topic="llm.feedback", partition=0, attempt="a", sources_total=1)
    source.add([LocalRecord("llm.feedback", 0, 0, orjson.dumps(value))], NOW_MS)
    assert source.idle(0).commit_offset == 1


def test_segments_beyond_the_cap_of_a_window_are_counted() -> None:
    stage = aggregate(window_segments=100)
    values = [
        {"event_id": f"e{n}", "occurred_at": NOW_MS - 60_000, "operation": "chat", "tenant": f"t{n % 150}"}
        for n in range(300)
    ]
    stage.add(records(*map(orjson.dumps, values)), NOW_MS)
    stage.idle(10_000)
    assert stage.counts.over_caps["segments of a window"] == 50


@pytest.mark.parametrize(("changes", "summary_bytes", "kept"), [(1200, 10, 1000), (50, 25_000, 35)])
def test_changes_of_a_window_fit_a_record_and_the_rest_are_counted(
    changes: int, summary_bytes: int, kept: int
) -> None:
    stage = Aggregate(parse_config({}), topic=CHANGES, partition=0, attempt="a", sources_total=1)
    given = [
        {
            "change_id": f"c{n}",
            "occurred_at": NOW_MS - 60_000,
            "kind": "deploy",
            "summary": "x" * summary_bytes,
        }
        for n in range(changes)
    ]
    values = [LocalRecord(CHANGES, 0, at, orjson.dumps(change)) for at, change in enumerate(given)]
    stage.add(values, NOW_MS)
    (message,) = [m for m in stage.idle(10_000).messages if isinstance(decode_log_record(m.value), Notices)]
    notices = decode_log_record(message.value)
    assert isinstance(notices, Notices)
    assert len(notices.changes) == kept
    assert stage.counts.over_caps == {"dead letters of a chunk": 0, "changes of a window": changes - kept}
    assert len(message.value) < 1_000_000
