"""Shares of observations beyond what each segment is used to: where a tail begins is learned, segment by segment.

For each measure and segment the 99 % and 99.9 % quantiles are tracked by stochastic approximation on histograms:
of n new observations, h above theta,

    log theta += g (h - (1 - q) n)        g = c_q / max(100, observations so far), at least c_q / 100,000

with c_q the reciprocal density of a normal distribution of spread one in log units. A tail begins at one of these
quantiles: what makes a few answers many times slower shows ten times as clearly beyond the 99.9 % one, what makes
many a little slower beyond the 99 % one. The *far* tail begins two decades of probability beyond the 99.9 % one,
extrapolated: theta999 (theta999 / theta99)^2, where an exponential tail of the logarithms has one observation in a
hundred thousand, and a lighter one hardly any. Two or three observations there are news however large the crowd.

Score first, then learn: a window's shares are taken with the thresholds from before it, and segments whose share is
under suspicion or part of an incident keep theirs.

Source: Robbins and Monro, A stochastic approximation method, Ann. Math. Stat. 22, 1951.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.base import Bools, Columns, Floats, Ints, State
from detectors.records import Signal, TailBegins
from detectors.sketches.buckets import quantiles_by_row
from detectors.sketches.window import WindowBlock

_DECADES: Final[dict[TailBegins, float]] = {"p99": 0.0, "p999": 1.0, "far": 3.0}
"""Of probability beyond the 99 % quantile."""
_C99: Final = 37.0
_C999: Final = 297.0
_FIRST: Final = 100.0
_LONGEST: Final = 100_000.0
_MAX_STEP: Final = 0.5
_ENOUGH: Final = 300.0
"""Observations before the thresholds mean anything."""
_NORMAL: Final = 0.72
"""Of a normal distribution: from the 99 % quantile to the 99.9 % one, over from the 90 % one to the 99 % one."""


class Tail(NamedTuple):
    """One signal that is the share of a measure beyond a threshold."""

    signal: str
    column: int
    """Of the signal."""
    measure: str
    begins: TailBegins


def tails_of(signals: Sequence[Signal]) -> tuple[Tail, ...]:
    """The tails among the signals, in their order."""
    return tuple(
        Tail(signal.name, column, signal.tail_of, signal.tail)
        for column, signal in enumerate(signals)
        if signal.tail_of is not None
    )


class Extremes:
    """Thresholds of all segments, for each tail."""

    def __init__(self, tails: tuple[Tail, ...]) -> None:
        self.tails = tails
        self._state = [
            Columns(log99=(np.float64, np.nan), log999=(np.float64, np.nan), seen=(np.float64, 0.0))
            for _ in tails
        ]

    def grow(self, rows: int) -> None:
        for state in self._state:
            state.grow(rows)

    def reset(self, rows: Ints) -> None:
        for state in self._state:
            state.reset(rows)

    def shares(self, block: WindowBlock, rows: Ints, values: Floats, counts: Ints) -> None:
        """Write each tail's share and observations into its column; ``rows`` are those of the block's segments."""
        for tail, state in zip(self.tails, self._state, strict=True):
            log99, log999 = state["log99"][rows], state["log999"][rows]
            begins = log99 + _DECADES[tail.begins] * (log999 - log99)
            threshold = np.where(state["seen"][rows] >= _ENOUGH, np.exp(np.minimum(begins, 700.0)), np.nan)
            held, known = block.above(tail.measure, threshold)
            with np.errstate(invalid="ignore"):
                values[:, tail.column] = np.where(known > 0, held / known, np.nan)
            counts[:, tail.column] = known

    def learn(self, block: WindowBlock, rows: Ints, keep: Bools) -> None:
        """Follow the quantiles; ``keep`` is [segments, tails]: those that may learn."""
        for at, (tail, state) in enumerate(zip(self.tails, self._state, strict=True)):
            self._start(tail, state, block, rows)
            known_rows = np.flatnonzero(keep[:, at] & ~np.isnan(state["log99"][rows]))
            if not len(known_rows):
                continue
            for name, c, share in (("log99", _C99, 0.01), ("log999", _C999, 0.001)):
                held, known = block.above(tail.measure, np.exp(state[name][rows]))
                held, known, series = held[known_rows], known[known_rows], rows[known_rows]
                gain = c / np.clip(state["seen"][series], _FIRST, _LONGEST)
                step = np.clip(gain * (held - share * known), -_MAX_STEP, _MAX_STEP)
                state[name][series] += step
            state["seen"][series] += known
            state["log999"][series] = np.maximum(state["log999"][series], state["log99"][series])

    @staticmethod
    def _start(tail: Tail, state: Columns, block: WindowBlock, rows: Ints) -> None:
        """Segments seen for the first time begin at the middle of what they show."""
        new = np.isnan(state["log99"][rows])
        if not new.any():
            return
        known, middles, _ = quantiles_by_row(*block.histogram(tail.measure), [0.5])
        middle = np.zeros(len(rows))
        middle[known] = middles[0]
        fresh = new & (middle > 0)
        for name in ("log99", "log999"):
            state[name][rows[fresh]] = np.log(middle[fresh])

    def to_state(self) -> State:
        return {
            "names": [tail.signal for tail in self.tails],
            "tails": [state.to_state() for state in self._state],
        }

    def from_state(self, state: State) -> None:
        """Tails that the state does not have begin anew."""
        names = state.get("names", [tail.signal for tail in self.tails])
        stored = dict(zip(names, state["tails"], strict=True))
        for tail, columns in zip(self.tails, self._state, strict=True):
            if tail.signal in stored:
                columns.from_state(_of_three(stored[tail.signal]))


def _of_three(stored: State) -> State:
    """The state of 0.1.0, which followed the 90 % quantile instead of the 99.9 % one, as of today."""
    arrays = dict(stored["arrays"])
    if "log90" not in arrays:
        return stored
    log90, log99 = (np.frombuffer(arrays.pop(name), "<f8") for name in ("log90", "log99"))
    arrays["log99"], arrays["log999"] = log99.tobytes(), (log99 + _NORMAL * (log99 - log90)).tobytes()
    return {**stored, "arrays": arrays}
