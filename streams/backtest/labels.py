"""The user's own labels: a CSV file of incidents that really happened, or the truth of a simulation."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

from detectors.records import IncidentType, Origin, Severity
from streams.backtest.overlap import plain
from streams.backtest.scoring import Label
from streams.backtest.truths import label_of
from streams.config import INTERACTION_DIMENSIONS
from streams.simulate.truth_file import read_truths

REQUIRED: Final = ("start", "end")
OPTIONAL: Final = ("id", "segment", "type", "severity", "origin", "target_events")
_SECONDS_BELOW: Final = 100_000_000_000
"""A number below this is epoch seconds, above it milliseconds."""


class BadLabels(ValueError):
    """The file is not usable; ``problems`` has every one of its lines that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_labels(path: Path) -> list[Label]:
    """The labels of a file, by start.

    Raises:
        BadLabels: with every problem: line, column, what was got and what is expected.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadLabels([f"{path}: {error}; expected a readable CSV file in UTF-8"]) from None
    labels = _of_truth(path, text) if text.lstrip().startswith("{") else _of_table(path, text)
    return sorted(labels, key=lambda label: (label.start_ms, label.id))


def _of_truth(path: Path, text: str) -> list[Label]:
    try:
        return [label_of(truth) for truth in read_truths(text)]
    except ValueError as error:
        raise BadLabels(
            [f"{path}: got {error}; expected a CSV file, or what `tidewatch simulate --truth` writes"]
        ) from None


def _of_table(path: Path, text: str) -> list[Label]:
    rows = csv.DictReader(text.splitlines())
    names = [name.strip() for name in rows.fieldnames or ()]
    rows.fieldnames = names
    problems = [
        f"{path}:1: no column {name!r}; the header is {','.join(names)!r}"
        for name in REQUIRED
        if name not in names
    ]
    problems += [
        f"{path}:1: got a column {name!r}; expected some of {', '.join((*REQUIRED, *OPTIONAL))}"
        for name in names
        if name not in (*REQUIRED, *OPTIONAL)
    ]
    if problems:
        raise BadLabels(problems)
    labels: list[Label] = []
    for row in rows:
        try:
            labels.append(
                _label({k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}, len(labels) + 1)
            )
        except ValueError as error:
            problems.append(f"{path}:{rows.line_num}: {error}")
    if not labels and not problems:
        problems.append(f"{path}: no rows; expected one for each incident")
    if problems:
        raise BadLabels(problems)
    return labels


def _label(row: dict[str, str], number: int) -> Label:
    start_ms, end_ms = _time_ms("start", row["start"]), _time_ms("end", row["end"])
    if end_ms <= start_ms:
        raise ValueError(f"end: got {row['end']!r}; expected a time after the start {row['start']!r}")
    target = row.get("target_events", "")
    if target and not target.isdecimal():
        raise ValueError(f"target_events: got {target!r}; expected a whole number of events, or nothing")
    return Label(
        id=row.get("id") or str(number),
        start_ms=start_ms,
        end_ms=end_ms,
        segment=_segment(row.get("segment", "")),
        type=_one_of("type", row.get("type", ""), get_args(IncidentType)),
        severity=_one_of("severity", row.get("severity", ""), tuple(severity.label for severity in Severity)),
        origin=_one_of("origin", row.get("origin", ""), get_args(Origin)),
        target_events=int(target) if target else None,
    )


def _time_ms(name: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = None
    try:
        if number is not None:
            return round(number * 1000 if abs(number) < _SECONDS_BELOW else number)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{name}: got {text!r}; expected ISO 8601 (UTC where no zone is given), epoch seconds or milliseconds"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _segment(text: str) -> dict[str, str]:
    if text in ("", "all"):
        return {}
    return plain(dict(_parts(text)))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(";" if ";" in text else ","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        known = name == "model" or name in INTERACTION_DIMENSIONS or name.startswith("attributes.")
        if not (equals and value and known):
            raise ValueError(
                f"segment: got {text!r}; expected all, or dimension=value pairs such as provider=openai;model=gpt-x"
            )
        yield name, value


def _one_of(name: str, text: str, known: tuple[str, ...]) -> str:
    if text and text not in known:
        raise ValueError(f"{name}: got {text!r}; expected nothing, or one of {', '.join(known)}")
    return text
