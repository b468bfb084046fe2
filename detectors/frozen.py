"""Series that are part of an open incident: they do not learn, and it is watched when their level is back.

Two levels are compared, the baseline's and the one that the incident brought, shifted by d sigmas a pane. Each pane
z (towards the side of the incident) adds the likelihood ratio of the first over the second to a CUSUM:

    g = max(0, g + d (d / 2 - z))

While the incident lasts g falls by d^2 / 2 a pane, afterwards it rises as fast: a large shift is back at once, a
small one when that is certain. The level is back when g has been above 0 for ``back_panes`` panes and reached
``back_nats``. Whoever knows the likelihood of its panes better (``mixes.reporting``) hands in the ratio itself.

Source: Page, Continuous inspection schemes, Biometrika 41, 1954, for two simple hypotheses.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from detectors.base import Bools, Columns, Floats, Ints, Params, State

_CLIP: Final = 8.0
_LEAST_SHIFT: Final = 0.1
"""A shift of fewer sigmas a pane counts as this, or its end would never be certain."""


class FrozenParams(Params):
    """When a level counts as back."""

    back_nats: float = Field(
        default=10.0, gt=0, le=100,
        description="The level of a series is back when this much speaks for the baseline, against the incident.",
    )  # fmt: skip
    back_panes: int = Field(default=6, ge=1, le=10_000, description="Panes in a row that must speak for it.")


class Back(NamedTuple):
    """Series whose level is back; aligned arrays."""

    at: Ints
    """Positions among the panes that were given."""
    nats: Floats


class Frozen:
    """What is known of all series' incidents."""

    def __init__(self, params: FrozenParams) -> None:
        self.params = params
        self._state = Columns(
            frozen=(np.int8, 0), side=(np.int8, 0), severity=(np.int8, 0), shift=(np.float64, 0.0),
            clearest=(np.float64, 0.0), back_nats=(np.float64, 0.0), back=(np.int64, 0),
        )  # fmt: skip

    def __len__(self) -> int:
        """Series that there is room for."""
        return len(self._state)

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

    def noticed(
        self, series: int, *, up: bool, severity: int, nats: float, sigmas: float = _LEAST_SHIFT
    ) -> bool:
        """Evidence was found: how many ``sigmas`` a pane the level would have to come back from (for ``step``).

        Answers whether that is what is watched now; a frozen series keeps what was clearest.
        """
        state = self._state
        state["severity"][series] = max(severity, int(state["severity"][series]))
        if state["frozen"][series] and nats < state["clearest"][series]:
            return False
        state["side"][series] = 1 if up else -1
        state["clearest"][series] = nats
        state["shift"][series] = min(max(sigmas, _LEAST_SHIFT), _CLIP)
        return True

    def freeze(self, index: Ints) -> None:
        self._state["frozen"][index] = 1
        for name in ("back", "back_nats"):
            self._state[name][index] = 0

    def thaw(self, index: Ints) -> None:
        for name in ("frozen", "severity", "clearest", "back", "back_nats"):
            self._state[name][index] = 0

    def step(self, index: Ints, z: Floats) -> Back:
        """Follow the levels of the frozen series among ``index`` by the ``z`` of their panes."""
        state = self._state
        shift = np.maximum(state["shift"][index], _LEAST_SHIFT)
        towards = np.clip(z * state["side"][index], -_CLIP, _CLIP)
        return self.follow(index, shift * (0.5 * shift - towards))

    def follow(self, index: Ints, gain: Floats) -> Back:
        """The same by the log-likelihood ratio of each pane: of the baseline over the incident."""
        state = self._state
        at = np.flatnonzero(state["frozen"][index] > 0)
        series = index[at]
        nats = np.maximum(0.0, state["back_nats"][series] + gain[at])
        panes = np.where(nats > 0.0, state["back"][series] + 1, 0)
        state["back_nats"][series], state["back"][series] = nats, panes
        back = (panes >= self.params.back_panes) & (nats >= self.params.back_nats)
        return Back(at[back], nats[back])

    def to_state(self) -> State:
        return self._state.to_state()

    def from_state(self, state: State) -> None:
        self._state.from_state(state)
