"""ADWIN: River's adaptive windowing on the standardised values.

Idea: keep the longest window of recent values whose mean has not changed; it shrinks when two large enough
parts of it, of sizes n0 and n1 and with 1/m = 1/n0 + 1/n1, differ in mean by more than

    eps = sqrt(2/m var ln(2 ln(n)/delta)) + 2/(3m) ln(2 ln(n)/delta)

The bound holds for values in [0, 1]; z is clipped at ``clip_sigmas`` and mapped there. ADWIN needs no threshold in
the signal's unit and adapts its memory; on large shifts it is slower than Page-Hinkley, on small long ones it
needs no guess of their size.

River's object does the work (Rust, exponential histogram, O(log n) memory). It exists only for series that are
being judged, is dropped when it fires, and is stored as its own constructor arguments and state bytes with
River's version; another version starts it anew. A Rust panic drops that series' object only.

Source: Bifet and Gavalda, Learning from time-changing data with adaptive windowing, SDM 2007; river 0.26.1
river/drift/adwin.py.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import river
from pydantic import Field
from river.drift import ADWIN

from detectors.base import Bools, Floats, Hits, Ints, Params, State


class AdwinParams(Params):
    """Parameters of ADWIN on standardised values."""

    delta: float = Field(
        default=1e-6, gt=0, lt=1,
        description="Confidence of one cut test: a bound on its false alarms, which is far from tight.",
    )  # fmt: skip
    clock: int = Field(
        default=4, ge=1, le=1000, description="Look for a cut every this many values; each look costs 1 us."
    )
    grace_panes: int = Field(default=20, ge=1, description="Values before the first look.")
    min_part: int = Field(
        default=5, ge=2, description="Smallest part of the window that is compared (River's default)."
    )
    clip_sigmas: float = Field(
        default=4.0, gt=1, le=100, description="z is clipped here and mapped to [0, 1]."
    )


class Adwin:
    """One River ADWIN per judged series."""

    name: ClassVar[str] = "adwin"
    family: ClassVar[Literal["drift", "outlier"]] = "drift"

    def __init__(self, params: AdwinParams) -> None:
        self.params = params
        self._of: dict[int, Any] = {}

    def grow(self, size: int) -> None:
        """Objects are made when their series is first given."""

    def update(self, index: Ints, z: Floats, white: Floats, learn: Bools) -> Hits:
        clip = self.params.clip_sigmas
        unit = np.clip(white, -clip, clip) / (2.0 * clip) + 0.5
        shift, bound = np.zeros(len(index)), np.full(len(index), np.inf)
        for at, (series, x) in enumerate(zip(index.tolist(), unit.tolist(), strict=True)):
            found = self._one(series, x)
            if found is not None:
                shift[at], bound[at] = found
        shift *= 2.0 * clip
        bound *= 2.0 * clip
        fired = np.isfinite(bound)
        return Hits(shift, -shift, fired & (shift > 0), fired & (shift < 0), bound)

    def _one(self, series: int, x: float) -> tuple[float, float] | None:
        """(shift of the mean, bound it exceeded) in units of [0, 1] when a cut is found."""
        adwin = self._of.get(series)
        if adwin is None:
            adwin = self._of[series] = self._new()
        try:
            adwin.update(x)
            if not adwin.drift_detected:
                return None
            total, width = adwin.total, adwin.width
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a Rust panic is not an Exception; what it leaves behind is not trusted
            del self._of[series]
            return None
        del self._of[series]
        return self._size_of(total, width)

    def _size_of(self, total: float, width: float) -> tuple[float, float]:
        """The window that is left has the new mean; before the change the standardised mean was near 0."""
        n = max(width, 1.0)
        shift = total / n - 0.5
        term = math.log(2.0 * math.log(max(n, 3.0) * 2.0) / self.params.delta)
        variance = (1.0 / (2.0 * self.params.clip_sigmas)) ** 2
        return shift, min(math.sqrt(2.0 / n * variance * term) + 2.0 / (3.0 * n) * term, abs(shift))

    def _new(self) -> Any:
        p = self.params
        return ADWIN(delta=p.delta, clock=p.clock, min_window_length=p.min_part, grace_period=p.grace_panes)

    def reset(self, index: Ints) -> None:
        for series in index.tolist():
            self._of.pop(series, None)

    def to_state(self) -> State:
        objects = []
        for series in sorted(self._of):
            helper = self._of[series]._helper
            objects.append([series, list(helper.__getnewargs__()), bytes(helper.__getstate__())])
        return {"river": river.__version__, "objects": objects}

    def from_state(self, state: State) -> None:
        self._of = {}
        if state["river"] != river.__version__:
            return
        for series, arguments, data in state["objects"]:
            adwin = self._new()
            helper = type(adwin._helper)(*arguments)
            helper.__setstate__(data)
            adwin._helper = helper
            self._of[int(series)] = adwin
