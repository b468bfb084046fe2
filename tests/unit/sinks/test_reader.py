"""What people may ask the store, and everything else that they may try."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from sinks.reader import LIMITS, QueryRefused, StoreReader
from sinks.sql_guard import MAX_QUERY_BYTES
from tests.support.rows import sample_batch


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with ten changes."""
    path = tmp_path_factory.mktemp("state")

    async def fill() -> None:
        sink = ClickHouseSink(ClickHouseConfig(), path)
        await sink.write(sample_batch("changes", 10))
        await sink.close()

    asyncio.run(fill())
    return path


@pytest.fixture(scope="module")
def reader(state_dir: Path) -> Iterator[StoreReader]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LIMITS, "max_execution_time", 1)
        found = StoreReader(ClickHouseConfig().at(state_dir))
        yield found
        found.close()


def rows(reader: StoreReader, statement: str) -> list[list[Any]]:
    found: list[list[Any]] = orjson.loads(reader.query(statement))["data"]
    return found


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT count() FROM changes FINAL", [[10]]),
        ("select count() from tidewatch.changes final;", [[10]]),
        ("SELECT 1 -- a comment", [[1]]),
        ("/* a */ SELECT 'it''s; DROP TABLE changes'", [["it's; DROP TABLE changes"]]),
        ("SELECT 'INTO OUTFILE', ' FORMAT CSV', '\u2028'", [["INTO OUTFILE", " FORMAT CSV", "\u2028"]]),
        ("WITH x AS (SELECT * FROM changes) SELECT count() FROM x", [[10]]),
        ("SELECT count() FROM changes a JOIN changes b USING (change_id)", [[10]]),
        ("SELECT 1 WHERE 'change_id-3' IN (SELECT change_id FROM changes)", [[1]]),
        ("SELECT max(n) FROM (SELECT count() OVER (PARTITION BY kind) AS n FROM changes)", [[10]]),
        ("SELECT 2 EXCEPT SELECT 1", [[2]]),
        ("SELECT sum(number) FROM numbers(5)", [[10]]),
        ("SELECT format('{}-{}', 'a', 'b')", [["a-b"]]),
        ("SELECT 9007199254740993", [[9007199254740993]]),
        (
            "SELECT name FROM system.columns WHERE table = 'changes' ORDER BY position LIMIT 1",
            [["change_id"]],
        ),
        ("SHOW TABLES LIKE 'ch%'", [["changes"]]),
    ],
)
def test_statements_that_read(reader: StoreReader, statement: str, expected: list[list[Any]]) -> None:
    assert rows(reader, statement) == expected


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("DESCRIBE changes", "change_id"),
        ("SHOW CREATE TABLE changes", "ReplacingMergeTree"),
        ("SHOW COLUMNS FROM changes", "occurred_at"),
        ("EXPLAIN SELECT * FROM changes", "tidewatch.changes"),
        ("EXPLAIN AST SELECT 'text'", "Literal 'text'"),
        ("SELECT * FROM information_schema.tables WHERE table_schema = 'tidewatch'", "changes"),
    ],
)
def test_statements_that_describe(reader: StoreReader, statement: str, word: str) -> None:
    assert word in str(rows(reader, statement))


FILE = "/etc/hostname"

