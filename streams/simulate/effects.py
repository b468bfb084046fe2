"""What an incident does to traffic, as data: which rows, when, and which probabilities and sizes it changes.

An effect never draws random numbers. It moves the probability that a drawn uniform number is compared with,
or scales a drawn size, so all rows and fields it does not touch stay bit for bit as without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.simulate.reference import Floats

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Effect:
    """One change to the interactions of a segment from ``onset_ms`` (inclusive) to ``end_ms`` (exclusive).

    ``segment`` maps event fields to the value they must have; empty hits everything. ``ratios`` maps a name
    of ``reference.RATIOS`` to its probability during the effect. ``factors`` maps ``tokens_in``,
    ``tokens_out``, ``duration_ms``, ``ttft_ms`` or ``cost`` to what it is multiplied by (before costs and
    durations are derived from tokens). Within ``ramp_ms`` after the onset the effect grows linearly from
    nothing to full height.
    """

    onset_ms: int
    end_ms: int
    segment: Mapping[str, str] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    ramp_ms: int = 0

    def height(self, at_ms: NDArray[np.int64], columns: Columns) -> Floats:
        """How much of the effect each row feels: 0 for unaffected rows, 1 at full height."""
        hit = (at_ms >= self.onset_ms) & (at_ms < self.end_ms)
        for name, value in self.segment.items():
            hit &= columns[name] == value
        height = hit.astype(np.float64)
        if self.ramp_ms:
            height *= np.clip((at_ms - self.onset_ms) / self.ramp_ms, 0.0, 1.0)
        return height


class Active:
    """The effects that touch one block of rows, ready to be asked per field."""

    def __init__(self, effects: Sequence[Effect], at_ms: NDArray[np.int64], columns: Columns) -> None:
        self._felt: list[tuple[Effect, Floats]] = []
        for effect in effects:
            height = effect.height(at_ms, columns)
            if height.any():
                self._felt.append((effect, height))

    def ratio(self, name: str, base: float | Floats) -> float | Floats:
        """The probability of ``name`` per row: ``base``, moved towards each effect's value by its height."""
        for effect, height in self._felt:
            if name in effect.ratios:
                base = base + (effect.ratios[name] - base) * height
        return base

    def scale(self, name: str, values: Floats) -> Floats:
        """``values`` times each effect's factor, raised to its height."""
        for effect, height in self._felt:
            if name in effect.factors:
                values = values * effect.factors[name] ** height
        return values
