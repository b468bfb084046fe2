"""What a user could have put up instead, on the same windows: plain ADWIN, plain Page-Hinkley, static thresholds.

Each watches every numeric signal of the fleet and of every segment of one dimension (and of provider and model).
Values are taken a minute at a time, of ratios, means and quantiles as soon as ten observations have gathered; each
is centred and scaled with the mean and the deviation that the series had in the warm-up: one setting fits all.

* ``adwin``: River's ADWIN, its defaults.
* ``page-hinkley``: River's PageHinkley, its defaults, on all series at once.
* ``static``: more than three deviations from the mean in five values in a row.

All three speak only of the direction in which a signal is worse, and at most once an hour for a series. ADWIN and
Page-Hinkley begin with the last day of the warm-up.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

from detectors.records import SegmentKey
from detectors.sketches.window import WindowBlock
from streams.signals import SIGNALS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METHODS: Final = ("adwin", "page-hinkley", "static")
MINUTE_MS: Final = 60_000
LEAST_EVENTS: Final = 10
REPEAT_MS: Final = 3_600_000
SIGMAS: Final = 3.0
IN_A_ROW: Final = 5
_LEAST_VALUES: Final = 30
"""Values of the warm-up before a series is watched."""
PH_LEAST, PH_DELTA, PH_THRESHOLD, PH_ALPHA = 30, 0.005, 50.0, 1 - 0.0001
"""River's defaults."""


class Alarm(NamedTuple):
    """One method on one series."""

    method: str
    segment: SegmentKey
    signal: str
    at_ms: int


class _Arrays:
    """Named arrays with one entry per series; new entries are the fill."""

    def __init__(self, **fills: float) -> None:
        self._fills = fills
        self._arrays = {name: np.empty(0) for name in fills}

    def __getitem__(self, name: str) -> Floats:
        return self._arrays[name]

    def grow(self, size: int) -> None:
        for name, array in self._arrays.items():
            if len(array) < size:
                more = np.full(2 * size - len(array), self._fills[name])
                self._arrays[name] = np.concatenate([array, more])

    def to_state(self) -> dict[str, bytes]:
        return {name: array.tobytes() for name, array in self._arrays.items()}

    def from_state(self, state: dict[str, bytes]) -> None:
        self._arrays = {name: np.frombuffer(state[name]).copy() for name in self._fills}


