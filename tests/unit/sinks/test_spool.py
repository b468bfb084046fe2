"""Rows on their way into chDB: never in a place where others look or a crash leaves them for good."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from tests.support.rows import sample_batch


async def test_nothing_passes_through_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    sink = ClickHouseSink(
        ClickHouseConfig(insert_settings={"max_insert_threads": 1}), tmp_path / "it's a state"
    )
    await sink.write(sample_batch("changes", 3))
    await sink.close()
    left = {path.name for path in (tmp_path / "it's a state").iterdir()}
    assert left == {"clickhouse", "clickhouse.owner"}
