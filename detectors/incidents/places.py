"""How segments lie to each other, and what a change in one does to another.

Whether one segment lies within another is read from their names where they tell (``model=x`` holds ``model=x,
topic=t``); of segments that cross only the sizes are known, and what they may share at most.
"""

from __future__ import annotations

import math
import re
from typing import Final

from detectors.incidents.effects import Effect, Effects
from detectors.records import FLEET, SegmentKey, Signal

_QUANTILE: Final = re.compile(r"_p(\d{2})_")
_LEAST: Final = 1e-9
MAX_LOG: Final = 5.0
"""A stop, or a start from nothing, counts as this factor's logarithm (about 150)."""


def within(child: SegmentKey, parent: SegmentKey) -> bool:
    """Whether the names say that ``child`` is part of ``parent`` (or equal)."""
    return set(zip(*parent, strict=True)) <= set(zip(*child, strict=True))


def disjoint(one: SegmentKey, other: SegmentKey) -> bool:
    """Whether the names say that no interaction is in both."""
    values = one.as_dict()
    return any(values.get(d, v) != v for d, v in zip(*other, strict=True))


def share_within(child: SegmentKey, parent: SegmentKey, signal: Signal, effects: Effects) -> float:
    """The largest share that ``child`` can have of what has the signal in ``parent``, in [0, 1].

    Exact where it lies within it.
    """
    if within(parent, child):
        return 1.0
    if disjoint(child, parent):
        return 0.0
    return min(1.0, effects.share(child, parent, signal.name))


def size_of(signal: Signal, effect: Effect) -> float:
    """The effect on the scale on which parts add up to the whole, signed.

    Sums, shares and arithmetic means add up as they are; geometric means ("typical") and quantiles as logarithms.
    """
    if _multiplies(signal):
        return log_ratio(effect.observed, effect.expected)
    return relative_size(signal, effect) if signal.kind == "mix" else effect.observed - effect.expected


def relative_size(signal: Signal, effect: Effect) -> float:
    """The effect on a scale on which segments of different level compare, signed but for mixes.

    A mix has no direction: what one label gains others lose, and which of them moved most is chance.
    """
    if signal.kind == "mix":
        return abs(effect.observed - effect.expected)
    if signal.kind == "ratio" or signal.unit == "score":
        return effect.observed - effect.expected
    return log_ratio(effect.observed, effect.expected)


def carried(signal: Signal, share: float, effect: Effect) -> float:
    """How much a part's effect moves the whole that it has this share of, on the scale of ``size_of``."""
    size = size_of(signal, effect)
    if signal.kind == "rate":
        return size
    found = _QUANTILE.search(signal.name) if signal.kind == "quantile" else None
    if found is not None:
        # Values beyond the quantile are few: a part of that size can fill them alone.
        return min(1.0, share / (1.0 - int(found.group(1)) / 100)) * size
    return share * size


def log_ratio(observed: float, expected: float) -> float:
    """ln(observed / expected), bounded; 0 where neither is positive."""
    if observed <= _LEAST and expected <= _LEAST:
        return 0.0
    ratio = math.log(max(observed, _LEAST)) - math.log(max(expected, _LEAST))
    return max(-MAX_LOG, min(MAX_LOG, ratio))


def is_everything(segment: SegmentKey) -> bool:
    return segment == FLEET


def _multiplies(signal: Signal) -> bool:
    return "_typical" in signal.name or signal.kind == "quantile"
