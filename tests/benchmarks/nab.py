"""The scoring formula of the Numenta Anomaly Benchmark, and its files.

Each detection is a row whose score reaches the threshold; those of the first 15 % of a file (at most 750 rows) do
not count. Of the detections in a labelled window the best counts, scaled sigmoid(position) of 1 at its left end; a
miss costs ``miss``. A detection outside costs ``false`` times a sigmoid of its distance from the window before. The
sum is scaled so that 0 is a detector that finds nothing and 100 a perfect one.

Source: A. Lavin, S. Ahmad, Evaluating real-time anomaly detection algorithms (2015), arXiv:1510.03336.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple


class Profile(NamedTuple):
    """What a false detection and a missed window cost, in units of a window found at once."""

    false: float
    miss: float


PROFILES: Final = {"standard": Profile(0.11, 1.0), "low FP": Profile(0.22, 1.0), "low FN": Profile(0.11, 2.0)}
PROBATION_SHARE: Final = 0.15
PROBATION_MAX_ROWS: Final = 750


class Series(NamedTuple):
    """``windows``: first and last row of each labelled anomaly."""

    at_secs: list[float]
    values: list[float]
    windows: list[tuple[int, int]]


class Detection(NamedTuple):
    """``window``: (file, number), or None for a false one. ``worth``: -1 to 1."""

    score: float
    window: tuple[str, int] | None
    worth: float


def read_series(folder: Path) -> dict[str, Series]:
    """All labelled files of a folder laid out like the benchmark's."""
    labels = json.loads((folder / "labels_windows.json").read_text("utf-8"))
    found = {}
    for name in sorted(labels):
        with (folder / "data" / name).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        times = [_secs(row[0]) for row in rows]
        windows = []
        for begin, end in labels[name]:
            inside = [row for row, at in enumerate(times) if _secs(begin) <= at <= _secs(end)]
            windows.append((inside[0], inside[-1]))
        found[name] = Series(times, [float(row[1]) for row in rows], windows)
    return found


def detections(series: Mapping[str, Series], scores: Mapping[str, Sequence[float]]) -> list[Detection]:
    """Every row that scores above 0, the highest first."""
    found = []
    for name, one in series.items():
        if len(scores[name]) != len(one.values):
            raise ValueError(f"{name}: {len(scores[name])} scores for {len(one.values)} rows")
        probation_rows = min(int(PROBATION_SHARE * len(one.values)), PROBATION_MAX_ROWS)
        for row, score in enumerate(scores[name]):
            if score > 0.0 and row >= probation_rows:
                found.append(_detection(name, one.windows, row, score))
    return sorted(found, key=lambda detection: -detection.score)


def points(
    found: Sequence[Detection], windows: int, profile: Profile, threshold: float | None = None
) -> tuple[float, float]:
    """(score, threshold) at ``threshold``, or at the one threshold that scores best."""
    total, credited = -profile.miss * windows, {}
    best = (_scaled(total, windows, profile), math.inf)
    for number, (score, window, worth) in enumerate(found):
        if threshold is not None and score < threshold:
            break
        if window is None:
            total += worth * profile.false
        else:
            before = credited.get(window)
            if before is None:
                total += profile.miss + worth
                credited[window] = worth
            elif worth > before:
                total += worth - before
                credited[window] = worth
        is_last = number + 1 == len(found) or found[number + 1].score != score
        if is_last and threshold is None:
            best = max(best, (_scaled(total, windows, profile), score))
    return best if threshold is None else (_scaled(total, windows, profile), threshold)


def _detection(name: str, windows: Sequence[tuple[int, int]], row: int, score: float) -> Detection:
    before = None
    for number, (first, last) in enumerate(windows):
        if first <= row <= last:
            worth = _sigmoid(-(last - row + 1) / (last - first + 1)) / _sigmoid(-1.0)
            return Detection(score, (name, number), worth)
        if last < row:
            before = (first, last)
    if before is None:
        return Detection(score, None, -1.0)
    return Detection(score, None, _sigmoid((row - before[1]) / max(before[1] - before[0], 1)))


def _scaled(total: float, windows: int, profile: Profile) -> float:
    return 100.0 * (total + profile.miss * windows) / (windows * (1.0 + profile.miss))


def _sigmoid(position: float) -> float:
    return -1.0 if position > 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def _secs(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
