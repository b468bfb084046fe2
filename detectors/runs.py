"""Since when: the run of suspicious panes of every series, on either side.

A one-sided CUSUM of the standardised values, g = max(0, g + x - k), is 0 while nothing happens. When it leaves 0 a
run starts; the start of the present run is the usual estimate of the change point, and what was observed since
then is what the evidence shows. A run whose g is at least ``suspect`` stops the baseline from learning, for at most
``max_suspect_panes`` panes in a row, so that no suspicion can blind a series for ever.

Source: Page 1954; the last zero of the CUSUM is the maximum-likelihood change point (Hinkley 1971).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from detectors.base import Bools, Columns, Floats, Ints, Params, State

_CLIP: Final = 4.0
_SIDES: Final = (("up", 1.0), ("down", -1.0))


class RunsParams(Params):
    """When the baseline stops learning."""

    allowance: float = Field(
        default=0.5, gt=0, le=5, description="k: deviation that does not build a run, in sigmas."
    )
    suspect: float = Field(
        default=6.0, gt=0, le=100, description="A run this strong is suspicious, in sigmas."
    )
    max_suspect_panes: int = Field(
        default=60, ge=1, le=100_000, description="Panes in a row that suspicion may keep from the baseline."
    )


class Run(NamedTuple):
    """What was observed since the run of one series and side began."""

    start_ms: int
    panes: int
    n: float
    events: int
    mean_value: float
    """In the signal's unit."""
    mean_z: float
    strength: float
    """g: at least ``RunsParams.suspect`` when the run is worth suspicion."""


class Runs:
    """The present runs of all series."""

    def __init__(self, params: RunsParams) -> None:
        self.params = params
        fields: dict[str, tuple[type[np.generic], float]] = {"suspected": (np.int64, 0)}
        for side, _ in _SIDES:
            fields |= {
                f"{side}_g": (np.float64, 0.0), f"{side}_start": (np.int64, 0), f"{side}_panes": (np.int64, 0),
                f"{side}_n": (np.float64, 0.0), f"{side}_events": (np.int64, 0),
                f"{side}_value": (np.float64, 0.0), f"{side}_z": (np.float64, 0.0),
            }  # fmt: skip
        self._state = Columns(**fields)

    def grow(self, size: int) -> None:
        self._state.grow(size)

    def reset(self, index: Ints) -> None:
        self._state.reset(index)

    def update(
        self, index: Ints, z: Floats, white: Floats, value: Floats, n: Floats, events: Ints, start_ms: Ints
    ) -> Bools:
        """Add one pane to each series; returns which are under suspicion and must not be learned."""
        s = self._state
        strongest = np.zeros(len(index))
        clipped = np.clip(white, -_CLIP, _CLIP)
        for side, sign in _SIDES:
            old = s[f"{side}_g"][index]
            g = np.maximum(0.0, old + sign * clipped - self.params.allowance)
            goes_on = old > 0.0
            s[f"{side}_g"][index] = g
            s[f"{side}_start"][index] = np.where(goes_on, s[f"{side}_start"][index], start_ms)
            for name, amount in (
                ("panes", 1), ("n", n), ("events", events), ("value", n * value), ("z", np.clip(z, -1e6, 1e6))
            ):  # fmt: skip
                column = s[f"{side}_{name}"]
                column[index] = np.where(goes_on, column[index], 0) + amount
            strongest = np.maximum(strongest, g)
        suspected = np.where(strongest >= self.params.suspect, s["suspected"][index] + 1, 0)
        s["suspected"][index] = suspected
        result: Bools = (suspected > 0) & (suspected <= self.params.max_suspect_panes)
        return result

    def of(self, series: int, *, up: bool) -> Run:
        """The run of a series that was just updated; at least its last pane."""
        s, side = self._state, "up" if up else "down"
        n = float(s[f"{side}_n"][series])
        panes = int(s[f"{side}_panes"][series])
        return Run(
            int(s[f"{side}_start"][series]),
            panes,
            n,
            int(s[f"{side}_events"][series]),
            float(s[f"{side}_value"][series]) / n,
            float(s[f"{side}_z"][series]) / panes,
            float(s[f"{side}_g"][series]),
        )

    def to_state(self) -> State:
        return self._state.to_state()

    def from_state(self, state: State) -> None:
        self._state.from_state(state)
