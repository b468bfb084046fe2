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

from detectors.records import TailBegins
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


class Log(msgspec.Struct, frozen=True):
    """A number on the logarithmic scale: how often it was positive, and the exact sum of those logarithms.

    Zero, negative and missing numbers are no observations. ``name`` is a ``Value`` or a number of its own.
    """

    name: str
    stream: Stream = "interaction"


class Category(msgspec.Struct, frozen=True):
    """Labels: counts per label; a record may have several."""

    name: str
    stream: Stream = "interaction"


class Spread(msgspec.Struct, frozen=True):
    """How a value is spread over those whom it came from: its sum in each of ``cells`` cells of a hash of who.

    Every record of somebody known counts for one quantum at least, so that they are counted. Kept where
    ``Segmentation.spread`` says so.
    """

    name: str
    value: str
    """The ``Value`` that is summed, in its quanta."""
    cells: int


class Reading(msgspec.Struct, frozen=True):
    """How a signal is computed from measures; what stands in no field is not used.

    ==============================  ==================================================  ==================
    form                            value                                               observations
    ==============================  ==================================================  ==================
    events                          per second                                          interactions
    flag                            held / known                                        known
    flag, ``per_event``             held / interactions (see below)                     interactions
    value                           sum / count                                         count
    value, ``q``                    quantile of the histogram; 1.0: the largest         count
    value, ``per``                  sum / sum over ``per`` x ``scale``                  count
    value, ``per``, ``out_of``      sum / sum over ``per``: a share of countable parts  sum over ``per``
    value, ``span``                 sum over the span                                   count
    log, ``typical``                geometric mean                                      positive values
    value, ``tail``                 share beyond what its segment is used to, which      count
                                    DETECT learns (``detectors.extremes``)
    category                        counts per label                                    counts
    spread, ``who`` "number"        those whom the value came from                      the same
    spread, ``who`` "mean"          sum / those                                         those
    spread, ``who`` "heaviest"      share of the heaviest hundredth of those            those
    ==============================  ==================================================  ==================

    A spread means little in a window: DETECT reads it over a longer span (``detectors.people``).

    In ``per`` a value stands for its sum, a flag for how often it held.

    ``per_event`` is for what is only reported when it holds. Reports may come in a later window than their
    interactions, so a window counts at least as many interactions as reports: held / max(events, held). No report
    is lost and the ratio is at most 1; over spans longer than the delay it falls short of the share by at most its
    square.
    """

    measure: str
    q: float | None = None
    per: tuple[str, ...] = ()
    scale: float = 1.0
    out_of: bool = False
    per_event: bool = False
    typical: bool = False
    span: bool = False
    tail: TailBegins = ""
    who: Literal["", "number", "mean", "heaviest"] = ""


class Plain(NamedTuple):
    """The signals that are one sum over one count, read all at once; aligned arrays of columns."""

    signal: NDArray[np.intp]
    """Column of ``numeric_signals``."""
    count: NDArray[np.intp]  # type: ignore[assignment]  # tuple.count is not used
    total: NDArray[np.intp]
    quantum: NDArray[np.float64]


class Layout:
    """Where each measure stands in the columns of a ``Block``.

    Counter columns: ``events``; then known and held of each flag; count and sum of each value; positive and log of
    each logarithm.
    """

    def __init__(
        self,
        flags: Sequence[Flag],
        values: Sequence[Value],
        categories: Sequence[Category],
        readings: Mapping[str, Reading],
        logs: Sequence[Log] = (),
        spreads: Sequence[Spread] = (),
    ) -> None:
        self.flags = tuple(flags)
        self.values = tuple(values)
        self.logs = tuple(logs)
        self.categories = tuple(categories)
        self.spreads = {spread.name: spread for spread in spreads}
        self.readings = dict(readings)
        self.histograms = tuple(value for value in values if value.histogram)
        names = ["events"]
        for flag in flags:
            names += [f"{flag.name}.known", f"{flag.name}.held"]
        for value in values:
            names += [f"{value.name}.count", f"{value.name}.sum"]
        for log in logs:
            names += [f"{log.name}.positive", f"{log.name}.log"]
        self.columns = tuple(names)
        self.column = {name: at for at, name in enumerate(names)}
        self.quantum = {value.name: value.quantum for value in values}
        self.histogram = {value.name: at for at, value in enumerate(self.histograms)}
        self.spread = {name: len(self.histogram) + at for at, name in enumerate(self.spreads)}
        """Slot among the histograms, whose items are cells."""
        self.category = {category.name: at for at, category in enumerate(categories)}
        self.exemplar_measures = (*(flag.name for flag in flags), *(value.name for value in self.histograms))
        self.exemplar = {name: at for at, name in enumerate(self.exemplar_measures)}
        self.numeric_signals = tuple(name for name, r in readings.items() if r.measure not in self.category)
        self.mix_signals = tuple(name for name, r in readings.items() if r.measure in self.category)
        if max(len(self.histogram) + len(self.spread), len(self.categories)) > MAX_SLOTS:
            raise ValueError(f"at most {MAX_SLOTS} histograms and spreads, and as many categories")
        self.plain = self._plain()
        numeric = [(at, readings[name]) for at, name in enumerate(self.numeric_signals)]
        by_itself = set(self.plain.signal.tolist())
        self.special = [(at, r) for at, r in numeric if at not in by_itself and r.q is None and not r.who]
        """Column of ``numeric_signals`` and reading of what is neither plain nor a quantile."""
        self.who = [(at, r) for at, r in numeric if r.who]
        self.quantiles: dict[str, list[tuple[int, float]]] = {}
        """Measure -> (column of ``numeric_signals``, quantile)."""
        for at, reading in numeric:
            if reading.q is not None:
                self.quantiles.setdefault(reading.measure, []).append((at, reading.q))

    def _plain(self) -> Plain:
        signals, counts, totals, quanta = [], [], [], []
        for at, name in enumerate(self.numeric_signals):
            reading = self.readings[name]
            if reading != Reading(reading.measure) or reading.measure == "events":
                continue
            known = self.column.get(f"{reading.measure}.known")
            quantum = 1.0
            if known is None:
                known, quantum = self.column[f"{reading.measure}.count"], self.quantum[reading.measure]
            signals.append(at)
            counts.append(known)
            totals.append(known + 1)
            quanta.append(quantum)
        columns = [np.array(column, np.intp) for column in (signals, counts, totals)]
        return Plain(columns[0], columns[1], columns[2], np.array(quanta))

    def unit_of(self, column: str) -> float:
        """In which quantum a value behind a counter column is measured; 1 for what has none."""
        measure, _, what = column.rpartition(".")
        return self.quantum[measure] if what in ("count", "sum") else 1.0

    @property
    def width(self) -> int:
        return len(self.columns)
