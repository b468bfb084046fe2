"""Draws what was found in a series: values, the band where they were expected, alarms and onsets, and the score."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from streams.series.reading import parse_time

_WIDTH_INCHES: Final = 12.0
_HEIGHT_INCHES: Final = 5.0
_MAX_POINTS: Final = 20_000
"""A longer series is drawn in every n-th row, and in all rows with an alarm."""


def draw(verdicts: Path, picture: Path) -> None:
    """Draw the file that ``tidewatch series`` wrote; the suffix of ``picture`` says whether as PNG or SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    table = _read(verdicts)
    figure = Figure(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    times = table["time"]
    above.fill_between(
        times, table["lower"], table["upper"], color="tab:blue", alpha=0.2, lw=0, label="expected band"
    )
    above.plot(times, table["value"], color="black", lw=0.7, label="value")
    for number, (at, onset) in enumerate(table["alarms"]):
        above.axvspan(
            onset, at, color="tab:red", alpha=0.25, lw=0, label=None if number else "onset to alarm"
        )
        above.axvline(at, color="tab:red", lw=1.0, label=None if number else "alarm")
    above.set_title(verdicts.stem)
    above.legend(loc="upper left", fontsize="small")
    below.plot(times, table["score"], color="tab:purple", lw=0.7)
    below.axhline(0.5, color="grey", lw=0.5)
    below.set_ylim(0.0, 1.05)
    below.set_ylabel("score")
    figure.savefig(picture, dpi=100)


def _read(verdicts: Path) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {
        name: [] for name in ("time", "value", "score", "lower", "upper", "alarms")
    }
    with verdicts.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    step = max(1, len(rows) // _MAX_POINTS)
    for number, row in enumerate(rows):
        moment = _moment(row["timestamp"])
        if moment is None:
            continue
        if row["alarm"] == "1":
            table["alarms"].append((moment, _moment(row["change_point"]) or moment))
        elif number % step:
            continue
        table["time"].append(moment)
        for name in ("value", "score", "lower", "upper"):
            table[name].append(_drawable(row[name]))
    return table


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(parse_time(text), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _drawable(text: str) -> float:
    """NaN leaves a gap; beyond 1e300 the axis itself overflows."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if abs(value) < 1e300 else math.nan
