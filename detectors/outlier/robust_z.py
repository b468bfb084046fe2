"""Robust z: several values in a row far outside the series' own spread.

The modified z-score (x - median) / (MAD / 0.6745) of the standardised value, with median and MAD tracked by
stochastic approximation, so that no history is kept:

    median += eta scale clip((z - median) / scale, -1, 1)
    scale  *= exp(eta (1[|z - median| > 0.6745 scale] - 1/2))      scale >= 1

The statistic is the smallest of the last ``run`` scores on the same side: one wild value, however wild, is not an
incident; a short run of large ones is. ``scale >= 1`` because the baseline has already divided by its spread: the
detector may only become more careful, never more eager, on tame series.

A tail that exceeds the threshold with probability p per value gives false alarms at about p^run where values are
independent; correlation between values raises it, which the tests measure on bursty input.

Sources: Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993 (modified z-score); Robbins and Monro 1951
(stochastic approximation of a quantile).
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from detectors.base import Batch, Columns, Floats, Hits, Ints, Params, State, without_nan

_MAD_OF_NORMAL: Final = 0.6745
_MAX_SCALE: Final = 100.0


class RobustZParams(Params):
    """Parameters of the robust z."""

    threshold: float = Field(
        default=5.0, gt=1, le=100, description="Each score of the run must exceed this, in robust sigmas."
    )
    run: Literal[2, 3, 4, 5] = Field(default=3, description="How many scores in a row must exceed it.")
    eta: float = Field(
        default=0.02, gt=0, le=0.5, description="Step of the tracking: a memory of about 1/eta values."
    )


class RobustZ:
    """One robust z per series."""

    name: ClassVar[str] = "robust_z"
    family: ClassVar[Literal["drift", "outlier"]] = "outlier"

    def __init__(self, params: RobustZParams) -> None:
        self.params = params
        last = {f"last{k}": (np.float64, 0.0) for k in range(1, params.run)}
        self._state = Columns(median=(np.float64, 0.0), scale=(np.float64, 1.0), **last)

    def grow(self, size: int) -> None:
        self._state.grow(size)

    def update(self, batch: Batch) -> Hits:
        p, s, index, z, learn = self.params, self._state, batch.series, without_nan(batch.z), batch.learn
        median, scale = s["median"][index], s["scale"][index]
        score = np.clip((z - median) / scale, -1e6, 1e6)
        run = [score, *(s[f"last{k}"][index] for k in range(1, p.run))]
        up: Floats = np.minimum.reduce(run)
        down: Floats = -np.maximum.reduce(run)
        for k in range(1, p.run):
            s[f"last{k}"][index] = run[k - 1]
        deviation = (z - median)[learn]
        taught, spread = index[learn], scale[learn]
        s["median"][taught] += p.eta * spread * np.clip(deviation / spread, -1.0, 1.0)
        wide = np.abs(deviation) > _MAD_OF_NORMAL * spread
        s["scale"][taught] = np.clip(spread * np.exp(p.eta * (wide - 0.5)), 1.0, _MAX_SCALE)
        threshold = np.full(len(index), p.threshold)
        return Hits(up, down, up > p.threshold, down > p.threshold, threshold)

    def reset(self, index: Ints) -> None:
        self._state.reset(index)

    def to_state(self) -> State:
        return self._state.to_state()

    def from_state(self, state: State) -> None:
        self._state.from_state(state)
