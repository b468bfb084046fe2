"""deploy/clickhouse-grants.sql: ClickHouse parses it; it names just the tables and rights that the code uses.

The embedded engine knows no users, so that a server's refusals are not tested here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from sinks.tables import META_TABLE, TABLES

FILE = Path(__file__).resolve().parents[3] / "deploy" / "clickhouse-grants.sql"
_GRANT = re.compile(r"GRANT (?P<rights>.+) ON (?P<where>\S+) TO (?P<user>\w+)")


def statements() -> list[str]:
    text = re.sub(r"^--.*\n", "", FILE.read_text("utf-8"), flags=re.MULTILINE)
    return [" ".join(part.split()) for part in text.split(";") if part.strip()]


def rights() -> dict[str, dict[str, set[str]]]:
    """User -> what -> rights on it."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for statement in statements():
        if (match := _GRANT.fullmatch(statement)) is not None:
            found[match["user"]][match["where"]] |= set(match["rights"].split(", "))
    return found


@pytest.fixture(scope="module")
def formatted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The statements as ClickHouse's own parser understands them."""
    import chdb

    engine = chdb.connect(str(tmp_path_factory.mktemp("grants")))
    try:
        return [
            engine.query("SELECT formatQuerySingleLine({q:String})", "TSVRaw", params={"q": statement})
            .bytes()
            .decode()
            .strip()
            for statement in statements()
        ]
    finally:
        engine.close()


def test_clickhouse_parses_every_statement(formatted: list[str]) -> None:
    assert len(formatted) == len(statements())
    kinds = {statement.split(" ", 1)[0] for statement in formatted}
    assert kinds == {"CREATE", "GRANT"}


def test_ingest_may_insert_into_our_tables_and_nothing_else() -> None:
    ingest = rights()["tidewatch_ingest"]
    tables = {where.removeprefix("tidewatch.") for where, what in ingest.items() if "INSERT" in what}
    assert tables == set(TABLES)
    assert all(ingest[f"tidewatch.{table}"] == {"INSERT"} for table in TABLES)
    others = {where: what for where, what in ingest.items() if where.removeprefix("tidewatch.") not in TABLES}
    assert others == {
        f"tidewatch.{META_TABLE}": {"SELECT"},
        "tidewatch.*": {"SHOW TABLES", "SHOW COLUMNS"},
    }


def test_reader_may_read_our_tables_and_nothing_else() -> None:
    reader = rights()["tidewatch_reader"]
    assert reader == {f"tidewatch.{table}": {"SELECT"} for table in TABLES} | {
        "system.table_functions": {"SELECT"}
    }


def test_only_admin_may_change_tables() -> None:
    changing = {"ALTER", "CREATE TABLE", "DROP TABLE", "OPTIMIZE"}
    holders = {user for user, where in rights().items() if set.union(*where.values()) & changing}
    assert holders == {"tidewatch_admin"}
    assert set(rights()["tidewatch_admin"]) == {"tidewatch.*"}
