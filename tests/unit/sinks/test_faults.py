"""What the ClickHouse sink does when the network or the server fails in the middle of an insert."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.base import RetryLater
from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from tests.support.clickhouse import Fault, Front, chdb_over_http
from tests.support.rows import sample_batch


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with chdb_over_http(tmp_path / "engine") as found:
        yield found


@pytest.mark.parametrize(
    "fault", ["cut_before", "cut_after", "hang", "busy", "too_many_requests", "too_many_parts"]
)
async def test_a_failed_insert_is_sent_once_and_the_repeat_stores_it_once(
    front: Front, tmp_path: Path, fault: Fault
) -> None:
    sink = ClickHouseSink(front.config, tmp_path)
    await sink.healthcheck()
    batch = sample_batch("changes", 5)
    front.fault = fault
    with pytest.raises(RetryLater) as caught:
        await sink.write(batch)
    assert caught.value.after_secs == front.config.retry_after_secs
    assert front.inserts == 1, "the driver repeated the insert on its own"
    front.fault = None
    await sink.write(batch)
    await sink.close()
    tokens = [settings["insert_deduplication_token"] for settings in front.settings]
    assert len(tokens) == 2
    assert len(set(tokens)) == 1, "the repeat must carry the token of the first try"
    assert {settings["async_insert"] for settings in front.settings} == {"0"}
    # Without FINAL: the token alone keeps the second block out.
    assert front.engine.query("SELECT count() FROM tidewatch.changes", "CSV").bytes() == b"5\n"


async def test_other_contents_have_another_token(front: Front, tmp_path: Path) -> None:
    sink = ClickHouseSink(front.config, tmp_path)
    for first in (0, 5):
        await sink.write(sample_batch("changes", 5, first=first))
    await sink.close()
    assert len({settings["insert_deduplication_token"] for settings in front.settings}) == 2


async def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    sink = ClickHouseSink(ClickHouseConfig(interface="http", port=port), tmp_path)
    with pytest.raises(RetryLater, match=f"127.0.0.1:{port}"):
        await sink.healthcheck()
    with pytest.raises(RetryLater):
        await sink.write(sample_batch("changes", 1))
    await sink.close()


async def test_it_recovers_when_the_server_comes_back(front: Front, tmp_path: Path) -> None:
    sink = ClickHouseSink(front.config, tmp_path)
    front.fault = "busy"
    for _ in range(3):
        with pytest.raises(RetryLater):
            await sink.write(sample_batch("changes", 2))
    front.fault = None
    await sink.write(sample_batch("changes", 2))
    await sink.close()
    assert front.engine.query("SELECT count() FROM tidewatch.changes FINAL", "CSV").bytes() == b"2\n"


async def test_a_slow_insert_does_not_hold_the_event_loop(front: Front, tmp_path: Path) -> None:
    sink = ClickHouseSink(front.config, tmp_path)
    await sink.healthcheck()
    front.fault = "hang"
    writing = asyncio.create_task(sink.write(sample_batch("changes", 1)))
    turns = 0
    while not writing.done() and turns < 20:
        await asyncio.sleep(0)
        turns += 1
    assert turns == 20, "the loop did not turn while the insert hung"
    front.released.set()
    with pytest.raises(RetryLater):
        await writing
    await sink.close()
