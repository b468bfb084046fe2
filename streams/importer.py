"""Foreign logs become events: rows of CSV, JSON lines or Parquet through a list of mappings.

Every event that comes out has been through the decoder, so what an import accepts the pipeline accepts.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import orjson

from detectors.records import stable_id
from streams.decode import BadRecord, decode_chunk
from streams.events import Stream
from streams.files import UnreadableFile, read_lines, read_rows, read_text
from streams.mapping import STARTED_AT, Clock, Mapping, MappingError, Unconvertible, convert
from streams.redact import redact_text

Format = Literal["csv", "jsonl", "parquet"]
Row = dict[str, Any]
MAX_CELL_CHARS: Final = 1 << 24
_SHOWN_CHARS: Final = 40


class Problem(NamedTuple):
    """One cell (or row) that could not be used."""

    path: Path
    row: int
    """From 1; the header of a CSV file does not count."""
    column: str
    got: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}, row {self.row}, column {self.column}: got {self.got}, expected {self.expected}"


class SourceRow(NamedTuple):
    """One row of a foreign file."""

    path: Path
    number: int
    cells: Row
    position_bytes: int
    complete: bool
    """``cells`` has every column of the file, empty or not."""


@dataclass
class Plan:
    """What an import does with each row.

    ``start_ms`` makes numeric times relative to it; ``interval_ms`` replaces times: row i of the import is at
    ``start_ms + i * interval_ms``. Raises ``MappingError`` when the fields that every record needs are missing.
    """

    stream: Stream
    mappings: Sequence[Mapping]
    constants: dict[str, Any] = field(default_factory=dict)
    start_ms: int | None = None
    interval_ms: float | None = None

    def __post_init__(self) -> None:
        given = {mapping.target.name for mapping in self.mappings} | self.constants.keys()
        timed = {"occurred_at", STARTED_AT} & given
        if self.interval_ms is not None:
            if self.start_ms is None or timed:
                raise MappingError(
                    "--interval-secs needs --start, and no mapped time: it makes the times itself"
                )
        elif not timed:
            raise MappingError(
                "the time is missing: --map occurred_at=COLUMN, or --start with --interval-secs"
            )
        needed = {
            "interaction": ("model_requested", "operation"),
            "feedback": ("event_id", "trace_id"),
            "change": ("kind",),
        }[self.stream]
        if not given & set(needed):
            raise MappingError(f"{' or '.join(needed)} is missing: --map it from a column or --set it")


@dataclass
class Summary:
    """What an import did."""

    rows: int = 0
    written: int = 0
    bad: int = 0
    assumed_utc: int = 0
    """Times without a zone, read as UTC."""
    out_of_order: int = 0
    """Events earlier than the one before: sort them before a replay."""
    empty_columns: list[str] = field(default_factory=list)
    """Mapped columns in which no row had a value."""
    first_ms: int | None = None
    last_ms: int | None = None


def read_source(paths: Iterable[Path], form: Format, delimiter: str = ",") -> Iterator[SourceRow]:
    """The rows of foreign files. Raises ``UnreadableFile``."""
    done_bytes = 0
    for path in paths:
        reader = {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}[form]
        for number, cells, position in reader(path, delimiter):
            yield SourceRow(path, number, cells, done_bytes + position, form == "csv")
        done_bytes += path.stat().st_size


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, Row, int]]:
    csv.field_size_limit(MAX_CELL_CHARS)
    position = 0

    def lines() -> Iterator[str]:
        nonlocal position
        for number, data, position in read_text(path):  # noqa: B007 - read by the caller
            try:
                yield data.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UnreadableFile(
                    f"{path}, line {number}: not UTF-8 ({error.reason}): convert it first"
                ) from None

    rows = csv.reader(lines(), delimiter=delimiter)
    try:
        header = next(rows, [])
        for number, cells in enumerate((row for row in rows if row), start=1):
            yield number, dict(itertools.zip_longest(header, cells[: len(header)])), position
    except csv.Error as error:
        raise UnreadableFile(f"{path}, line {rows.line_num}: not readable as CSV ({error})") from None


def _jsonl_rows(path: Path, _: str) -> Iterator[tuple[int, Row, int]]:
    for number, data, position in read_lines(path):
        try:
            cells = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise UnreadableFile(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(cells, dict):
            raise UnreadableFile(f"{path}, line {number}: expected one JSON object a line")
        yield number, cells, position


def _parquet_rows(path: Path, _: str) -> Iterator[tuple[int, Row, int]]:
    return read_rows(path)


def cell(cells: Row, column: str) -> Any:
    """A column by its name; ``a.b`` is field b of object a where no column has that whole name."""
    if column in cells:
        return cells[column]
    value: Any = cells
    for part in column.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


class Importer:
    """Turns rows into encoded events, one after another."""

    def __init__(self, plan: Plan, *, now_ms: int) -> None:
        self._plan = plan
        self._now_ms = now_ms
        self._clock = Clock(plan.start_ms)
        self._columns = {mapping.target.name: mapping.column for mapping in plan.mappings}
        self.summary = Summary(empty_columns=sorted(set(self._columns.values())))

    def convert(self, row: SourceRow) -> bytes | list[Problem]:
        """The event of a row as JSON, or everything that is wrong with it."""
        index = self.summary.rows
        if index == 0:
            self._check_header(row)
        self.summary.rows += 1
        made, problems = self._fields(row, index)
        if not problems:
            value = orjson.dumps(made)
            chunk = decode_chunk(self._plan.stream, [_Value(value)], self._now_ms)
            problems = [self._refused(row, bad) for _, bad in chunk.bad]
        self.summary.assumed_utc = self._clock.assumed_utc
        if problems:
            self.summary.bad += 1
            return problems
        self._note(made["occurred_at"])
        if self._plan.stream == "feedback":
            made = {"kind": "feedback"} | made
        return orjson.dumps(made)

    def _check_header(self, row: SourceRow) -> None:
        """The rows of a CSV file have all columns: a missing one is misspelt. Raises ``MappingError``."""
        if not row.complete:
            return
        for column in self.summary.empty_columns:
            if column not in row.cells:
                present = ", ".join(map(repr, row.cells))
                raise MappingError(f"{row.path} has no column {column!r}; its columns are {present}")

    def _fields(self, row: SourceRow, index: int) -> tuple[Row, list[Problem]]:
        plan = self._plan
        made: Row = {}
        attributes: Row = dict(plan.constants.get("attributes", {}))
        problems = []
        for mapping in plan.mappings:
            value = cell(row.cells, mapping.column)
            try:
                converted = convert(value, mapping, self._clock)
            except Unconvertible as error:
                problems.append(Problem(row.path, row.number, mapping.column, _shown(value), str(error)))
                continue
            if mapping.column in self.summary.empty_columns and value not in (None, ""):
                self.summary.empty_columns.remove(mapping.column)
            if converted is None:
                continue
            name = mapping.target.name
            if name.startswith("attributes."):
                attributes[name.removeprefix("attributes.")] = converted
            else:
                made[name] = converted
        for name, constant in plan.constants.items():
            made.setdefault(name, constant)
        if attributes:
            made["attributes"] = attributes
        self._set_time(made, index)
        id_field = {"interaction": "event_id", "feedback": "feedback_id", "change": "change_id"}[plan.stream]
        if made.get(id_field) is None:
            # From content and place, not from a file's name: the same import again gives the same ids.
            made[id_field] = stable_id(index, orjson.dumps(made, option=orjson.OPT_SORT_KEYS).decode())
        return made, problems

    def _set_time(self, made: Row, index: int) -> None:
        if self._plan.interval_ms is not None and self._plan.start_ms is not None:
            made["occurred_at"] = self._plan.start_ms + round(index * self._plan.interval_ms)
        started_at = made.pop(STARTED_AT, None)
        if started_at is not None and "occurred_at" not in made:
            made["occurred_at"] = started_at + round(made.get("duration_ms", 0.0))

    def _refused(self, row: SourceRow, bad: BadRecord) -> Problem:
        name = bad.path.removeprefix("$.")
        column = self._columns.get(
            name, self._columns.get(STARTED_AT, name) if name == "occurred_at" else name
        )
        value = cell(row.cells, column)
        return Problem(
            row.path,
            row.number,
            column,
            _shown(value),
            f"{bad.detail.removeprefix('Expected ')} ({bad.reason})",
        )

    def _note(self, at_ms: int) -> None:
        summary = self.summary
        summary.written += 1
        if summary.last_ms is not None and at_ms < summary.last_ms:
            summary.out_of_order += 1
        summary.first_ms = at_ms if summary.first_ms is None else min(at_ms, summary.first_ms)
        summary.last_ms = at_ms if summary.last_ms is None else max(at_ms, summary.last_ms)


class _Value(NamedTuple):
    value: bytes | None


def _shown(value: object) -> str:
    """A cell as a message may show it: short, on one line, without personal data."""
    if value is None:
        return "nothing"
    text = redact_text(str(value))
    text = "".join(char if char.isprintable() else " " for char in text)
    return repr(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…")
