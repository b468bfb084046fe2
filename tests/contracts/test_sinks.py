"""What every registered sink must do, and more for those whose rows can be read back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from sinks.base import Batch, Rejected, Sink, SinkClosed
from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from sinks.reader import StoreReader
from sinks.registry import SINKS
from sinks.tables import TABLES
from tests.support.clickhouse import NoClickHouse, chdb_over_http, clickhouse_server
from tests.support.rows import id_column, sample_batch, with_value


class Store(NamedTuple):
    """A place that keeps rows, reached by configuration only."""

    config: ClickHouseConfig
    state_dir: Path
    sinks: list[ClickHouseSink]

    def sink(self) -> ClickHouseSink:
        """A sink that is closed after the test, however that ends."""
        self.sinks.append(ClickHouseSink(self.config, self.state_dir))
        return self.sinks[-1]

    def close(self) -> None:
        for sink in self.sinks:
            asyncio.run(sink.close())

    def select(self, statement: str) -> list[list[Any]]:
        reader = StoreReader(self.config.at(self.state_dir))
        try:
            rows: list[list[Any]] = orjson.loads(reader.query(statement))["data"]
            return rows
        finally:
            reader.close()


@pytest.fixture(scope="session")
def _server() -> Iterator[ClickHouseConfig]:
    try:
        with clickhouse_server() as config:
            yield config
    except NoClickHouse as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["chdb", "chdb over http", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each way to ClickHouse in turn, empty."""
    with contextlib.ExitStack() as stack:
        match request.param:
            case "chdb":
                config = ClickHouseConfig()
            case "chdb over http":
                config = stack.enter_context(chdb_over_http(tmp_path / "engine")).config
            case _:
                server: ClickHouseConfig = request.getfixturevalue("_server")
                config = server.model_copy(update={"database": f"test_{uuid.uuid4().hex}"})
        found = Store(config, tmp_path, [])
        stack.callback(found.close)
        yield found


@pytest.fixture(params=sorted(SINKS))
def make_sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Sink]]:
    """Makes the registered sink of each name; the ClickHouse one embedded."""
    made: list[Sink] = []

    def make() -> Sink:
        made.append(SINKS[request.param](ClickHouseConfig(), tmp_path))
        return made[-1]

    yield make
    for sink in made:
        asyncio.run(sink.close())


async def test_takes_batches_of_every_table(make_sink: Callable[[], Sink]) -> None:
    sink = make_sink()
    await sink.healthcheck()
    for table in TABLES:
        await sink.write(sample_batch(table, 3))
    await sink.close()


async def test_takes_an_empty_batch(make_sink: Callable[[], Sink]) -> None:
    sink = make_sink()
    await sink.write(sample_batch("alerts", 0))
    await sink.close()


async def test_after_close_it_is_an_error_and_closing_again_is_not(make_sink: Callable[[], Sink]) -> None:
    sink = make_sink()
    await sink.write(sample_batch("alerts", 1))
    await sink.close()
    await sink.close()
    with pytest.raises(SinkClosed):
        await sink.write(sample_batch("alerts", 1))
    with pytest.raises(SinkClosed):
        await sink.healthcheck()


async def test_concurrent_writes_all_arrive(make_sink: Callable[[], Sink]) -> None:
    sink = make_sink()
    await asyncio.gather(*(sink.write(sample_batch("alerts", 2, first=2 * i)) for i in range(10)))
    await sink.close()


@pytest.mark.parametrize("table", sorted(TABLES))
async def test_same_batch_twice_is_stored_once(store: Store, table: str) -> None:
    sink = store.sink()
    batch = sample_batch(table, 5)
    await sink.write(batch)
    await sink.write(batch)
    await sink.write(batch.take(range(2, 5)))  # the rows again, in another batch with another token
    await sink.close()
    assert store.select(f"SELECT count() FROM {table} FINAL") == [[5]]  # noqa: S608


async def test_what_is_written_is_what_is_read(store: Store) -> None:
    sink = store.sink()
    await sink.write(sample_batch("window_summaries", 2))
    nothing = {"value": None, "expected": None, "mix": None}
    await sink.write(sample_batch("window_summaries", 1, first=2, **nothing))
    await sink.close()
    got = store.select(
        "SELECT segment, toUnixTimestamp64Milli(window_start), dimensions, value, expected, n, mix "
        "FROM window_summaries FINAL ORDER BY segment"
    )
    assert got == [
        ["segment-0", 1790000000000, {"model": "gpt-x"}, 0.5, 0.5, 0, {"stop": 0}],
        ["segment-1", 1790000001000, {"model": "gpt-x"}, 1.5, 1.5, 1, {"stop": 1}],
        ["segment-2", 1790000002000, {"model": "gpt-x"}, None, None, 2, {}],
    ]


