"""Batches to Arrow, the form in which rows travel to ClickHouse, and the search for rows that cannot.

Arrow is built and parsed in native code, which is what makes tens of thousands of wide rows a second possible on
one core. A column that does not convert is searched value by value, so one bad row never takes others with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sinks.base import Batch
from sinks.tables import Column, Kind, Table

ARROW_TYPES: Final[dict[Kind, Any]] = {
    "dim": pa.string(),
    "text": pa.string(),
    "time": pa.timestamp("ms", tz="UTC"),
    "float": pa.float64(),
    "count": pa.uint64(),
    "flag": pa.bool_(),
    "dims": pa.map_(pa.string(), pa.string()),
    "counts": pa.map_(pa.string(), pa.uint64()),
    "list": pa.list_(pa.string()),
}
MAX_TIME_MS: Final = 4_102_444_800_000
"""2100-01-01: within what DateTime64(3) can hold, and far beyond any event that is not a defect."""


class Encoded(NamedTuple):
    """The rows that convert, and why each other row does not."""

    table: Any
    """``pyarrow.Table`` of the good rows."""
    indices: Sequence[int]
    """Index in the batch of each good row."""
    refused: dict[int, str]


def encode(table: Table, batch: Batch) -> Encoded:
    """Convert a batch to Arrow columns of ``table``."""
    by_name = {column.name: column for column in table.columns}
    if unknown := [name for name in batch.columns if name not in by_name]:
        raise ValueError(f"{table.name} has no column {unknown[0]!r}")
    columns = [by_name[name] for name in batch.columns]
    arrays, refused = _convert(columns, batch)
    if not refused:
        return Encoded(pa.table(arrays, names=list(batch.columns)), range(batch.rows), {})
    good = [index for index in range(batch.rows) if index not in refused]
    arrays, again = _convert(columns, batch.take(good))
    if again:
        raise AssertionError(f"{table.name}: rows refused after the bad ones were taken out: {again}")
    return Encoded(pa.table(arrays, names=list(batch.columns)), good, refused)


def _convert(columns: Sequence[Column], batch: Batch) -> tuple[list[Any], dict[int, str]]:
    arrays: list[Any] = []
    refused: dict[int, str] = {}
    for column, values in zip(columns, batch.data, strict=True):
        array = _array(column, values)
        if array is None:
            for index, value in enumerate(values):
                if _array(column, (value,)) is None:
                    refused.setdefault(index, _complaint(column, value))
        else:
            arrays.append(array)
    return arrays, refused


def _array(column: Column, values: Sequence[Any]) -> Any:
    """The Arrow array, or ``None`` when a value is not of the column's kind."""
    if column.kind in ("dims", "counts"):
        values = [list(v.items()) if isinstance(v, Mapping) else v for v in values]
    try:
        array = pa.array(values, type=ARROW_TYPES[column.kind])
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    if not column.optional and array.null_count:
        return None
    if column.kind == "time" and len(array) > array.null_count:
        bounds = pc.min_max(array.cast(pa.int64())).as_py()
        if bounds["min"] < 0 or bounds["max"] >= MAX_TIME_MS:
            return None
    return array


def _complaint(column: Column, value: object) -> str:
    """What is wrong, without the value: it may hold text of a prompt."""
    got = "nothing" if value is None else f"{type(value).__name__} that does not fit"
    return f"column {column.name}: got {got}; expected {column.clickhouse_type}"


def stream_bytes(table: Any) -> bytes:
    """The Arrow IPC stream of a ``pyarrow.Table``."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
