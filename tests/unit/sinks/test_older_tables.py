"""Tables that an older version made: written to and read by this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinks.clickhouse import ClickHouseSink, connect
from sinks.clickhouse_config import ClickHouseConfig
from sinks.clickhouse_schema import SchemaMismatch, create_missing
from sinks.embedded import Ownership
from sinks.tables import SCHEMA_VERSION, TABLES
from tests.support.make_fixtures import FIXTURES
from tests.support.rows import sample_batch


def make_older(config: ClickHouseConfig, ddl: str) -> None:
    """The store as the older version left it, with one row."""
    with Ownership(config.path, "the older version"):
        client = connect(config)
        client.command("CREATE DATABASE tidewatch")
        for statement in filter(str.strip, ddl.split(";\n")):
            client.command(statement)
        client.command("INSERT INTO tidewatch.tidewatch_meta SELECT 'schema_version', '1'")
        client.command("INSERT INTO tidewatch.changes (change_id, kind) SELECT 'old', 'deploy'")
        client.close()


def alter_as_told(config: ClickHouseConfig, folder: Path) -> None:
    """What docs/upgrades.md asks the user to do: run the statements that the refusal names."""
    with Ownership(config.at(folder).path, "the user"):
        client = connect(config.at(folder))
        with pytest.raises(SchemaMismatch, match="older form") as refused:
            create_missing(client, "tidewatch")
        for statement in str(refused.value).split("Run: ")[1].split("; "):
            client.command(statement)
        create_missing(client, "tidewatch")
        client.close()


@pytest.mark.parametrize("version", sorted(path.name for path in FIXTURES.iterdir()))
async def test_the_tables_of_an_older_version_are_used(tmp_path: Path, version: str) -> None:
    config = ClickHouseConfig()
    make_older(config.at(tmp_path), (FIXTURES / version / "tables.sql").read_text("utf-8"))
    alter_as_told(config, tmp_path)
    sink = ClickHouseSink(config, tmp_path)
    await sink.healthcheck()
    for name in TABLES:
        await sink.write(sample_batch(name, 3))
    counts = await sink._run(
        lambda: {
            name: sink._connected().command(f"SELECT count() FROM tidewatch.{name}")  # noqa: S608
            for name in TABLES
        }
    )
    assert counts == {name: 4 if name == "changes" else 3 for name in TABLES}
    found = await sink._run(
        lambda: sink._connected().command("SELECT max(toUInt32(value)) FROM tidewatch.tidewatch_meta")
    )
    assert found == 1 <= SCHEMA_VERSION
    await sink.close()
