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

from detectors.base import Batch, Hits, Ints, Params, State, without_nan


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

    def update(self, batch: Batch) -> Hits:
        index, clip = batch.series, self.params.clip_sigmas
        unit = np.clip(without_nan(batch.white), -clip, clip) / (2.0 * clip) + 0.5
        level, bound = np.zeros(len(index)), np.full(len(index), np.inf)
        since = np.zeros(len(index), np.int64)
        for at, (series, x) in enumerate(zip(index.tolist(), unit.tolist(), strict=True)):
            found = self._one(series, x)
            if found is not None:
                since[at], level[at] = found
                bound[at] = self._bound(found[0])
        level = np.where(since > 0, (level - 0.5) * 2.0 * clip, 0.0)
        fired = since > 0
        return Hits(level, -level, fired & (level > 0), fired & (level < 0), bound)

    def _one(self, series: int, x: float) -> tuple[int, float] | None:
        """(width, mean in [0, 1]) of the window that is left, when a cut is found and leads away from normal."""
        adwin = self._of.get(series)
        if adwin is None:
            adwin = self._of[series] = self._new()
        try:
            total, width = adwin.total + x, adwin.width + 1
            adwin.update(x)
            if not adwin.drift_detected:
                return None
            new_total, new_width = adwin.total, int(adwin.width)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a Rust panic is not an Exception; what it leaves behind is not trusted
            del self._of[series]
            return None
        del self._of[series]
        if not 0 < new_width < width:
            return None
        new, old = new_total / new_width, (total - new_total) / (width - new_width)
        # A cut also shows that an unusual time is over; that is no news.
        return (new_width, new) if (new - 0.5) * (new - old) > 0 else None

    def _bound(self, n: int) -> float:
        """eps in sigmas for a new part of n values against a long old one with unit variance."""
        term = math.log(2.0 * math.log(2.0 * max(n, 2)) / self.params.delta)
        return math.sqrt(2.0 / n * term) + 2.0 / (3.0 * n) * term * 2.0 * self.params.clip_sigmas

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
