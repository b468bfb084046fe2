"""The tables in a store: create what is missing, refuse what does not fit, never alter what is there."""

from __future__ import annotations

from typing import Any, Final

from sinks.tables import META_TABLE, SCHEMA_VERSION, TABLES, Table, create_meta

_VERSION: Final = "schema_version"


class SchemaMismatch(Exception):
    """The tables in the store are not those that this program writes."""


def create_missing(client: Any, database: str) -> None:
    """Create database and tables that are missing; a user without the right to create needs them in place.

    Raises:
        SchemaMismatch: a newer program made the tables, or a column is missing.
    """
    where = {"database": database}
    if not _rows(client, "SELECT name FROM system.databases WHERE name = {database:String}", where):
        client.command(f"CREATE DATABASE IF NOT EXISTS `{database}`")
    found: dict[str, dict[str, str]] = {}
    for table, column, type_name in _rows(
        client, "SELECT table, name, type FROM system.columns WHERE database = {database:String}", where
    ):
        found.setdefault(table, {})[column] = type_name
    if META_TABLE in found:
        _refuse_newer(client, database)
    unfit: list[str] = []
    for table in TABLES.values():
        if table.name not in found:
            client.command(table.create(database))
            continue
        unfit += _alterations(table, found[table.name], database)
    if unfit:
        raise SchemaMismatch(f"database {database}: got tables of an older form. Run: {'; '.join(unfit)}")
    if META_TABLE not in found:
        client.command(create_meta(database))
        client.command(
            f"INSERT INTO `{database}`.`{META_TABLE}` SELECT {{name:String}}, {{value:String}}",
            parameters={"name": _VERSION, "value": str(SCHEMA_VERSION)},
        )


def _alterations(table: Table, found: dict[str, str], database: str) -> list[str]:
    """The statements that make a table fit."""
    statements = []
    for column in table.columns:
        got = found.get(column.name)
        if got != column.clickhouse_type:
            clause = "ADD COLUMN" if got is None else "MODIFY COLUMN"
            statements.append(
                f"ALTER TABLE `{database}`.`{table.name}` {clause} `{column.name}` {column.clickhouse_type}"
            )
    return statements


def _refuse_newer(client: Any, database: str) -> None:
    rows = _rows(
        client,
        f"SELECT max(toUInt32OrZero(value)) FROM `{database}`.`{META_TABLE}` WHERE name = '{_VERSION}'",  # noqa: S608
        {},
    )
    version = int(rows[0][0])
    if version > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"database {database}: got tables of schema version {version}; expected {SCHEMA_VERSION} or lower. "
            "Use the newer program, or another database"
        )


def _rows(client: Any, query: str, parameters: dict[str, str]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = client.query(query, parameters=parameters).result_rows
    return rows
