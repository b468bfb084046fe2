"""The tables as data are consistent, and docs/tables.md shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sinks.tables import TABLES, Table, reference

DOCS = Path(__file__).resolve().parents[3] / "docs" / "tables.md"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_keys_are_columns_that_are_always_there(table: Table) -> None:
    columns = {column.name: column for column in table.columns}
    assert len(columns) == len(table.columns), "a column is there twice"
    for expression in (*table.order_by, table.partition_by):
        name = re.sub(r"\w+\((\w+)\)", r"\1", expression)
        assert not columns[name].nullable, f"{name} may be NULL"
    assert columns[table.partition_by].kind == "time"
    if table.version is not None:
        assert columns[table.version].kind == "count"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_key_ends_with_the_id(table: Table) -> None:
    assert table.order_by[-1].endswith(("_id", "window_start"))


def test_docs_are_fresh() -> None:
    text = DOCS.read_text(encoding="utf-8")
    shown = text.partition("<!-- generated: tables -->\n")[2].partition("<!-- end -->")[0]
    assert shown == reference(), "docs/tables.md is stale: paste sinks.tables.reference() between its markers"