@pytest.mark.parametrize(
    ("table", "column", "bad"),
    [
        ("interactions", "event_id", None),
        ("interactions", "event_id", "\ud800"),
        ("interactions", "occurred_at", -1),
        ("interactions", "occurred_at", 10**15),
        ("interactions", "tokens_in", -1),
        ("interactions", "attributes", {"a": 1}),
        ("window_summaries", "value", "much"),
        ("incidents", "version", 2**64),
        ("alerts", "exemplars", [1]),
    ],
)
async def test_a_bad_row_is_rejected_by_index_and_the_others_are_stored(
    store: Store, table: str, column: str, bad: object
) -> None:
    sink = store.sink()
    batch = with_value(with_value(sample_batch(table, 6), column, 1, bad), column, 4, bad)
    with pytest.raises(Rejected) as caught:
        await sink.write(batch)
    assert caught.value.indices == (1, 4)
    assert column in caught.value.reason
    with pytest.raises(Rejected):  # and again, as after a crash
        await sink.write(batch)
    await sink.close()
    kept = store.select(f"SELECT {id_column(table)} FROM {table} FINAL ORDER BY 1")  # noqa: S608
    assert kept == [[f"{id_column(table)}-{i}"] for i in (0, 2, 3, 5)]


async def test_rows_that_only_the_store_can_refuse_are_found(store: Store) -> None:
    sink = store.sink()
    await sink.healthcheck()
    await sink._run(  # what an administrator may add to a table
        lambda: sink._connected().command(
            f"ALTER TABLE {store.config.database}.changes ADD CONSTRAINT short CHECK length(change_id) < 20"
        )
    )
    batch = sample_batch("changes", 9)
    for index in (3, 8):
        batch = with_value(batch, "change_id", index, "x" * 30)
    with pytest.raises(Rejected, match="VIOLATED_CONSTRAINT") as caught:
        await sink.write(batch)
    assert caught.value.indices == (3, 8)
    assert "xxx" not in caught.value.reason, "a reason must not quote the row"
    await sink.close()
    assert store.select("SELECT count() FROM changes FINAL") == [[7]]


async def test_the_newest_state_of_an_incident_wins_in_any_order(store: Store) -> None:
    sink = store.sink()
    common = {"incident_id": "i", "detected_at": 1_790_000_000_000}
    await sink.write(sample_batch("incidents", 1, **common, status="resolved", version=9))
    await sink.write(sample_batch("incidents", 1, **common, status="firing", version=8))
    await sink.close()
    assert store.select("SELECT status FROM incidents FINAL") == [["resolved"]]


async def test_a_batch_may_span_twenty_years(store: Store) -> None:
    """More partitions than ClickHouse takes in one insert unless told otherwise."""
    sink = store.sink()
    month_ms = 31 * 86_400_000
    rows = [sample_batch("changes", 1, first=i, occurred_at=i * month_ms) for i in range(240)]
    await sink.write(
        Batch(
            "changes",
            rows[0].columns,
            tuple([b.data[c][0] for b in rows] for c in range(len(rows[0].columns))),
        )
    )
    await sink.close()
    assert store.select("SELECT count() FROM changes FINAL") == [[240]]


_WRITER = """
import asyncio, sys
from pathlib import Path
from sinks.clickhouse import ClickHouseConfig, ClickHouseSink
from tests.support.rows import sample_batch

async def main():
    sink = ClickHouseSink(ClickHouseConfig(), Path(sys.argv[1]))
    await sink.healthcheck()
    print("ready", flush=True)
    for number in range(1000):
        await sink.write(sample_batch("interactions", 500, first=500 * number))
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("after_batches", [0, 1, 2, 5])
def test_a_killed_writer_leaves_whole_batches(tmp_path: Path, after_batches: int) -> None:
    """kill -9 between and amid inserts: nothing acknowledged is lost, no batch is there in part."""
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert writer.stdout is not None
    with writer.stdout as lines:
        assert lines.readline() == "ready\n"
        acknowledged = [int(lines.readline()) for _ in range(after_batches)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in lines if line.endswith("\n")]
    writer.wait()
    rows = Store(ClickHouseConfig(), tmp_path, []).select(
        "SELECT intDiv(source_offset, 500) AS batch, count() FROM interactions GROUP BY batch"
    )
    stored: dict[int, int] = dict(rows)  # type: ignore[arg-type]
    assert set(stored.values()) <= {500}, "a batch is there in part"
    assert set(acknowledged) <= set(stored), "an acknowledged batch is lost"
    assert len(stored) <= len(acknowledged) + 1
