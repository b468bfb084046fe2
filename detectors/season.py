"""The shape of the week: for every series the mean of each of the 168 hours of the week, over past weeks.

Segments get their table after an hour, so that fleeting ones cost nothing. Within an hour values gather; when the
hour after it has ended as well, its mean joins the slot (weight 1/weeks, at least 1/4, so that four weeks or more
fade). The value at a time is interpolated between the middles of the two nearest hours, and known only when both
are: of earlier weeks, for what begins now must not be compared with itself.

The mean of an hour is itself uncertain, that of a rare event very much so. Hours are therefore shrunk towards the
mean of the whole week by the share of their spread that is more than chance would give (empirical Bayes; Efron and
Morris, Stein's estimation rule and its competitors, JASA 68, 1973): a series without a cycle keeps none.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Columns, Floats, Ints, State

HOUR_MS: Final = 3_600_000
SLOTS: Final = 168
_MIN_AGE_HOURS: Final = 1
_MIN_GAIN: Final = 0.25
_AT_ONCE: Final = 4096
"""Series whose weeks are looked at together, to bound memory."""


_HOUR: Final = ("hour", "weight", "total")


def _hours() -> Columns:
    return Columns(hour=(np.int64, -1), weight=(np.float64, 0.0), total=(np.float64, 0.0))


class Season:
    """Hour-of-week tables of all segments' series."""

    def __init__(self, signals: int) -> None:
        self._signals = signals
        self._rows = Columns(slot=(np.int64, -1), born_hour=(np.int64, -1))
        self._hour, self._before = _hours(), _hours()
        """What gathers for the present hour of each series, and what has for the one before."""
        self._mean: NDArray[np.float32] = np.zeros((0, SLOTS, signals), np.float32)
        self._weeks: NDArray[np.uint8] = np.zeros((0, SLOTS, signals), np.uint8)
        self._whole: NDArray[np.float32] = np.zeros((0, 2, signals), np.float32)
        """Mean of the hours, and how much of their differences from it to believe."""
        self._free: list[int] = []
        self._now: tuple[int, Floats] | None = None
        """The hour whose middle was last, and what is known of it and the next: read more often than written."""

    def grow(self, rows: int) -> None:
        self._rows.grow(rows)
        for hours in (self._hour, self._before):
            hours.grow(rows * self._signals)

    def reset(self, rows: Ints) -> None:
        """Forget whole segments and give their tables back."""
        for row in rows.tolist():
            slot = int(self._rows["slot"][row])
            if slot >= 0:
                self._weeks[slot] = 0
                self._whole[slot] = 0.0
                self._free.append(slot)
        self._now = None
        self._rows.reset(rows)
        series = (rows[:, None] * self._signals + np.arange(self._signals)).ravel()
        for hours in (self._hour, self._before):
            hours.reset(series)

    def at(self, index: Ints, now_ms: int) -> Floats:
        """r(t) of each series, NaN where the hours around now were not seen in an earlier week."""
        first, second = self._hours(index, now_ms)
        share = (now_ms / HOUR_MS - 0.5) % 1.0
        result: Floats = (1.0 - share) * first + share * second
        return result

    def around(self, index: Ints, now_ms: int) -> tuple[Floats, Floats]:
        """The smaller and the larger of the two hours that r(t) lies between, NaN where that is not known."""
        first, second = self._hours(index, now_ms)
        return np.minimum(first, second), np.maximum(first, second)

    def _hours(self, index: Ints, now_ms: int) -> tuple[Floats, Floats]:
        """Of each series the hours of the week whose middles are around now; both NaN if one is not known."""
        result = np.full((2, len(index)), np.nan)
        slot = self._rows["slot"][index // self._signals]
        has = np.flatnonzero(slot >= 0)
        if len(has):
            result[:, has] = self._around(now_ms)[:, slot[has], index[has] % self._signals]
        return result[0], result[1]

    def _around(self, now_ms: int) -> Floats:
        """The same of all tables, [hour, table, signal]."""
        before = int(np.floor(now_ms / HOUR_MS - 0.5))
        if self._now is None or self._now[0] != before:
            slots = [before % SLOTS, (before + 1) % SLOTS]
            known = (self._weeks[:, slots] > 0).all(axis=1)
            mean, belief = self._whole.astype(np.float64).transpose(1, 0, 2)
            value = self._mean[:, slots].astype(np.float64).transpose(1, 0, 2)
            self._now = before, np.where(known, mean + belief * (value - mean), np.nan)
        return self._now[1]

    def learn(self, index: Ints, x: Floats, weight: Floats, spread: Floats, now_ms: int) -> None:
        """Take in values of some series; ``spread`` is the variance of one unit of weight, where known."""
        hour = now_ms // HOUR_MS
        self._admit(np.unique(index // self._signals), hour)
        held = self._hour["hour"][index]
        over = (held != hour) & (held >= 0)
        if over.any():
            self._fold(index[over], spread[over])
            for name in _HOUR:
                self._before[name][index[over]] = self._hour[name][index[over]]
        fresh = held != hour
        self._hour["weight"][index] = np.where(fresh, 0.0, self._hour["weight"][index]) + weight
        self._hour["total"][index] = np.where(fresh, 0.0, self._hour["total"][index]) + weight * x
        self._hour["hour"][index] = hour

    def _admit(self, rows: Ints, hour: int) -> None:
        born = self._rows["born_hour"]
        born[rows] = np.where(born[rows] < 0, hour, born[rows])
        due = rows[(self._rows["slot"][rows] < 0) & (hour - born[rows] >= _MIN_AGE_HOURS)]
        for row in due.tolist():
            if self._free:
                slot = self._free.pop()
            else:
                slot = int((self._rows["slot"] >= 0).sum())
                if slot >= len(self._mean):
                    room = max(4, len(self._mean))
                    shape = (room, SLOTS, self._signals)
                    self._mean = np.concatenate([self._mean, np.zeros(shape, np.float32)])
                    self._weeks = np.concatenate([self._weeks, np.zeros(shape, np.uint8)])
                    whole = np.zeros((room, 2, self._signals), np.float32)
                    self._whole = np.concatenate([self._whole, whole])
            self._rows["slot"][row] = slot
            self._now = None

    def _fold(self, index: Ints, spread: Floats) -> None:
        """Let the hour before join the table."""
        slot = self._rows["slot"][index // self._signals]
        known = (slot >= 0) & (self._before["hour"][index] >= 0)
        index, spread, slot = index[known], spread[known], slot[known]
        column = index % self._signals
        at = self._before["hour"][index] % SLOTS
        weight = self._before["weight"][index]
        mean = self._before["total"][index] / weight
        weeks = self._weeks[slot, at, column]
        gain = np.maximum(1.0 / (weeks.astype(np.float64) + 1.0), _MIN_GAIN)
        old = self._mean[slot, at, column].astype(np.float64)
        self._mean[slot, at, column] = np.where(weeks > 0, old + gain * (mean - old), mean)
        self._weeks[slot, at, column] = np.minimum(weeks, 254) + 1
        self._weigh(slot, column, spread / weight * gain)
        self._now = None

    def _weigh(self, slot: Ints, column: Ints, chance: Floats) -> None:
        """How far the hours of each series are apart, and how much of that is no chance."""
        for first in range(0, len(slot), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            table, signal = slot[part], column[part]
            means = self._mean[table, :, signal].astype(np.float64)
            known = self._weeks[table, :, signal] > 0
            count = known.sum(axis=1)
            centre = np.where(known, means, 0.0).sum(axis=1) / count
            spread = np.where(known, (means - centre[:, None]) ** 2, 0.0).sum(axis=1) / count
            self._whole[table, 0, signal] = centre
            self._whole[table, 1, signal] = np.maximum(spread - chance[part], 0.0) / np.maximum(
                spread, 1e-300
            )

    def to_state(self) -> State:
        used = int(self._rows["slot"].max(initial=-1)) + 1
        used = max([used, *(slot + 1 for slot in self._free)])
        return {
            "rows": self._rows.to_state(),
            "hour": self._hour.to_state(),
            "before": self._before.to_state(),
            "tables": used,
            "mean": self._mean[:used].astype("<f4").tobytes(),
            "weeks": self._weeks[:used].tobytes(),
            "whole": self._whole[:used].astype("<f4").tobytes(),
            "free": list(self._free),
        }

    def from_state(self, state: State) -> None:
        self._rows.from_state(state["rows"])
        self._hour.from_state(state["hour"])
        if "before" in state:
            self._before.from_state(state["before"])
        else:  # 0.1.0 had no hour to wait for
            self._before = _hours()
            self._before.grow(len(self._hour))
        shape = (int(state["tables"]), SLOTS, self._signals)
        self._mean = np.frombuffer(state["mean"], "<f4").astype(np.float32).reshape(shape)
        self._weeks = np.frombuffer(state["weeks"], np.uint8).copy().reshape(shape)
        whole = np.frombuffer(state["whole"], "<f4").astype(np.float32)
        self._whole = whole.reshape(shape[0], 2, self._signals)
        self._free = [int(slot) for slot in state["free"]]
        self._now = None