ATTACKS = [
    # files and hosts through table functions, anywhere in a statement
    "SELECT * FROM file('{FILE}')",
    "SELECT * FROM FILE('{FILE}', 'LineAsString')",
    "SELECT * FROM `file`('{FILE}')",
    "SELECT 1 FROM (SELECT * FROM (SELECT * FROM file('{FILE}')))",
    "WITH x AS (SELECT * FROM file('{FILE}')) SELECT 1 FROM x",
    "SELECT 1 WHERE 1 IN (SELECT 1 FROM file('{FILE}'))",
    "SELECT 1 WHERE 'a' IN file('{FILE}')",
    "SELECT (SELECT count() FROM file('{FILE}'))",
    "SELECT 1 UNION ALL SELECT * FROM file('{FILE}')",
    "SELECT * FROM changes JOIN file('{FILE}') AS f ON 1 = 1",
    "SELECT * FROM view(SELECT * FROM file('{FILE}'))",
    "DESCRIBE file('{FILE}')",
    "DESCRIBE TABLE (SELECT * FROM file('{FILE}'))",
    "EXPLAIN SELECT * FROM file('{FILE}')",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "SELECT * FROM s3('http://127.0.0.1:1/a', 'CSV', 'a String')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM sqlite('/srv/a', 'b')",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT * FROM python('orjson')",
    "SELECT * FROM Python(orjson)",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM merge('system', '.*')",
    "SELECT * FROM dictionary('a')",
    "SELECT * FROM loop(system.users)",
    "SELECT * FROM input('a String')",
    # files and models through scalar functions
    "SELECT file('{FILE}')",
    "SELECT FILE('{FILE}')",
    "SELECT `file`('{FILE}')",
    "SELECT arrayMap(x -> file('{FILE}'), [1])",
    "SELECT count() FROM changes WHERE change_id = file('{FILE}')",
    "SELECT count() FROM changes GROUP BY file('{FILE}')",
    "SELECT count() FROM changes ORDER BY file('{FILE}') LIMIT 1 BY file('{FILE}')",
    "WITH file('{FILE}') AS x SELECT x",
    "EXPLAIN SELECT file('{FILE}')",
    "SELECT dictGet('a', 'b', 1)",
    "SELECT joinGet('a', 'b', 1)",
    "SELECT catboostEvaluate('/a', 1)",
    "SELECT aiGenerate('a')",
    "SELECT hostName()",
    "SELECT getServerSetting('max_connections')",
    "SELECT sleep(3)",
    # names that are files to chDB
    "SELECT * FROM '{FILE}'",
    "SELECT * FROM `{FILE}`",
    "SELECT * FROM default.`{FILE}`",
    "SELECT 1 IN (`default`.`{FILE}`)",
    "SELECT * FROM `data.csv`",
    "DESCRIBE `/etc/hostname`",
    # other databases
    "SELECT * FROM system.users",
    "SELECT * FROM system.`processes`",
    "SELECT * FROM `system`.settings",
    "SELECT 1 IN (system.processes)",
    "SELECT * FROM information_schema.views",
    "SELECT * FROM other.changes",
    # writing out
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 UNION ALL SELECT 2 INTO OUTFILE '{out}' FORMAT CSV",
    "SHOW TABLES INTO OUTFILE '{out}'",
    "DESCRIBE changes INTO OUTFILE '{out}' TRUNCATE",
    "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 FORMAT CSV",
    "SELECT * FROM (SELECT 1 SETTINGS readonly = 0)",
    # changing anything
    "INSERT INTO changes SELECT * FROM changes",
    "INSERT INTO changes FROM INFILE '{FILE}' FORMAT CSV",
    "INSERT INTO FUNCTION file('{out}') SELECT 1",
    "CREATE TABLE k (a Int8) ENGINE = Kafka('127.0.0.1:1', 'a', 'b', 'CSV')",
    "CREATE VIEW v AS SELECT 1",
    "CREATE FUNCTION f AS x -> x",
    "CREATE TEMPORARY TABLE t (a Int8)",
    "DROP TABLE changes",
    "TRUNCATE TABLE changes",
    "ALTER TABLE changes DELETE WHERE 1",
    "DELETE FROM changes WHERE 1",
    "OPTIMIZE TABLE changes FINAL",
    "ATTACH DATABASE x ENGINE = Filesystem('/etc')",
    "SET readonly = 0",
    "USE system",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    "BACKUP DATABASE tidewatch TO File('{out}')",
    "GRANT ALL ON *.* TO default",
    "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:1', 'a', 'b', 'c', 'd') COLUMNS (a Int8)",
    "",
    " ; ",
    "SELECT '" + "x" * MAX_QUERY_BYTES + "'",
]


@pytest.mark.parametrize("statement", ATTACKS, ids=[attack[:70] for attack in ATTACKS])
def test_statements_that_are_refused(reader: StoreReader, tmp_path: Path, statement: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(QueryRefused):
        reader.query(statement.replace("{out}", str(out)).replace("{FILE}", FILE))
    assert not out.exists()
    assert rows(reader, "SELECT count() FROM changes FINAL") == [[10]]


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("SELECT 1; DROP TABLE changes", "SYNTAX_ERROR"),
        ("SELEC 1", "SYNTAX_ERROR"),
        ("SELECT 1) INTO OUTFILE '/srv/x' --", "SYNTAX_ERROR"),
        ("SELECT nothing FROM changes", "UNKNOWN_IDENTIFIER"),
        ("SELECT * FROM nothing", "UNKNOWN_TABLE"),
        ("SELECT count() FROM numbers(1000000000000)", "TIMEOUT_EXCEEDED"),
        ("SELECT * FROM numbers(1000000)", "TOO_MANY_ROWS_OR_BYTES"),
        ("SELECT groupArray(number) FROM numbers(1000000000)", "MEMORY_LIMIT_EXCEEDED|TIMEOUT_EXCEEDED"),
        ("SELECT 1 SETTINGS max_execution_time = 0", "READONLY"),
    ],
)
def test_statements_that_the_engine_refuses(reader: StoreReader, statement: str, name: str) -> None:
    with pytest.raises(ClickHouseError, match=name):
        reader.query(statement)
    assert rows(reader, "SELECT count() FROM changes FINAL") == [[10]], "the next answer must be its own"


def test_without_the_guard_the_connection_still_cannot_write(reader: StoreReader) -> None:
    """Two locks: the engine's own is tried alone here."""
    for statement in ("DROP TABLE changes", "CREATE TABLE t (a Int8) ENGINE = Memory", "SET readonly = 0"):
        with pytest.raises(ClickHouseError, match="READONLY"):
            reader._run(statement, {}, None)
