"""`tidewatch sql`, with and without a worker that owns the store."""

from __future__ import annotations

import asyncio
import csv
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from streams.commands.sql import command
from streams.queryserver import SOCKET_NAME, QueryFailed, QueryServer, ask
from tests.support.rows import sample_batch


@asynccontextmanager
async def worker(state_dir: Path) -> AsyncIterator[ClickHouseSink]:
    """What the record worker has: the sink, and the server beside it."""
    sink = ClickHouseSink(ClickHouseConfig(), state_dir)
    server = QueryServer(ClickHouseConfig(), state_dir)
    try:
        await sink.write(sample_batch("changes", 3))
        await server.start()
        yield sink
    finally:
        await server.close()
        await sink.close()


def sql(state_dir: Path, *arguments: str, stdin: str | None = None) -> Result:
    config = state_dir.parent / "tidewatch.toml"
    config.write_text(f'state_dir = "{state_dir}"\n')
    return CliRunner().invoke(command, ["--config", str(config), *arguments], input=stdin)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def test_the_worker_answers_while_it_writes(state_dir: Path) -> None:
    async with worker(state_dir) as sink:
        run = await asyncio.to_thread(sql, state_dir, "--json", "SELECT count() AS n FROM changes FINAL")
        assert run.exit_code == 0, run.output
        answer = orjson.loads(run.stdout)
        assert answer["columns"] == [{"name": "n", "type": "UInt64"}]
        assert answer["rows"] == [{"n": 3}]
        await sink.write(sample_batch("changes", 3, first=3))
        again = await asyncio.to_thread(ask, state_dir, "SELECT count() FROM changes FINAL")
        assert orjson.loads(again)["data"] == [[6]]


async def test_only_this_user_can_connect(state_dir: Path) -> None:
    async with worker(state_dir):
        assert (state_dir / SOCKET_NAME).stat().st_mode & 0o777 == 0o600
    assert not (state_dir / SOCKET_NAME).exists()


async def test_refusals_and_errors_come_back_as_such(state_dir: Path) -> None:
    async with worker(state_dir):
        for query, kind in (
            ("SELECT file('/etc/hostname')", "refused"),
            ("DROP TABLE changes", "refused"),
            ("SELECT nothing FROM changes", "failed"),
        ):
            with pytest.raises(QueryFailed) as caught:
                await asyncio.to_thread(ask, state_dir, query)
            assert caught.value.kind == kind
        run = await asyncio.to_thread(sql, state_dir, "DROP TABLE changes")
        assert run.exit_code == 1
        assert "only statements that read can run here" in run.stderr


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b'{"query": 1}\n',
        b'{"other": "a"}\n',
        b"\xff\n",
        b"x" * 1_000_000 + b"\n",
        b"cut",
    ],
)
async def test_bytes_that_are_no_request(state_dir: Path, request_bytes: bytes) -> None:
    async with worker(state_dir):
        requests, answers = await asyncio.open_unix_connection(str(state_dir / SOCKET_NAME))
        try:
            answers.write(request_bytes)
            answers.write_eof()
            line = await requests.readline()
            assert orjson.loads(line)["kind"] == "refused"
        except ConnectionError:
            pass  # refused before it was all read
        finally:
            answers.close()
        assert await asyncio.to_thread(ask, state_dir, "SELECT 1")


async def test_a_client_that_goes_away_harms_nobody(state_dir: Path) -> None:
    async with worker(state_dir):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(state_dir / SOCKET_NAME))
            client.sendall(b'{"query": "SELECT * FROM numbers(100000)"}\n')
        assert await asyncio.to_thread(ask, state_dir, "SELECT 1")


async def test_closing_ends_the_query_that_runs(state_dir: Path) -> None:
    async with worker(state_dir) as sink:
        endless = asyncio.create_task(
            asyncio.to_thread(ask, state_dir, "SELECT count() FROM numbers(10000000000000)")
        )
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(state_dir / SOCKET_NAME))
        running = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT count() FROM numbers(1%'"
        while not await sink._run(lambda: int(sink._connected().command(running))):  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)
        before_secs = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before_secs < 28, (
        "it waited for the query's time limit of 30 s"
    )
    waiting.close()
    with pytest.raises((QueryFailed, ConnectionError)):
        await endless


async def test_long_state_dirs_work(tmp_path: Path) -> None:
    state_dir = tmp_path / ("d" * 60) / ("e" * 60)
    async with worker(state_dir):
        assert await asyncio.to_thread(ask, state_dir, "SELECT 1")


def test_a_socket_left_by_a_killed_worker_is_replaced(state_dir: Path) -> None:
    state_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(state_dir / SOCKET_NAME))

    async def answers() -> bytes:
        async with worker(state_dir):
            return await asyncio.to_thread(ask, state_dir, "SELECT 1")

    assert orjson.loads(asyncio.run(answers()))["data"] == [[1]]


async def _filled(state_dir: Path) -> None:
    async with worker(state_dir):
        pass


def test_without_a_worker_the_store_is_opened_here(state_dir: Path) -> None:
    asyncio.run(_filled(state_dir))
    run = sql(state_dir, "SELECT change_id, scope, summary FROM changes FINAL ORDER BY 1 LIMIT 1")
    assert run.exit_code == 0, run.output
    assert list(csv.reader(io.StringIO(run.stdout))) == [
        ["change_id", "scope", "summary"],
        ["change_id-0", '{"model":"gpt-x"}', "summary of it"],
    ]


def test_as_a_table_without_control_characters(state_dir: Path) -> None:
    asyncio.run(_filled(state_dir))
    run = sql(
        state_dir, "--format", "table", "-", stdin="SELECT 1 AS one, '\x1b[31mred' AS two, NULL AS three"
    )
    assert run.exit_code == 0, run.output
    assert "one" in run.stdout
    assert "·[31mred" in run.stdout
    assert "\x1b" not in run.stdout
    assert "1 row(s)" in run.stdout


def test_without_a_store_it_says_what_to_do(state_dir: Path) -> None:
    run = sql(state_dir, "SELECT 1")
    assert run.exit_code == 1
    assert f"no store at {state_dir / 'clickhouse'}" in run.stderr
    assert "tidewatch up" in run.stderr


def test_a_server_that_is_away(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    config = tmp_path / "tidewatch.toml"
    config.write_text(f'[clickhouse]\ninterface = "http"\nport = {port}\n')
    run = CliRunner().invoke(command, ["--config", str(config), "SELECT 1"])
    assert run.exit_code == 1
    assert f"127.0.0.1:{port}" in run.stderr


def test_a_wrong_configuration_is_exit_code_2(tmp_path: Path) -> None:
    config = tmp_path / "tidewatch.toml"
    config.write_text("[clickhouse]\npassword = 'a'\n")
    run = CliRunner().invoke(command, ["--config", str(config), "SELECT 1"])
    assert run.exit_code == 2
    assert "clickhouse.password" in run.stderr
