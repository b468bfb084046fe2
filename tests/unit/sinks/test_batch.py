"""Batches: their token, their parts, and how they are gathered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sinks.base import Batch
from sinks.batch import Batcher
from tests.support.rows import sample_batch, with_value


def test_the_token_is_a_hash_of_the_contents() -> None:
    batch = sample_batch("interactions", 20)
    assert batch.dedup_token == sample_batch("interactions", 20).dedup_token
    others = {
        batch.dedup_token,
        sample_batch("interactions", 19).dedup_token,
        sample_batch("interactions", 20, first=1).dedup_token,
        with_value(batch, "tokens_in", 7, None).dedup_token,
        with_value(batch, "tokens_in", 7, "7").dedup_token,
        with_value(batch, "event_id", 7, "\ud800").dedup_token,
        Batch("changes", batch.columns, batch.data).dedup_token,
    }
    assert len(others) == 7


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_token_is_the_same_in_every_process(seed: str) -> None:
    code = "from tests.support.rows import sample_batch; print(sample_batch('interactions', 3).dedup_token)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": seed},
        cwd=Path(__file__).resolve().parents[3],
    )
    assert run.stdout.strip() == sample_batch("interactions", 3).dedup_token


def test_a_batch_does_not_show_its_rows() -> None:
    assert "fingerprint of it" not in repr(sample_batch("alerts", 1))


def test_columns_must_be_equally_long() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Batch("changes", ("a", "b"), ((1,), (1, 2)))
    with pytest.raises(ValueError, match="2 columns named, 1 given"):
        Batch("changes", ("a", "b"), ((1,),))


def test_gathers_per_table_until_there_are_enough_rows() -> None:
    batcher = Batcher(max_rows=10, max_age_secs=60)
    assert not batcher.due(0)
    batcher.add([sample_batch("changes", 4), sample_batch("alerts", 2)], 0)
    assert not batcher.due(59)
    batcher.add([sample_batch("changes", 4, first=4)], 1)
    assert batcher.due(1)
    assert [(batch.table, batch.rows) for batch in batcher.batches()] == [("changes", 8), ("alerts", 2)]
    assert batcher.batches()[0].dedup_token == sample_batch("changes", 8).dedup_token


def test_rows_wait_no_longer_than_the_age() -> None:
    batcher = Batcher(max_rows=10, max_age_secs=5)
    batcher.add([sample_batch("changes", 1)], 100)
    assert not batcher.due(104.9)
    assert batcher.due(105)
    batcher.clear()
    assert batcher.rows == 0
    assert not batcher.due(1000)


def test_empty_batches_are_not_kept() -> None:
    batcher = Batcher(max_rows=1, max_age_secs=0)
    batcher.add([sample_batch("changes", 0)], 0)
    assert not batcher.due(10)
    assert batcher.batches() == []


def test_a_pending_write_keeps_its_batches() -> None:
    batcher = Batcher(max_rows=10, max_age_secs=5)
    batcher.add([sample_batch("changes", 3)], 0)
    pending = batcher.batches()
    with pytest.raises(BufferError, match="pending"):
        batcher.add([sample_batch("changes", 1)], 0)
    assert batcher.batches() is pending


def test_the_number_of_waiting_rows_is_bounded() -> None:
    batcher = Batcher(max_rows=10, max_age_secs=5)
    batcher.add([sample_batch("changes", 15)], 0)
    with pytest.raises(BufferError, match="21 rows would wait, at most 20 may"):
        batcher.add([sample_batch("alerts", 1), sample_batch("changes", 5)], 0)
    assert [(batch.table, batch.rows) for batch in batcher.batches()] == [("changes", 15)]
