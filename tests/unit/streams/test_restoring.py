"""What DECIDE goes on from when the store or the log is not what it should be."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streams.closing import Closed, Closing
from streams.config import Config
from streams.decide import Decide
from streams.messages import LocalRecord
from streams.partials import NewerRecord, Partial, Watermark
from streams.restoring import LogGuard, Restored, restore
from streams.state import Checkpoint, mark_of
from streams.state_sqlite import SqliteStateStore
from tests.support.make_fixtures import SECTIONS, partials

KEY = b"k" * 32
CONFIG = Config.model_validate(SECTIONS)


@pytest.fixture(scope="module")
def log() -> list[LocalRecord]:
    return partials(minutes=6)


class Bench:
    """A store, and the log that DECIDE was at when it was saved: first at a third, then at two thirds."""

    def __init__(self, folder: Path, log: list[LocalRecord]) -> None:
        self.path = folder / "state.sqlite"
        self.log = log
        self.first, self.second = len(log) // 3, 2 * len(log) // 3

    async def save(self) -> None:
        store = SqliteStateStore(self.path, CONFIG.fleet, KEY)
        await store.claim()
        decide = Decide(CONFIG)
        for record in self.log[: self.second]:
            decide.step(record)
            if decide.next_offset in (self.first, self.second):
                mark = mark_of(record.value)
                await store.save(Checkpoint(decide.next_offset, "log-1", decide.snapshot(), mark))
        await store.close()

    def break_slots(self, *slots: int) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            for slot in slots:
                connection.execute("UPDATE checkpoints SET sealed = x'80' WHERE slot = ?", (slot,))

    async def restore(
        self, *, log_id: str = "log-1", committed: int | None = None, end: int | None = None
    ) -> Restored:
        store = SqliteStateStore(self.path, CONFIG.fleet, KEY)
        try:
            await store.claim()
            if end is None:
                end = len(self.log)
            return await restore(CONFIG, store, log_id=log_id, committed=committed, end=end)
        finally:
            await store.close()


async def bench_of(folder: Path, log: list[LocalRecord]) -> Bench:
    bench = Bench(folder, log)
    await bench.save()
    return bench


def names(found: Restored) -> list[str]:
    return [trouble.name for trouble in found.troubles]


def go_on(found: Restored, log: Sequence[LocalRecord]) -> list[tuple[str, bytes]]:
    """Read as the driver does; what is told."""
    first = found.log.read_from or 0
    told: list[tuple[str, bytes]] = []
    for lo in range(first, len(log), 7):
        chunk = log[lo : lo + 7]
        assert found.log.look(chunk) is None
        for record in chunk:
            messages = found.decide.step(record)
            if record.offset >= found.tell_from:
                told += [(message.topic, message.value) for message in messages]
    return told


def undisturbed(log: Sequence[LocalRecord]) -> tuple[dict[int, list[Any]], bytes]:
    """What is told about each record, and the state at the end."""
    decide = Decide(CONFIG)
    told = {record.offset: [(m.topic, m.value) for m in decide.step(record)] for record in log}
    return told, decide.snapshot()


@pytest.mark.parametrize("broken", [(), (1,), (0, 1)], ids=["whole", "newest refused", "both refused"])
async def test_whatever_is_refused_the_end_is_the_same(
    tmp_path: Path, log: list[LocalRecord], broken: tuple[int, ...]
) -> None:
    bench = await bench_of(tmp_path, log)
    bench.break_slots(*broken)
    found = await bench.restore(committed=bench.second)
    assert names(found) == [[], ["state_refused"], ["state_refused", "state_rebuilt"]][len(broken)]
    starts = [bench.second, bench.first, bench.second]  # the last: rebuilt, and silent up to what was told
    told, state = undisturbed(log)
    assert any(told[offset] for offset in range(bench.second, len(log)))
    assert go_on(found, log) == [
        m for offset, ms in told.items() if offset >= starts[len(broken)] for m in ms
    ]
    assert found.decide.snapshot() == state


async def test_a_checkpoint_that_is_gone_is_noticed_by_the_groups_offset(
    tmp_path: Path, log: list[LocalRecord]
) -> None:
    bench = Bench(tmp_path, log)
    assert names(await bench.restore(committed=None)) == []
    lost = await bench.restore(committed=bench.first)
    assert names(lost) == ["state_rebuilt"]
    assert "is gone" in lost.troubles[0].summary
    assert lost.tell_from == bench.first
    beyond = await bench.restore(committed=bench.first, end=bench.first - 1)
    assert beyond.tell_from == 0, "the offset is another log's: nothing was told about this one"


@pytest.mark.parametrize(
    ("log_id", "shorter", "expected"),
    [("log-2", 0, ["log_replaced"]), ("log-1", 1, ["log_replaced"]), ("embedded-1", 0, [])],
    ids=["another cluster", "emptied", "embedded"],
)
async def test_another_log_is_read_from_its_beginning_and_incidents_stay(
    tmp_path: Path, log: list[LocalRecord], log_id: str, shorter: int, expected: list[str]
) -> None:
    bench = await bench_of(tmp_path, log)
    end = bench.second - 1 if shorter else None
    found = await bench.restore(log_id=log_id, end=end)
    assert names(found) == expected
    assert found.log.read_from is None
    assert found.decide.next_offset == 0
    before = (await bench.restore()).decide.progress
    after = found.decide.progress
    assert after["segments"] == before["segments"]
    assert after["closed_until_ms"] == before["closed_until_ms"]
    assert after["sources"] == 0


def record(offset: int, value: bytes = b"x") -> LocalRecord:
    return LocalRecord("tidewatch.partials", 0, offset, value)


def test_the_record_before_the_position_tells_logs_apart() -> None:
    guard = LogGuard(10, mark_of(b"nine"))
    assert guard.read_from == 9
    assert guard.look([record(9, b"nine"), record(10)]) is None
    assert guard.mark == mark_of(b"x")
    assert guard.look([record(11, b"eleven")]) is None
    assert guard.mark == mark_of(b"eleven")
    other = LogGuard(10, mark_of(b"nine")).look([record(9, b"other")])
    assert other is not None
    assert other.name == "log_replaced"


def test_a_step_back_is_another_log() -> None:
    for first in (0, 8):  # the broker has moved us to its beginning
        trouble = LogGuard(10, mark_of(b"nine")).look([record(first)])
        assert trouble is not None
        assert trouble.name == "log_replaced"
    guard = LogGuard()
    assert guard.look([record(0), record(1)]) is None
    assert guard.look([record(2)]) is None
    trouble = guard.look([record(0)])
    assert trouble is not None
    assert trouble.name == "log_replaced"


def test_retired_records_are_told_and_not_taken_for_another_log() -> None:
    assert LogGuard(10, mark_of(b"nine")).look([record(10)]) is None
    guard = LogGuard(10, mark_of(b"nine"))
    trouble = guard.look([record(15)])
    assert trouble is not None
    assert trouble.name == "log_gap"
    assert guard.look([record(16)]) is None
    assert LogGuard().look([record(15)]) is None, "a rebuilt state begins where the log begins"


def test_the_checkpoint_of_version_1_has_no_mark() -> None:
    guard = LogGuard(10)
    assert guard.read_from == 10
    assert guard.look([record(10)]) is None
    assert LogGuard(0).read_from is None


def test_records_that_are_not_ours_are_passed_over_and_newer_ones_are_not(log: list[LocalRecord]) -> None:
    decide = Decide(CONFIG)
    garbage = [b"", b"\x93", b"{}", b"\xc0", b"\x90", b"\x91\x01", b"\x92\xa7partial\xc0", b"x" * 1000]
    for offset, value in enumerate(garbage):
        assert decide.step(record(offset, value)) == []
    assert decide.foreign_records == len(garbage)
    assert decide.next_offset == len(garbage)
    newer = b"\x92\xa9partial/2\xc0"
    with pytest.raises(NewerRecord, match=r"got 'partial/2'; expected one of partial, .*use that version"):
        decide.step(record(len(garbage), newer))
    clean = Decide(CONFIG)
    for found in log:
        decide.step(record(found.offset + len(garbage), found.value or b""))
        clean.step(found)
    assert decide.progress | {"next_offset": 0} == clean.progress | {"next_offset": 0}


def test_what_a_source_sealed_before_the_log_was_replaced_stays_and_counts_once(
    log: list[LocalRecord],
) -> None:
    """The source repeats its last windows on the new log, as after a kill before its commit."""
    half = len(log) // 2
    straight = Decide(CONFIG)
    told = [(m.topic, m.value) for found in log for m in straight.step(found)]
    decide = Decide(CONFIG)
    messages = [(m.topic, m.value) for found in log[:half] for m in decide.step(found)]
    decide.rebase()
    repeated = log[max(0, half - 40) :]
    for offset, found in enumerate(repeated):
        messages += [(m.topic, m.value) for m in decide.step(record(offset, found.value or b""))]
    assert messages == told


def test_a_source_that_comes_back_behind_what_it_had_sealed_counts_once() -> None:
    """Its last commit was before its last seal: it says an older watermark first, then seals a window again."""
    closing = Closing(base_ms=10, lateness_ms=5)

    def seal(attempt: str, until_ms: int) -> list[Closed]:
        mark = Watermark("a", attempt, until_ms, 0, until_ms, False, 0, 2, 0, 0, 0, 0)
        return list(closing.step(mark))

    list(closing.step(Partial("a", "1", 0, 0, b"window")))
    seal("1", 10)
    closing.state = closing.state.on_another_log()
    seal("2", 0)
    list(closing.step(Partial("a", "2", 0, 0, b"window")))
    list(closing.step(Partial("a", "2", 10, 0, b"next")))
    seal("2", 20)
    other = Watermark("b", "1", 20, 0, 20, False, 0, 2, 0, 0, 0, 0)
    assert [closed.blocks for closed in closing.step(other)] == [[b"window"], [b"next"]]
