"""Which labels of a mix moved, and how much of the mix that is.

Shares of several labels are compared over one stretch: that of the label that moved most. A label within ``_NOISE``
standard deviations of what is expected counts as unmoved, so that many small ones do not add up to a change; what
the others won or lost, whichever is more, is the total variation distance between the two mixes.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from detectors.base import Change, Floats, Ints
from detectors.baseline import RATIO_FLOOR
from detectors.records import Mover
from detectors.scoring import Scored, off_the_ends

MAX_MOVERS: Final = 3
_AS_SURE: Final = 0.5
"""Of the labels with this part of the largest evidence, the one that moved most has the name."""
_RISES_FIRST: Final = 1.5
"""What came says more than what went, if it is about as large; all segments should name the same label."""
_NOISE: Final = 2.0
_KNOWN_SPREAD: Final = RATIO_FLOOR * (1.0 - RATIO_FLOOR)
"""Of one observation: from this variance on the spread of a share is what was seen, if that is more."""


_SURE_NATS: Final = 8.0
_HARDLY: Final = 0.005
"""A share below this is as good as none."""


def mover_of(nats: Floats, shift: Floats) -> int:
    """Of the labels that moved surely the one that moved most; what rose before what fell as far."""
    sure = nats >= _AS_SURE * nats.max()
    size = np.where(sure, np.abs(shift) * np.where(shift > 0, _RISES_FIRST, 1.0), -1.0)
    return int(size.argmax())


def came(change: Change) -> float:
    """The largest share among the labels that surely rose and were hardly there before; 0 without any."""
    n = np.maximum(change.n, 1.0)
    new = (change.nats >= _SURE_NATS) & (change.deviation > 0) & (change.expected / n < _HARDLY)
    return float(np.where(new, change.deviation / n, 0.0).max(initial=0.0))


def moved(first: int, labels: list[str], now: Change) -> tuple[tuple[Mover, ...], float]:
    """(the largest movers, the share of the mix that moved) of the labels of one whole since one moment.

    ``first`` is the position of the label that has the name.
    """
    n = np.maximum(now.n, 1.0)
    expected, shift = now.expected / n, now.deviation / n
    p = np.clip(expected, 0.5 / n, 1.0 - 0.5 / n)
    real = np.abs(shift) > _NOISE * np.sqrt(p * (1.0 - p) / n)
    real[first] = True
    distance = max(float(shift[real & (shift > 0)].sum()), float(-shift[real & (shift < 0)].sum()))
    ranked = sorted(np.flatnonzero(real).tolist(), key=lambda at: (at != first, -abs(shift[at]), labels[at]))
    return (
        tuple(
            Mover(labels[at], share(expected[at] + shift[at]), share(expected[at]))
            for at in ranked[:MAX_MOVERS]
        ),
        share(distance),
    )


def log_odds(change: Change) -> float:
    """By how much the log odds of one share moved; nothing and everything count as half an observation off it."""
    n, expected, deviation = (float(c[0]) for c in (change.n, change.expected, change.deviation))
    if n <= 0.0:
        return 0.0
    before, now = off_the_ends(np.array([expected, expected + deviation]) / n, np.array([n])).tolist()
    return math.log(now / before) + math.log1p(-before) - math.log1p(-now)


def for_usual(scored: Scored, at: Ints, moved_by: Floats) -> Floats:
    """What the panes at ``at`` say for the expected share and against one with log odds ``moved_by``, in nats."""
    ref, n = scored.ref.take(at), scored.panes.n[at]
    p = off_the_ends(ref.expected, ref.weight)
    # A small share is seen too seldom to tell how it is spread.
    usual = np.maximum(p * (1.0 - p), _KNOWN_SPREAD)
    phi = np.maximum(1.0, ref.event_variance / usual)
    result: Floats = n * (np.log1p(p * np.expm1(moved_by)) - scored.x[at] * moved_by) / phi
    return result


def share(value: float) -> float:
    return float(min(max(value, 0.0), 1.0))
