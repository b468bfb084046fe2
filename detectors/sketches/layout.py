"""What AGGREGATE accumulates for every (window, segment): the rows of the measure table.

A *measure* is exact and mergeable: counts, fixed-point sums, log-bucket histograms, category counts. A
*signal* is a statistic of one measure (or of two), computed by its ``Reading``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.sketches.entries import MAX_SLOTS

Stream = Literal["interaction", "feedback"]


class Flag(msgspec.Struct, frozen=True):
    """A yes/no measure: counts how often it was known and how often it held."""

    name: str
    bad: bool = True
    """Which answer is the bad one, for the choice of exemplars."""
    stream: Stream = "interaction"


class Value(msgspec.Struct, frozen=True):
    """A number: count and exact sum in units of ``quantum``; with ``histogram`` a quantile sketch as well.

    ``maximum`` is the largest accepted value; maximum / quantum stays below 2**53 / 65,536, so that a block of
    65,536 rows sums exactly in float64.
    """

    name: str
    quantum: float
    maximum: float
    histogram: bool = False
    stream: Stream = "interaction"


class Category(msgspec.Struct, frozen=True):
    """A label: counts per category."""

    name: str


class Reading(msgspec.Struct, frozen=True):
    """How a signal is computed from measures.

    ``rate``: events per second, or the total of ``measure`` over the span. ``ratio``: held / known of a flag.
    ``mean``: sum / count of a value, or the sum of ``measure`` over the sum of the ``per`` values times
    ``scale``. ``quantile``: ``q`` of a value's histogram. ``mix``: category counts.
    """

    measure: str
    q: float | None = None
    per: tuple[str, ...] = ()
    scale: float = 1.0
    span: bool = False
    """The total over the span rather than per observation."""


class Plain(NamedTuple):
    """The signals that are one sum over one count, read all at once; aligned arrays of columns."""

    signal: NDArray[np.intp]
    """Column of ``numeric_signals``."""
    count: NDArray[np.intp]  # type: ignore[assignment]  # tuple.count is not used
    total: NDArray[np.intp]
    quantum: NDArray[np.float64]


class Layout:
    """Where each measure stands in the columns of a ``Block``.

    Counter columns: ``events``; then known and held of each flag; then count and sum of each value.
    """

    def __init__(
        self,
        flags: Sequence[Flag],
        values: Sequence[Value],
        categories: Sequence[Category],
        readings: Mapping[str, Reading],
    ) -> None:
        self.flags = tuple(flags)
        self.values = tuple(values)
        self.categories = tuple(categories)
        self.readings = dict(readings)
        self.histograms = tuple(value for value in values if value.histogram)
        names = ["events"]
        for flag in flags:
            names += [f"{flag.name}.known", f"{flag.name}.held"]
        for value in values:
            names += [f"{value.name}.count", f"{value.name}.sum"]
        self.columns = tuple(names)
        self.column = {name: at for at, name in enumerate(names)}
        self.quantum = {value.name: value.quantum for value in values}
        self.histogram = {value.name: at for at, value in enumerate(self.histograms)}
        self.category = {category.name: at for at, category in enumerate(categories)}
        self.exemplar_measures = (*(flag.name for flag in flags), *(value.name for value in self.histograms))
        self.exemplar = {name: at for at, name in enumerate(self.exemplar_measures)}
        self.numeric_signals = tuple(name for name, r in readings.items() if r.measure not in self.category)
        self.mix_signals = tuple(name for name, r in readings.items() if r.measure in self.category)
        if max(len(self.histograms), len(self.categories)) > MAX_SLOTS:
            raise ValueError(f"at most {MAX_SLOTS} histograms and as many categories")
        self.plain = self._plain()
        numeric = [(at, readings[name]) for at, name in enumerate(self.numeric_signals)]
        by_itself = set(self.plain.signal.tolist())
        self.special = [(at, r) for at, r in numeric if at not in by_itself and r.q is None]
        """Column of ``numeric_signals`` and reading of what is neither plain nor a quantile."""
        self.quantiles: dict[str, list[tuple[int, float]]] = {}
        """Measure -> (column of ``numeric_signals``, quantile)."""
        for at, reading in numeric:
            if reading.q is not None:
                self.quantiles.setdefault(reading.measure, []).append((at, reading.q))

    def _plain(self) -> Plain:
        signals, counts, totals, quanta = [], [], [], []
        for at, name in enumerate(self.numeric_signals):
            reading = self.readings[name]
            known = self.column.get(f"{reading.measure}.known")
            if known is not None:
                quantum = 1.0
            elif (
                reading.q is None and not reading.per and not reading.span and reading.measure in self.quantum
            ):
                known, quantum = self.column[f"{reading.measure}.count"], self.quantum[reading.measure]
            else:
                continue
            signals.append(at)
            counts.append(known)
            totals.append(known + 1)
            quanta.append(quantum)
        columns = [np.array(column, np.intp) for column in (signals, counts, totals)]
        return Plain(columns[0], columns[1], columns[2], np.array(quanta))

    @property
    def width(self) -> int:
        return len(self.columns)
