"""On which scale each signal is compared with its baseline, and which differences matter at all.

Statistics work on transformed values x = T(value): latencies, tokens and costs multiply, so they are compared as
logarithms; ratios and scores as they are; rates as log(1 + amount per pane). ``tolerance`` is a difference of x
that nobody would look at: it enters the variance, so that very large n cannot make trifles significant.
``notable`` is the difference from which a person would want to know; below it evidence is INFO.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.base import Bools, Floats, Ints
from detectors.records import Signal

LOG_UNITS: Final = {
    "ms": 0.01, "tokens": 0.01, "USD": 1e-7, "days": 0.01, "steps": 0.01, "chunks": 1.0, "calls": 1.0,
    "retries": 1.0, "users": 1.0,
}  # fmt: skip
"""Unit -> what is added before the logarithm, so that zero stays finite: below anything of interest, or one of what
is counted in ones and often 0."""
RATE_UNITS: Final = {"1/s": 1.0, "USD": 0.01}
"""Unit -> the amount per pane around which log(1 + amount) turns from linear to logarithmic."""
MAX_VALUE: Final = 1e15
"""Larger values are not statistics of anything; they are skipped."""
_QUANTILE = re.compile(r"_p(\d{2})_")


class Scale(NamedTuple):
    """How one signal is compared."""

    logarithmic: bool
    shift: float
    """Added to the value before the logarithm."""
    gain: float
    """Multiplies the value first (rates: amount per window -> amounts of interest per pane)."""
    tolerance: float
    notable: float
    is_rate: bool
    is_ratio: bool
    min_window_n: int
    """Windows with fewer observations say nothing about this signal (high quantiles)."""
    robust: bool = False
    """No single observation moves a value of many far: a mean of logarithms or of scores, a median."""


def scale_of(signal: Signal, pane_gain: float) -> Scale:
    """The scale of a signal; ``pane_gain`` turns a rate signal's window value into its amount per pane."""
    if signal.kind == "rate":
        return Scale(True, 1.0, pane_gain / RATE_UNITS[signal.unit], 0.1, 1.1, True, False, 1)
    if signal.kind in ("ratio", "mix"):
        return Scale(False, 0.0, 1.0, 0.005, 0.01, False, True, 1)
    if signal.unit in LOG_UNITS:
        notable = 0.1 if signal.unit == "USD" else 0.15
        shift, robust = LOG_UNITS[signal.unit], "_typical" in signal.name or "_p50_" in signal.name
        return Scale(True, shift, 1.0, 0.02, notable, False, False, _min_window_n(signal), robust)
    return Scale(False, 0.0, 1.0, 0.005, 0.02, False, False, _min_window_n(signal), signal.unit == "score")


def _min_window_n(signal: Signal) -> int:
    """A q-quantile of fewer than 1 / (1 - q) values is just another name for the maximum."""
    if signal.kind != "quantile":
        return 1
    found = _QUANTILE.search(signal.name)
    q = int(found.group(1)) / 100 if found else 0.99
    return max(3, round(1 / (1 - q)))


class Scales:
    """The scales of all signals as arrays over signal columns."""

    def __init__(self, signals: Sequence[Signal], pane_windows: int, base_window_ms: int) -> None:
        self.panes_per_hour = 3_600_000 / (pane_windows * base_window_ms)
        """Of a rate."""
        self.windows_per_hour = 3_600_000 / base_window_ms
        gains = {"1/s": pane_windows * base_window_ms / 1000, "USD": float(pane_windows)}
        self.rows = [scale_of(s, gains.get(s.unit, 1.0)) for s in signals]
        self.logarithmic: Bools = np.array([r.logarithmic for r in self.rows], bool)
        self.shift: Floats = np.array([r.shift for r in self.rows])
        self.gain: Floats = np.array([r.gain for r in self.rows])
        self.tolerance: Floats = np.array([r.tolerance for r in self.rows])
        self.notable: Floats = np.array([r.notable for r in self.rows])
        self.is_rate: Bools = np.array([r.is_rate for r in self.rows], bool)
        self.is_ratio: Bools = np.array([r.is_ratio for r in self.rows], bool)
        self.is_spend: Bools = np.array(
            [r.is_rate and s.unit == "USD" for r, s in zip(self.rows, signals, strict=True)]
        )
        self.robust: Bools = np.array([r.robust for r in self.rows], bool)
        self.min_window_n: Ints = np.array([r.min_window_n for r in self.rows], np.int64)

    def forward(self, column: Ints, value: Floats) -> Floats:
        """T: values in the signal's unit -> x."""
        amount = value * self.gain[column] + self.shift[column]
        log = self.logarithmic[column]
        safe = np.where(log, np.maximum(amount, 1e-12), 1.0)
        return np.where(log, np.log(safe), value)

    def inverse(self, column: Ints, x: Floats) -> Floats:
        """T inverse: x -> the signal's unit; ratios stay in [0, 1], nothing logarithmic goes below 0."""
        log = self.logarithmic[column]
        with np.errstate(invalid="ignore"):
            linear = np.where(self.is_ratio[column], np.clip(x, 0.0, 1.0), x)
            amount = np.exp(np.where(log, np.minimum(x, 60.0), 0.0)) - self.shift[column]
            return np.where(log, np.maximum(amount, 0.0) / self.gain[column], linear)
