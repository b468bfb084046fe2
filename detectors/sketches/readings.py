"""Signals from measures: every reading of a layout, vectorised over segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.sketches.block import Block
from detectors.sketches.buckets import quantiles_by_row
from detectors.sketches.entries import only
from detectors.sketches.layout import Layout, Reading
from detectors.sketches.logs import typical
from detectors.sketches.spreads import spreads


def read_signals(block: Block, layout: Layout, span_ms: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Every numeric signal of every segment: values (NaN without observations) and observation counts."""
    shape = (len(block), len(layout.numeric_signals))
    values, counts = np.full(shape, np.nan), np.zeros(shape, np.int64)
    if not len(block):
        return values, counts
    counters = block.counters
    plain = layout.plain
    known = counters[:, plain.count]
    values[:, plain.signal] = _divide(counters[:, plain.total] * plain.quantum, known)
    counts[:, plain.signal] = known
    for at, reading in layout.special:
        values[:, at], counts[:, at] = read_one(block, layout, reading, span_ms)
    for measure, quantiles in layout.quantiles.items():
        rows, found, totals = _quantiles(block, layout, measure, [q for _, q in quantiles])
        columns = np.array([at for at, _ in quantiles])
        values[rows[:, None], columns] = found.T
        counts[rows[:, None], columns] = totals[:, None]
    return values, counts


def read_one(
    block: Block, layout: Layout, reading: Reading, span_ms: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One signal of every segment: values and observation counts."""
    if reading.q is not None:
        values, counts = np.full(len(block), np.nan), np.zeros(len(block), np.int64)
        rows, found, totals = _quantiles(block, layout, reading.measure, [reading.q])
        values[rows], counts[rows] = found[0], totals
        return values, counts
    if reading.who:
        return _of_spread(block, layout, reading)
    if reading.tail:  # not before DETECT has said what its segments are used to
        return np.full(len(block), np.nan), np.zeros(len(block), np.int64)
    counters, column = block.counters, layout.column
    events = counters[:, 0]
    if reading.measure == "events":
        # A segment that only has feedback in this span had no interactions: its rate is unknown, not zero.
        return np.where(events > 0, events / (span_ms / 1000), np.nan), events
    if reading.typical:
        positive = counters[:, column[f"{reading.measure}.positive"]]
        return typical(counters[:, column[f"{reading.measure}.log"]], positive), positive
    if f"{reading.measure}.known" in column:
        held = counters[:, column[f"{reading.measure}.held"]]
        known = counters[:, column[f"{reading.measure}.known"]]
        if reading.per_event:
            known = np.maximum(events, held)
        return _divide(held, known), known
    count = counters[:, column[f"{reading.measure}.count"]]
    total = counters[:, column[f"{reading.measure}.sum"]] * layout.quantum[reading.measure]
    if reading.per:
        below = np.zeros(len(block))
        for name in reading.per:
            below += _amount(block, layout, name)
        below[count == 0] = 0.0
        return _divide(total * reading.scale, below), below.astype(np.int64) if reading.out_of else count
    if reading.span:
        return np.where(count > 0, total, np.nan), count
    return _divide(total, count), count


def _of_spread(
    block: Block, layout: Layout, reading: Reading
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values, counts = np.full(len(block), np.nan), np.zeros(len(block), np.int64)
    entries = only(block.histograms, block.histograms.slot == layout.spread[reading.measure])
    spread = layout.spreads[reading.measure]
    known = block.counters[:, layout.column[f"{spread.value}.count"]]
    found = spreads(entries, spread.cells)
    values[found.row] = found.read(reading.who, known[found.row], layout.quantum[spread.value])
    counts[found.row] = found.observations
    return values, counts


def _amount(block: Block, layout: Layout, measure: str) -> NDArray[np.float64]:
    """What stands below a fraction: the sum of a value, or how often a flag held."""
    held = layout.column.get(f"{measure}.held")
    if held is not None:
        return block.counters[:, held].astype(np.float64)
    total = block.counters[:, layout.column[f"{measure}.sum"]].astype(np.float64)
    total *= layout.quantum[measure]
    return total


def _quantiles(
    block: Block, layout: Layout, measure: str, qs: Sequence[float]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]]:
    return quantiles_by_row(*histogram_of(block, layout, measure), qs)


def histogram_of(
    block: Block, layout: Layout, measure: str
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Row, bucket and count of one measure's entries."""
    entries = block.histograms
    mine = entries.slot == layout.histogram[measure]
    return entries.row[mine], entries.item[mine], entries.count[mine]


def _divide(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.full(below.shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