class PlainDetectors:
    """The three methods on all their series."""

    def __init__(self) -> None:
        self._rows: dict[SegmentKey, int] = {}
        self._signals: list[str] = []
        self._is_rate = np.empty(0, np.bool_)
        self._open = _Arrays(total=0.0, n=0.0)
        self._stats = _Arrays(n=0.0, mean=0.0, m2=0.0)
        self._ph = _Arrays(n=0.0, mean=0.0, up=0.0, down=0.0, lowest=np.inf, highest=-1.0)
        self._static = _Arrays(row=0.0, side=0.0)
        self._said = {method: _Arrays(at_ms=-np.inf) for method in METHODS}
        self._adwins: dict[int, Any] = {}
        """By series: the window itself, without the layer that a call for each value would pay for."""

    def learn(self, window: WindowBlock, *, watch: bool) -> None:
        """A window of the warm-up; with ``watch`` the methods that have a memory take it in too."""
        index, x = self._add(window)
        if not len(index):
            return
        stats = self._stats
        n = stats["n"][index] + 1
        before = x - stats["mean"][index]
        stats["n"][index] = n
        stats["mean"][index] += before / n
        stats["m2"][index] += before * (x - stats["mean"][index])
        if watch:
            index, z = self._scaled(index, x)
            self._adwin(index, z)
            self._page_hinkley(index, z)

    def watch(self, window: WindowBlock) -> list[Alarm]:
        """The alarms at the end of a window after the warm-up."""
        index, z = self._scaled(*self._add(window))
        if not len(index):
            return []
        alarms = []
        now_ms = window.window_end_ms
        found = (self._adwin(index, z), self._page_hinkley(index, z), self._thresholds(index, z))
        for method, sides in zip(METHODS, found, strict=True):
            for at in np.flatnonzero(sides).tolist():
                series = int(index[at])
                if self._is_news(method, series, sides[at] > 0, now_ms):
                    row, column = divmod(series, len(self._signals))
                    alarms.append(Alarm(method, self._segments[row], self._signals[column], now_ms))
        return alarms

    @property
    def _segments(self) -> list[SegmentKey]:
        return list(self._rows)

    def _is_news(self, method: str, series: int, up: bool, now_ms: int) -> bool:
        worse = SIGNALS[self._signals[series % len(self._signals)]].worse
        if worse not in ("both", "up" if up else "down"):
            return False
        said = self._said[method]["at_ms"]
        news = bool(now_ms - said[series] >= REPEAT_MS)
        if news:
            said[series] = now_ms
        return news

    def _add(self, window: WindowBlock) -> tuple[Ints, Floats]:
        """Gather the window; the series that have a value at its end, and the values."""
        if not self._signals:
            self._signals = list(window.signals)
            self._is_rate = np.array([SIGNALS[name].kind == "rate" for name in self._signals])
        wanted = [at for at, segment in enumerate(window.segments) if _is_watched(segment)]
        rows = [self._rows.setdefault(window.segments[at], len(self._rows)) for at in wanted]
        width = len(self._signals)
        for arrays in (self._open, self._stats, self._ph, self._static, *self._said.values()):
            arrays.grow(len(self._rows) * width)
        index = (np.array(rows, np.int64)[:, None] * width + np.arange(width)).ravel()
        values = window.values[wanted].ravel()
        counts = window.counts[wanted].ravel().astype(np.float64)
        known = np.isfinite(values)
        rate = np.tile(self._is_rate, len(wanted))
        index, values, counts = index[known], values[known], np.where(rate, 1.0, counts)[known]
        self._open["total"][index] += values * counts
        self._open["n"][index] += counts
        if window.window_end_ms % MINUTE_MS >= window.span_ms:
            return np.empty(0, np.int64), np.empty(0)
        return self._take()

    def _take(self) -> tuple[Ints, Floats]:
        size = len(self._rows) * len(self._signals)
        total, n = self._open["total"][:size], self._open["n"][:size]
        rate = np.tile(self._is_rate, len(self._rows))
        index = np.flatnonzero(rate | (n >= LEAST_EVENTS))
        values = np.where(rate, total, total / np.maximum(n, 1.0))[index]
        total[index] = 0.0
        n[index] = 0.0
        return index, values

    def _scaled(self, index: Ints, x: Floats) -> tuple[Ints, Floats]:
        stats = self._stats
        n = stats["n"][index]
        deviation = np.sqrt(stats["m2"][index] / np.maximum(n - 1, 1))
        known = (n >= _LEAST_VALUES) & (deviation > 0)
        return index[known], ((x - stats["mean"][index])[known] / deviation[known])

    def _adwin(self, index: Ints, z: Floats) -> Floats:
        """Per value: the side to which the series changed, or 0."""
        sides = np.zeros(len(index))
        for at, (series, value) in enumerate(zip(index.tolist(), z.tolist(), strict=True)):
            adwin = self._adwins.get(series)
            if adwin is None:
                adwin = self._adwins[series] = ADWIN()._helper
            if adwin.update(value):
                sides[at] = 1.0 if adwin.get_total() > 0 else -1.0
                del self._adwins[series]  # River begins anew, too
        return sides

    def _page_hinkley(self, index: Ints, z: Floats) -> Floats:
        """River's PageHinkley in both directions, for all series at once."""
        ph = self._ph
        n = ph["n"][index] + 1
        mean = ph["mean"][index] + (z - ph["mean"][index]) / n
        deviation = z - mean
        up = PH_ALPHA * ph["up"][index] + deviation - PH_DELTA
        down = PH_ALPHA * ph["down"][index] + deviation + PH_DELTA
        lowest, highest = np.minimum(ph["lowest"][index], up), np.maximum(ph["highest"][index], down)
        ready = n >= PH_LEAST
        rose = ready & (up - lowest > PH_THRESHOLD)
        fired = rose | (ready & (highest - down > PH_THRESHOLD))
        fresh = (("n", n, 0.0), ("mean", mean, 0.0), ("up", up, 0.0), ("down", down, 0.0))
        for name, values, fill in (*fresh, ("lowest", lowest, np.inf), ("highest", highest, -1.0)):
            ph[name][index] = np.where(fired, fill, values)
        return np.where(fired, np.where(rose, 1.0, -1.0), 0.0)

    def _thresholds(self, index: Ints, z: Floats) -> Floats:
        side = np.where(z > SIGMAS, 1.0, np.where(z < -SIGMAS, -1.0, 0.0))
        same = (side != 0) & (side == self._static["side"][index])
        row = np.where(side == 0, 0.0, np.where(same, self._static["row"][index] + 1, 1.0))
        self._static["row"][index], self._static["side"][index] = row, side
        return np.where(row == IN_A_ROW, side, 0.0)

    def to_state(self) -> bytes:
        """Everything, as MessagePack."""
        state = {
            "segments": [[list(s.dimensions), list(s.values)] for s in self._rows],
            "signals": self._signals,
            "arrays": [arrays.to_state() for arrays in self._all()],
            "adwins": [
                [series, list(adwin.__getnewargs__()), bytes(adwin.__getstate__())]
                for series, adwin in self._adwins.items()
            ],
        }
        return msgspec.msgpack.encode(state)

    @classmethod
    def from_state(cls, data: bytes) -> PlainDetectors:
        """As it was at ``to_state``, of the same program."""
        state: dict[str, Any] = msgspec.msgpack.decode(data)
        plain = cls()
        plain._rows = {SegmentKey(tuple(d), tuple(v)): at for at, (d, v) in enumerate(state["segments"])}
        plain._signals = state["signals"]
        plain._is_rate = np.array([SIGNALS[name].kind == "rate" for name in plain._signals], np.bool_)
        for arrays, stored in zip(plain._all(), state["arrays"], strict=True):
            arrays.from_state(stored)
        of_river = type(ADWIN()._helper)
        for series, arguments, stored in state["adwins"]:
            plain._adwins[series] = of_river(*arguments)
            plain._adwins[series].__setstate__(stored)
        return plain

    def _all(self) -> list[_Arrays]:
        return [self._open, self._stats, self._ph, self._static, *self._said.values()]


def _is_watched(segment: SegmentKey) -> bool:
    return len(segment.dimensions) <= 1 or segment.dimensions == ("provider", "model")
