"""Valid rows of every table, for tests of sinks."""

from __future__ import annotations

from typing import Any, Final

from sinks.base import Batch
from sinks.tables import TABLES, Column

START_MS: Final = 1_790_000_000_000


def sample_batch(table: str, rows: int, *, first: int = 0, **changed: Any) -> Batch:
    """``rows`` rows numbered from ``first``; ``changed`` replaces a column's value in all of them."""
    columns = TABLES[table].columns
    data = [
        tuple(changed.get(column.name, _value(column, number)) for column in columns)
        for number in range(first, first + rows)
    ]
    return Batch.of_rows(table, TABLES[table].column_names, data)


def with_value(batch: Batch, column: str, index: int, value: object) -> Batch:
    """The batch with one cell replaced."""
    at = batch.columns.index(column)
    cells = list(batch.data[at])
    cells[index] = value
    return Batch(batch.table, batch.columns, (*batch.data[:at], cells, *batch.data[at + 1 :]))


def id_column(table: str) -> str:
    """The column that tells rows of the table apart."""
    return next((name for name in TABLES[table].column_names if name.endswith("_id")), "segment")


def _value(column: Column, number: int) -> Any:
    if column.name.endswith("_id") or column.name == "segment":
        return f"{column.name}-{number}"
    match column.kind:
        case "time":
            return START_MS + 1000 * number
        case "float":
            return number + 0.5
        case "count":
            return number
        case "flag":
            return number % 2 == 0
        case "dims":
            return {"model": "gpt-x"}
        case "counts":
            return {"stop": number}
        case "list":
            return ["a", f"b{number}"]
        case _:
            return f"{column.name} of it"
