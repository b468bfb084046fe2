"""Reads a time series from CSV: every data line becomes a row, whatever is wrong with it, and says what that is."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from detectors.series.detector import Kind

_NOTHING: Final = frozenset({"", "nan", "null", "none", "na", "n/a"})
_LATEST_SECS: Final = 1e11
"""Epoch numbers beyond are milliseconds: as seconds they would be after the year 5000."""


class BadSeries(Exception):
    """The file is no time series at all; the text says what, expected what, and what to do."""


class Row(NamedTuple):
    """One data line. ``value`` is None where there is none to learn from; ``problem`` says why, if it is a
    mistake.
    """

    timestamp: str
    text: str
    at_secs: float
    value: float | None
    weight: float
    problem: str | None


class Header(NamedTuple):
    """Where the columns are."""

    timestamp: int
    value: int
    weight: int | None


def read_header(path: Path, file: TextIO) -> tuple[Header, Iterator[list[str]]]:
    """The columns of a file and its data lines.

    Raises:
        BadSeries: empty file, no header, or a header without timestamp and value.
    """
    lines = csv.reader(file)
    first = next(lines, None)
    if first is None:
        raise BadSeries(f"{path}: the file is empty; expected a header timestamp,value[,n] and rows below it")
    names = [name.strip().lower() for name in first]
    for name in ("timestamp", "value"):
        if names.count(name) != 1:
            raise BadSeries(
                f"{path}: line 1: got {','.join(first)[:80]!r}; expected a header with one column {name} "
                "(timestamp,value[,n]). Add or rename it and run again"
            )
    weight = names.index("n") if "n" in names else None
    return Header(names.index("timestamp"), names.index("value"), weight), lines


def read_rows(header: Header, lines: Iterator[list[str]], kind: Kind) -> Iterator[Row]:
    """The data lines in their order; blank lines are none.

    Time out of order is reported and the value is used: one wrong clock must not silence what follows.
    """
    last_secs = -math.inf
    while True:
        try:
            cells = next(lines, None)
        except csv.Error as error:
            yield Row("", "", _known(last_secs), None, 1.0, f"not CSV ({error}); quote the cell")
            continue
        if cells is None:
            return
        if not cells:
            continue
        timestamp, text, weight_text = _cells(cells, header)
        value, weight, problem = _value(text, weight_text, kind)
        try:
            at_secs = parse_time(timestamp)
        except ValueError:
            problem = problem or (
                f"timestamp: got {timestamp[:40]!r}; expected ISO 8601 or epoch seconds or milliseconds"
            )
            at_secs = _known(last_secs)
        else:
            if at_secs <= last_secs and not problem:
                what = "repeated" if at_secs == last_secs else "earlier than the row before"
                problem = f"timestamp: got {timestamp!r}, {what}; expected increasing time; the value is used"
            last_secs = at_secs
        yield Row(timestamp, text, at_secs, value, weight, problem)


def parse_time(text: str) -> float:
    """Epoch seconds of ISO 8601 (UTC where no zone is given), or of epoch seconds or milliseconds.

    Raises:
        ValueError: it is none of these.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(number):
        raise ValueError("not a moment")
    return number / 1_000.0 if abs(number) > _LATEST_SECS else number


def _known(last_secs: float) -> float:
    return last_secs if math.isfinite(last_secs) else 0.0


def _cells(cells: list[str], header: Header) -> tuple[str, str, str | None]:
    def cell(index: int) -> str:
        return cells[index] if index < len(cells) else ""

    return cell(header.timestamp), cell(header.value), None if header.weight is None else cell(header.weight)


def _value(text: str, weight_text: str | None, kind: Kind) -> tuple[float | None, float, str | None]:
    """Value and weight, and what is wrong with them."""
    if text.strip().lower() in _NOTHING:
        return None, 1.0, None
    value, expected = _number(text), _EXPECTED[kind]
    if value is None or not _possible(value, kind):
        return None, 1.0, f"value: got {text[:40]!r}; expected {expected}, or nothing for a gap"
    if weight_text is None:
        return value, 1.0, None
    weight = _number(weight_text)
    if weight is None or weight < 0.0:
        return None, 1.0, f"n: got {weight_text[:40]!r}; expected a number above 0, or 0 for a gap"
    return (value, weight, None) if weight > 0.0 else (None, 1.0, None)


_EXPECTED: Final[dict[Kind, str]] = {
    "mean": "a finite number",
    "ratio": "a number from 0 to 1",
    "count": "a whole number, 0 or more",
    "rate": "a finite number, 0 or more",
}


def _possible(value: float, kind: Kind) -> bool:
    if kind == "ratio":
        return 0.0 <= value <= 1.0
    if kind == "count":
        return value >= 0.0 and value.is_integer()
    return kind == "mean" or value >= 0.0


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
