"""One file of a time series in, one file of verdicts out."""

from __future__ import annotations

import csv
import os
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

from detectors.series.detector import Kind, SeriesDetector, Verdict
from detectors.series.ranks import REFERENCE_ROWS
from streams.series.reading import BadSeries, read_header, read_rows

COLUMNS: Final = ("timestamp", "value", "score", "alarm", "change_point", "expected", "lower", "upper")
MAX_SHOWN_PROBLEMS: Final = 5
"""Of one file; the count has all of them."""


class Alarm(NamedTuple):
    """Times as the file writes them."""

    timestamp: str
    change_point: str


class Outcome(NamedTuple):
    """What came of one file. ``error``: it could not be used, and no output was written."""

    source: str
    output: str | None
    rows: int
    gaps: int
    alarms: list[Alarm]
    bad_rows: int
    problems: list[str]
    error: str | None


def detect_file(source: Path, output: Path, kind: Kind, arl: float) -> Outcome:
    """Score every row of ``source`` into ``output``, which appears when it is complete."""
    partial = output.with_name(f".{output.name}.partial")
    try:
        outcome = _detect(source, partial, output, kind, arl)
        os.replace(partial, output)
    except BadSeries as error:
        return _unusable(source, str(error))
    except OSError as error:
        return _unusable(source, f"{error.filename or source}: {error.strerror}; expected a CSV file")
    finally:
        partial.unlink(missing_ok=True)
    return outcome


def _unusable(source: Path, error: str) -> Outcome:
    return Outcome(str(source), None, 0, 0, [], 0, [], error)


def _detect(source: Path, partial: Path, output: Path, kind: Kind, arl: float) -> Outcome:
    rows = gaps = bad_rows = 0
    alarms: list[Alarm] = []
    problems: list[str] = []
    times: deque[str] = deque(maxlen=REFERENCE_ROWS + 1)
    with source.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        header, lines = read_header(source, file)
        detector = SeriesDetector(kind, arl, weighted=header.weight is not None)
        with partial.open("w", newline="", encoding="utf-8") as sink:
            writer = csv.writer(sink, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in read_rows(header, lines, kind):
                rows += 1
                verdict = detector.update(row.at_secs, row.value, row.weight)
                change_point = ""
                if row.value is None:
                    gaps += 1
                else:
                    times.append(row.timestamp)
                    if verdict.rows_since_onset:
                        change_point = times[-min(verdict.rows_since_onset, len(times))]
                        alarms.append(Alarm(row.timestamp, change_point))
                if row.problem:
                    bad_rows += 1
                    if bad_rows <= MAX_SHOWN_PROBLEMS:
                        problems.append(f"{source}: row {rows}: {row.problem}")
                writer.writerow((row.timestamp, row.text, *_cells(verdict, change_point)))
    return Outcome(str(source), str(output), rows, gaps, alarms, bad_rows, problems, None)


def _cells(verdict: Verdict, change_point: str) -> tuple[str, ...]:
    band = verdict.band
    edges = ("", "", "") if band is None else tuple(f"{edge:.9g}" for edge in band)
    return (f"{verdict.score:.4f}", "1" if verdict.rows_since_onset else "0", change_point, *edges)
