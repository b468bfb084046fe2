"""From base windows to panes: enough observations at a time to be worth a statistical look.

Ratios, means and quantiles of a series gather over base windows until the pane has ``events`` observations; a busy
series has a pane every window, a sparse one when its time has come, so that one thumbs-down in a quiet night is
not a ratio of 1. Means and ratios add exactly; a quantile is averaged with its counts. Rates have panes of fixed
length, for every known segment, whether it had events or not: silence is a value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from detectors.base import Columns, Floats, Ints, Params, State
from detectors.scales import MAX_VALUE, Scales
from detectors.sketches.window import WindowBlock


class PanesParams(Params):
    """How much makes a pane."""

    events: int = Field(
        default=5,
        ge=1,
        le=1_000_000,
        description="Observations that complete a pane of a ratio, mean or quantile.",
    )
    rate_secs: int = Field(
        default=60, ge=1, le=3600, description="Length of a pane of a rate (or one base window)."
    )


class Completed(NamedTuple):
    """Panes that just ended: aligned arrays, ``series`` ascending."""

    series: Ints
    value: Floats
    """In the signal's unit."""
    n: Floats
    """What divides the variance: observations, or 1 for a rate."""
    events: Ints
    start_ms: Ints


class Panes:
    """The open panes of all series."""

    def __init__(self, params: PanesParams, scales: Scales, base_window_ms: int) -> None:
        self.params = params
        self._scales = scales
        self._signals = len(scales.rows)
        self._plain = np.flatnonzero(~scales.is_rate)
        self._rates = np.flatnonzero(scales.is_rate)
        self._base_window_ms = base_window_ms
        self._rate_ms = max(params.rate_secs * 1000, base_window_ms)
        self._open = Columns(n=(np.int64, 0), total=(np.float64, 0.0), start=(np.int64, -1))
        self._rate_start_ms = -1
        self._last_end_ms = -1

    @staticmethod
    def rate_windows(params: PanesParams, base_window_ms: int) -> int:
        """Base windows in a rate pane (about, if one does not divide the other)."""
        return max(1, round(params.rate_secs * 1000 / base_window_ms))

    def grow(self, size: int) -> None:
        self._open.grow(size)

    def reset(self, index: Ints) -> None:
        self._open.reset(index)

    def add(self, block: WindowBlock, rows: Ints) -> Completed:
        """Add a window; ``rows`` are the series rows of the block's segments."""
        if block.window_start_ms != self._last_end_ms:
            self._restart_rates(block.window_start_ms)
        self._last_end_ms = block.window_end_ms
        plain = self._add_plain(block, rows)
        self._add_rates(block, rows)
        rates = self._close_rates(block.window_end_ms)
        if not len(rates.series):
            return plain
        joined = [np.concatenate(pair) for pair in zip(plain, rates, strict=True)]
        order = np.argsort(joined[0], kind="stable")
        return Completed(*(array[order] for array in joined))

    def _add_plain(self, block: WindowBlock, rows: Ints) -> Completed:
        values, counts = block.values[:, self._plain], block.counts[:, self._plain]
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(values) & (np.abs(values) <= MAX_VALUE)
        usable &= counts >= self._scales.min_window_n[self._plain]
        at_row, at_column = np.nonzero(usable)
        index = rows[at_row] * self._signals + self._plain[at_column]
        order = np.argsort(index, kind="stable")
        index = index[order]
        value, count = values[usable][order], counts[usable][order]
        n = self._open["n"][index] + count
        total = self._open["total"][index] + value * count
        start = self._open["start"][index]
        start = np.where(start < 0, block.window_start_ms, start)
        self._open["n"][index], self._open["total"][index], self._open["start"][index] = n, total, start
        full = n >= self.params.events
        done = index[full]
        self._open.reset(done)
        n = n[full]
        return Completed(done, total[full] / n, n.astype(np.float64), n, start[full])

    def _restart_rates(self, now_ms: int) -> None:
        rows = np.arange(len(self._open) // self._signals) * self._signals
        self._open.reset((rows[:, None] + self._rates).ravel())
        self._rate_start_ms = now_ms

    def _add_rates(self, block: WindowBlock, rows: Ints) -> None:
        values = block.values[:, self._rates]
        with np.errstate(invalid="ignore"):
            values = np.where(np.isfinite(values) & (np.abs(values) <= MAX_VALUE), values, 0.0)
        index = (rows[:, None] * self._signals + self._rates).ravel()
        self._open["total"][index] += values.ravel()
        self._open["n"][index] += block.counts[:, self._rates].ravel()
        starts = self._open["start"]
        starts[index] = np.where(starts[index] < 0, block.window_start_ms, starts[index])

    def _close_rates(self, end_ms: int) -> Completed:
        start_ms = self._rate_start_ms
        nothing = Completed(
            np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
        )
        if start_ms // self._rate_ms == end_ms // self._rate_ms:
            return nothing
        self._rate_start_ms = end_ms
        rows = np.arange(len(self._open) // self._signals) * self._signals
        index = (rows[:, None] + self._rates).ravel()
        known = index[self._open["start"][index] >= 0]
        whole = known[self._open["start"][known] <= start_ms]  # not those that appeared within the pane
        windows = (end_ms - start_ms) / self._base_window_ms
        value, n = self._open["total"][whole] / windows, self._open["n"][whole]
        for name, fill in (("total", 0.0), ("n", 0), ("start", end_ms)):
            self._open[name][known] = fill
        if end_ms - start_ms < 0.9 * self._rate_ms:
            return nothing
        return Completed(whole, value, np.ones(len(whole)), n, np.full(len(whole), start_ms, np.int64))

    def to_state(self) -> State:
        return {
            "open": self._open.to_state(), "rate_start_ms": self._rate_start_ms, "last_end_ms": self._last_end_ms
        }  # fmt: skip

    def from_state(self, state: State) -> None:
        self._open.from_state(state["open"])
        self._rate_start_ms = int(state["rate_start_ms"])
        self._last_end_ms = int(state["last_end_ms"])
