"""A stored state of DETECT whose signals are others, laid out for those of this program.

A version that measures more, less or in another order has other columns, and with them every series another index
(row of the segment x signals + signal). What is known of a signal that stays is moved to where it belongs now, what
is stored of others is left out, and signals that are new begin as in a new program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Ints, State
from detectors.drift.dyadic import LEVELS

Bytes = NDArray[np.uint8]

_BY_SERIES: Final = ("panes", "tails", "frozen")
_BY_PAIR: Final = ("pairs", "tails", "frozen")
_LEVELS: Final = ("recent", "residual", "common")
_HOURS: Final = ("hour", "before")
"""Of the season; the first versions had only the first."""
_SEASON_BYTES: Final = {"mean": 4, "weeks": 1, "whole": 4}
_SEEN_BYTES: Final = 8
_LOAN_BYTES: Final = {"loans": 8, "phi": 8 * LEVELS}


def relaid(stored: State, new: State) -> State:
    """``stored`` as it would be if it had been written with the signals of ``new``.

    ``new`` is the state of a new program that has room for the rows of ``stored``; parts with other names than in
    ``new`` stay as they are.

    Raises:
        KeyError, ValueError: ``stored`` is no such state.
    """
    move = _Move(stored["signals"], new["signals"])
    baseline, observed, season = stored["baseline"], stored["observed"], stored["baseline"]["season"]
    hours = new["baseline"]["season"]
    lending = stored.get("lending")
    if lending is not None:  # the first versions lent nothing
        lent = {name: move.last_axis(lending[name], size) for name, size in _LOAN_BYTES.items()}
        stored = stored | {"lending": lending | lent}
    return stored | {
        "signals": new["signals"],
        **{part: move.series(stored[part], new[part]) for part in _BY_SERIES},
        "baseline": {
            **{name: move.series(baseline[name], new["baseline"][name]) for name in _LEVELS},
            "season": season
            | {name: move.series(season[name], hours[name]) for name in _HOURS if name in season}
            | {name: move.last_axis(season[name], size) for name, size in _SEASON_BYTES.items()},
        },
        "observed": observed
        | {"seen": observed["seen"] | {"rows": move.last_axis(observed["seen"]["rows"], _SEEN_BYTES)}},
        "detectors": {
            name: stored["detectors"][name]
            | {part: move.series(stored["detectors"][name][part], fresh[part]) for part in ("state", "said")}
            for name, fresh in new["detectors"].items()
            if name in stored["detectors"]
        },
    }


def relaid_mixes(stored: State, new: State) -> State:
    """The same for what is stored of mixes by segment and mix; what is stored by label has no such places."""
    move = _Move(stored["signals"], new["signals"])
    return stored | {
        "signals": new["signals"],
        **{part: move.series(stored[part], new[part]) for part in _BY_PAIR},
    }


class _Move:
    """From the columns of some signals to those of others."""

    def __init__(self, stored: Sequence[str], present: Sequence[str]) -> None:
        self._before, self._now = len(stored), len(present)
        places = {name: at for at, name in enumerate(present)}
        to = np.array([places.get(name, -1) for name in stored], np.int64)
        self._to: Ints = to
        """Where each stored column is now; -1: nowhere."""
        self._kept: Ints = np.flatnonzero(to >= 0)

    def series(self, stored: Any, new: Any) -> Any:
        """A state with something for every series, or for every signal, in ``Columns`` and ``Grid``."""
        if isinstance(stored, list):
            return [self.series(part, fresh) for part, fresh in zip(stored, new, strict=True)]
        if not isinstance(stored, dict):
            return stored
        if "arrays" in stored:
            return self._columns(stored, new)
        if "index" in stored:
            return self._grid(stored)
        if "objects" in stored:
            return stored | {"objects": self._objects(stored["objects"])}
        return {name: self.series(part, new[name]) if name in new else part for name, part in stored.items()}

    def last_axis(self, data: bytes, item_bytes: int) -> bytes:
        """An array whose last axis is that of the signals, and 0 where nothing is known."""
        before = np.frombuffer(data, np.uint8).reshape(-1, self._before, item_bytes)
        now = np.zeros((len(before), self._now, item_bytes), np.uint8)
        now[:, self._to[self._kept]] = before[:, self._kept]
        return now.tobytes()

    def _columns(self, stored: State, new: State) -> State:
        arrays = {}
        for name, data in stored["arrays"].items():
            now = np.frombuffer(new["arrays"][name], np.uint8).copy()
            if len(now):
                cells = now.reshape(new["size"] // self._now, self._now, -1)
                before = np.frombuffer(data, np.uint8).reshape(len(cells), self._before, cells.shape[2])
                cells[:, self._to[self._kept]] = before[:, self._kept]
            arrays[name] = now.tobytes()
        return {"size": new["size"], "arrays": arrays}

    def _grid(self, stored: State) -> State:
        index = np.frombuffer(stored["index"], "<i8").astype(np.int64)
        now = self._index(index)
        order = np.flatnonzero(now >= 0)
        order = order[np.argsort(now[order])]
        rows: Bytes = np.frombuffer(stored["rows"], np.uint8)
        rows = rows.reshape(len(index), len(rows) // max(1, len(index)))
        return {
            "size": stored["size"] // max(1, self._before) * self._now,
            "index": now[order].astype("<i8").tobytes(),
            "rows": rows[order].tobytes(),
        }

    def _objects(self, stored: list[list[Any]]) -> list[list[Any]]:
        now = self._index(np.array([series for series, *_ in stored], np.int64)).tolist()
        moved = [[at, *held] for at, (_, *held) in zip(now, stored, strict=True) if at >= 0]
        return sorted(moved, key=lambda one: int(one[0]))

    def _index(self, before: Ints) -> Ints:
        """The index of each series now; -1: it has none."""
        row, column = before // self._before, self._to[before % self._before]
        result: Ints = np.where(column >= 0, row * self._now + column, -1)
        return result
