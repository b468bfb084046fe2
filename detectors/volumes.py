"""How much traffic each segment had lately, for shares of one segment in another."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Columns, Floats, Ints, State

_HALF_LIFE_MS: Final = 3_600_000.0
_LEAST_MS: Final = 60_000.0
"""Of a shorter time nobody can tell a rate."""


class Volumes:
    """Interactions of every row, exponentially fading in event time."""

    def __init__(self) -> None:
        self._state = Columns(events=(np.float64, 0.0), at_ms=(np.int64, 0))

    def grow(self, size: int) -> None:
        self._state.grow(size)

    def reset(self, rows: Ints) -> None:
        self._state.reset(rows)

    def add(self, rows: Ints, events: NDArray[np.int64], now_ms: int) -> None:
        """Interactions of some rows in the window that ends now."""
        events_then, at_ms = self._state["events"], self._state["at_ms"]
        events_then[rows] = events_then[rows] * 0.5 ** ((now_ms - at_ms[rows]) / _HALF_LIFE_MS) + events
        at_ms[rows] = now_ms

    def recent(self, row: int, now_ms: int) -> float:
        """What is left of a row's interactions now."""
        return float(self.recent_of(np.array([row], np.int64), now_ms)[0])

    def recent_of(self, rows: Ints, now_ms: int) -> Floats:
        """The same of some rows."""
        gone_ms = now_ms - self._state["at_ms"][rows]
        left: Floats = self._state["events"][rows] * 0.5 ** (gone_ms / _HALF_LIFE_MS)
        return left

    def rate(self, row: int, since_ms: int, now_ms: int) -> float:
        """Interactions a second of a row that was there since a time (that of its first window's end)."""
        whole_ms = _HALF_LIFE_MS / math.log(2.0)
        watched_ms = whole_ms * (1.0 - 0.5 ** ((now_ms - since_ms) / _HALF_LIFE_MS))
        a_second: float = self.recent(row, now_ms) / max(watched_ms, _LEAST_MS) * 1000.0
        return a_second

    def to_state(self) -> State:
        return self._state.to_state()

    def from_state(self, state: State) -> None:
        self._state.from_state(state)
