"""Series that are part of an open incident: they do not learn, and it is watched when their level is back.

A frozen series' level is the exponentially weighted mean of its z towards the side of the incident. It is back when
that has been below ``back_sigmas`` (or half of the shift that froze it) for ``back_panes`` panes in a row.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from detectors.base import Bools, Columns, Floats, Ints, Params, State

_GAIN: Final = 0.1
_GAIN_LARGE: Final = 0.3
_LARGE_SHIFT: Final = 3.0
"""A shift of this many sigmas stands out of the noise, so its end may be read faster."""
_CLIP: Final = 8.0


class FrozenParams(Params):
    """When a level counts as back."""

    back_sigmas: float = Field(
        default=1.5, gt=0, le=10,
        description="The level of a series is back when it is this near to its baseline, or halfway.",
    )  # fmt: skip
    back_panes: int = Field(default=6, ge=1, le=10_000, description="Panes in a row that it must be back.")


class Back(NamedTuple):
    """Series whose level is back; aligned arrays."""

    at: Ints
    """Positions among the panes that were given."""
    level: Floats
    limit: Floats


class Frozen:
    """What is known of all series' incidents."""

    def __init__(self, params: FrozenParams) -> None:
        self.params = params
        self._state = Columns(
            frozen=(np.int8, 0), side=(np.int8, 0), severity=(np.int8, 0), level=(np.float64, 0.0),
            shift=(np.float64, 0.0), back=(np.int64, 0),
        )  # fmt: skip

    def grow(self, size: int) -> None:
        self._state.grow(size)

    def reset(self, index: Ints) -> None:
        self._state.reset(index)

    def holds(self, index: Ints) -> Bools:
        """Which series are frozen."""
        result: Bools = self._state["frozen"][index] > 0
        return result

    def severity(self, index: Ints) -> Ints:
        """The worst severity of each series' present evidence."""
        result: Ints = self._state["severity"][index].astype(np.int64)
        return result

    def noticed(self, series: int, *, up: bool, severity: int, sigmas: float) -> None:
        """Evidence was found: what the level has to come back from, should it be frozen."""
        state = self._state
        state["side"][series] = 1 if up else -1
        state["severity"][series] = max(severity, int(state["severity"][series]))
        if not state["frozen"][series]:
            state["shift"][series] = state["level"][series] = min(sigmas, _CLIP)

    def freeze(self, index: Ints) -> None:
        self._state["frozen"][index] = 1
        self._state["back"][index] = 0

    def thaw(self, index: Ints) -> None:
        for name in ("frozen", "severity", "back"):
            self._state[name][index] = 0

    def step(self, index: Ints, z: Floats) -> Back:
        """Follow the levels of the frozen series among ``index``."""
        state = self._state
        at = np.flatnonzero(state["frozen"][index] > 0)
        series = index[at]
        towards = np.clip(z[at] * state["side"][series], -_CLIP, _CLIP)
        gain = np.where(state["shift"][series] >= _LARGE_SHIFT, _GAIN_LARGE, _GAIN)
        level = state["level"][series] + gain * (towards - state["level"][series])
        limit = np.minimum(self.params.back_sigmas, 0.5 * state["shift"][series])
        state["level"][series] = level
        state["back"][series] = np.where(level < limit, state["back"][series] + 1, 0)
        back = state["back"][series] >= self.params.back_panes
        return Back(at[back], level[back], limit[back])

    def to_state(self) -> State:
        return self._state.to_state()

    def from_state(self, state: State) -> None:
        self._state.from_state(state)
