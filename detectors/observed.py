"""How many observations every signal of every segment has lately had, for what a sampled signal can show.

    seen    = sum of n_i 2^-(age_i / H)          observations, fading with half-life H = 1 day
    watched = integral of 2^-(age / H)           the time that they came from, fading alike

so seen / watched is their rate from the first window on, and a day counts as a day however young the segment is.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Columns, Floats, Grid, Ints, State

HOUR_MS: Final = 3_600_000
_HALF_LIFE_MS: Final = 86_400_000.0
_WHOLE_MS: Final = _HALF_LIFE_MS / math.log(2.0)
"""What ``watched`` tends to."""


class Observed:
    """Observations of all rows; ``signals`` is the number of signal columns."""

    def __init__(self, signals: int) -> None:
        self._seen = Grid(signals)
        self._rows = Columns(watched_ms=(np.float64, 0.0), at_ms=(np.int64, -1))

    def grow(self, rows: int) -> None:
        self._seen.grow(rows)
        self._rows.grow(rows)

    def reset(self, rows: Ints) -> None:
        self._seen.reset(rows)
        self._rows.reset(rows)

    def add(self, rows: Ints, counts: NDArray[np.int64], start_ms: int, end_ms: int) -> None:
        """Observations ``counts`` [rows, signals] of some rows in one window; windows come in order of time."""
        at_ms = self._rows["at_ms"][rows]
        kept = 0.5 ** ((end_ms - np.where(at_ms < 0, start_ms, at_ms)) / _HALF_LIFE_MS)
        self._seen.rows[rows] = self._seen.rows[rows] * kept[:, None] + counts
        self._rows["watched_ms"][rows] = self._rows["watched_ms"][rows] * kept + _WHOLE_MS * (1.0 - kept)
        self._rows["at_ms"][rows] = end_ms

    def per_hour(self, row: Ints, column: Ints, now_ms: int) -> Floats:
        """Observations an hour of some series, averaged over the last day or so; 0 for a row never seen."""
        at_ms = self._rows["at_ms"][row]
        kept = np.where(at_ms < 0, 0.0, 0.5 ** ((now_ms - at_ms) / _HALF_LIFE_MS))
        watched_ms = self._rows["watched_ms"][row] * kept + _WHOLE_MS * (1.0 - kept)
        result: Floats = self._seen.rows[row, column] * kept / watched_ms * HOUR_MS
        return result

    def known_share(self, row: int, column: int, of: int) -> float:
        """Observations of one signal for each of another signal, of one row; 0 for a row never seen."""
        whole = float(self._seen.rows[row, of])
        return float(self._seen.rows[row, column]) / whole if whole > 0.0 else 0.0

    def share(self, row: int, other: int, column: int, now_ms: int) -> float:
        """Observations of one signal in a row over those in another; 0 where there are none."""
        mine, theirs = (
            float(self._seen.rows[r, column])
            * 0.5 ** ((now_ms - int(self._rows["at_ms"][r])) / _HALF_LIFE_MS)
            for r in (row, other)
        )
        return mine / theirs if theirs > 0.0 else 0.0

    def to_state(self) -> State:
        return {"seen": self._seen.to_state(), "rows": self._rows.to_state()}

    def from_state(self, state: State) -> None:
        self._seen.from_state(state["seen"])
        self._rows.from_state(state["rows"])
