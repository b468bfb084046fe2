"""RECORD's step around a sink that fails: nothing is lost, nothing is committed early."""

from __future__ import annotations

import orjson
import pytest

from sinks.base import Batch, Rejected, RetryLater
from streams.deadletters import decode_dead_letter
from streams.messages import LocalRecord
from streams.pseudonyms import Pseudonyms
from streams.record import Recorder
from streams.record_stage import RecordStage


class ScriptedSink:
    """A sink in memory that raises what it is told to, batch after batch."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.written: list[Batch] = []

    async def healthcheck(self) -> None:
        pass

    async def write(self, batch: Batch) -> None:
        error = self.errors.pop(0) if self.errors else None
        if not isinstance(error, RetryLater):
            self.written.append(batch)
        if error is not None:
            raise error

    async def close(self) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.secs = 1000.0

    def __call__(self) -> float:
        return self.secs


def interaction(number: int) -> LocalRecord:
    value = {"event_id": f"e{number}", "occurred_at": 1_000_000_000_000, "operation": "chat", "input": "text"}
    return LocalRecord("llm.interactions", 2, number, orjson.dumps(value))


def change(number: int) -> LocalRecord:
    value = {"change_id": f"c{number}", "occurred_at": 1_000_000_000_000, "kind": "deploy"}
    return LocalRecord("llm.changes", 0, number, orjson.dumps(value))


def stage(sink: ScriptedSink, clock: Clock) -> RecordStage:
    recorder = Recorder(fleet="f", pseudonyms=Pseudonyms(b"k" * 32))
    return RecordStage(recorder, sink, batch_rows=10, batch_secs=5, monotonic=clock, wall=lambda: 2e9)


async def test_gathers_and_writes_one_batch_a_table() -> None:
    sink, clock = ScriptedSink(), Clock()
    step = stage(sink, clock)
    for number in range(9):
        step.add([interaction(number)])
    assert not step.due()
    step.add([change(0)])
    assert step.due()
    assert await step.flush() == []
    assert [(batch.table, batch.rows) for batch in sink.written] == [("interactions", 9), ("changes", 1)]
    assert (step.pending_rows, step.rows_written) == (0, 10)
    assert not step.due()


async def test_is_due_by_age() -> None:
    clock = Clock()
    step = stage(ScriptedSink(), clock)
    step.add([change(0)])
    clock.secs += 5
    assert step.due()


async def test_a_failed_flush_is_repeated_with_the_same_batches() -> None:
    sink = ScriptedSink(None, RetryLater(1, "away"))
    step = stage(sink, Clock())
    step.add([interaction(0), change(0)])
    with pytest.raises(RetryLater):
        await step.flush()
    with pytest.raises(BufferError):
        step.add([interaction(1)])
    assert step.pending_rows == 2
    await step.flush()
    assert [batch.table for batch in sink.written] == ["interactions", "changes"], "one was written twice"
    step.add([interaction(1)])


async def test_refused_rows_become_dead_letters_of_their_records() -> None:
    sink = ScriptedSink(Rejected((1, 3), "column x: bad"))
    step = stage(sink, Clock())
    letters = await step.handle([interaction(number) for number in range(5)])
    assert [letter.topic for letter in letters] == ["llm.deadletters"] * 2
    decoded = [decode_dead_letter(letter.value) for letter in letters]
    assert [(d.source_topic, d.source_partition, d.source_offset) for d in decoded] == [
        ("llm.interactions", 2, 1),
        ("llm.interactions", 2, 3),
    ]
    assert all(d.kind == "interaction" and "column x: bad" in d.detail for d in decoded)
    assert all("text" not in d.head.replace("<4 chars>", "") for d in decoded)
    assert (step.rows_written, step.rows_rejected) == (3, 2)


async def test_letters_survive_a_later_failure_of_the_same_flush() -> None:
    sink = ScriptedSink(Rejected((0,), "bad"), RetryLater(1, "away"))
    step = stage(sink, Clock())
    step.add([interaction(0), change(0)])
    with pytest.raises(RetryLater):
        await step.flush()
    assert len(await step.flush()) == 1


async def test_other_errors_pass_through() -> None:
    step = stage(ScriptedSink(ValueError("a defect")), Clock())
    step.add([change(0)])
    with pytest.raises(ValueError, match="a defect"):
        await step.flush()
