"""What an incident does to traffic, as data: which rows, when, and what about them it changes.

An effect moves the probability that a drawn uniform number is compared with, or scales a drawn size, so all rows
and fields that it does not touch stay bit for bit as without it. Where it has to choose rows of its own (a share
that is relabelled, a tail, a thinned volume) it draws from a random stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.simulate.reference import Floats

Columns = dict[str, NDArray[Any]]
_EFFECTS: Final = 5
"""Tag of the random stream that effects choose rows from."""


@dataclass(frozen=True)
class Effect:
    """One change to the interactions of a segment from ``onset_ms`` (inclusive) to ``end_ms`` (exclusive).

    ``segment`` maps event fields (``attributes.<name>`` too) to the value they must have; empty hits everything.
    Within ``ramp_ms`` after the onset the effect grows linearly from nothing to full height; with ``on_ms`` and
    ``off_ms`` it flaps between full height and nothing. At full height:

    * ``ratios``: a name of ``reference.RATIOS`` -> its probability;
    * ``factors``: a size (``tokens_in``, ``tokens_out``, ``duration_ms``, ``ttft_ms``, ``cost``, ``steps``,
      ``retrieved_chunks``, ``index_age``) -> what it is multiplied by, before costs and durations are derived;
    * ``shifts``: ``retrieval_score`` or ``judge_score`` -> what is added to it;
    * ``tail_share`` of the rows have their sizes multiplied by ``tail_factors`` instead;
    * ``labels``: a label field -> value -> share of the rows that get this value (None: that lose the label);
    * ``volume``: how many times as many interactions of the segment there are.
    """

    onset_ms: int
    end_ms: int
    segment: Mapping[str, str] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    ramp_ms: int = 0
    shifts: Mapping[str, float] = field(default_factory=dict)
    tail_share: float = 0.0
    tail_factors: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str | None, float]] = field(default_factory=dict)
    volume: float = 1.0
    on_ms: int = 0
    off_ms: int = 0

    def height(self, at_ms: NDArray[np.int64], columns: Columns) -> Floats:
        """How much of the effect each row feels: 0 for unaffected rows, 1 at full height."""
        return self.strength(at_ms) * self.hits(columns, len(at_ms))

    def strength(self, at_ms: NDArray[np.int64]) -> Floats:
        """The height at each time in the segment."""
        on = (at_ms >= self.onset_ms) & (at_ms < self.end_ms)
        if self.on_ms:
            on &= (at_ms - self.onset_ms) % (self.on_ms + self.off_ms) < self.on_ms
        height = on.astype(np.float64)
        if self.ramp_ms:
            height *= np.clip((at_ms - self.onset_ms) / self.ramp_ms, 0.0, 1.0)
        return height

    def hits(self, columns: Columns, n: int) -> NDArray[np.bool_]:
        """Which rows belong to the segment."""
        hit = np.ones(n, np.bool_)
        for name, value in self.segment.items():
            hit &= columns[name] == value
        return hit


class Active:
    """The effects that touch one block of rows, ready to be asked per field."""

    def __init__(
        self, effects: Sequence[Effect], at_ms: NDArray[np.int64], columns: Columns, seed: int, block: int
    ) -> None:
        self._effects, self._at_ms, self._key = effects, at_ms, [seed, _EFFECTS, block]
        self._by_number: dict[int, tuple[Effect, Floats, np.random.Generator, NDArray[np.bool_]]] = {}
        self._feel(range(len(effects)), columns)

    def relabelled(self, columns: Columns) -> None:
        """Rows have new labels: effects that only change what is behind a label hit those that have it now."""
        self._feel((n for n, effect in enumerate(self._effects) if not effect.labels), columns)

    def _feel(self, numbers: Iterable[int], columns: Columns) -> None:
        for number in numbers:
            effect = self._effects[number]
            height = effect.height(self._at_ms, columns)
            self._by_number.pop(number, None)
            if height.any():
                rng = np.random.default_rng([*self._key, number])
                tail = rng.random(len(self._at_ms)) < effect.tail_share * height
                self._by_number[number] = (effect, height, rng, tail)
        self._felt = [self._by_number[number] for number in sorted(self._by_number)]

    def ratio(self, name: str, base: float | Floats) -> float | Floats:
        """The probability of ``name`` per row: ``base``, moved towards each effect's value by its height."""
        for effect, height, _, _ in self._felt:
            if name in effect.ratios:
                base = base + (effect.ratios[name] - base) * height
        return base

    def scale(self, name: str, values: Floats) -> Floats:
        """``values`` times each effect's factor, raised to its height; tails in full."""
        for effect, height, _, tail in self._felt:
            if name in effect.factors:
                values = values * effect.factors[name] ** height
            if name in effect.tail_factors:
                values = np.where(tail, values * effect.tail_factors[name], values)
        return values

    def shift(self, name: str, values: Floats) -> Floats:
        """``values`` plus each effect's shift times its height."""
        for effect, height, _, _ in self._felt:
            if name in effect.shifts:
                values = values + effect.shifts[name] * height
        return values

    def relabel(self, name: str, labels: NDArray[Any]) -> NDArray[Any]:
        """``labels`` with each effect's shares of rows relabelled."""
        for effect, height, rng, _ in self._felt:
            if name in effect.labels:
                labels, drawn, below = labels.copy(), rng.random(len(labels)), np.zeros(len(labels))
                for value, share in effect.labels[name].items():
                    chosen = (drawn >= below) & (drawn < below + share * height)
                    labels[chosen] = value
                    below = below + share * height
        return labels

    def kept(self, n: int) -> NDArray[np.bool_]:
        """The rows that are left where effects reduce the volume."""
        keep = np.ones(n, np.bool_)
        for effect, height, rng, _ in self._felt:
            if effect.volume < 1.0:
                keep &= rng.random(n) >= (1.0 - effect.volume) * height
        return keep
