"""Log buckets for quantiles: DDSketch with the linearly interpolated mapping.

A positive float64 is ``2**e * (1 + m)``; its bucket is ``e * 64 + floor(64 * m)``, which is the top of its
bit pattern, so assigning buckets is one shift and does not depend on any library's logarithm. A bucket spans
at most 1/64 of its lower bound, and a quantile answers with the middle of a bucket: the relative error is at
most 1/128, stated as ``RELATIVE_ERROR``. Histograms merge by adding counts, which is exact.

Source: Masson, Rim, Lee: DDSketch, VLDB 2019; the interpolated mapping is section 2.2 of its implementation
notes (``LinearlyInterpolatedMapping``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.sketches.entries import changes

RELATIVE_ERROR: Final = 1 / 128
_MANTISSA_BITS: Final = 52
_SUB_BITS: Final = 6
_SHIFT: Final = _MANTISSA_BITS - _SUB_BITS
_BIAS: Final = 1023 << _SUB_BITS
SMALLEST: Final = 2.0**-20
"""Values below it (zero included) share the lowest bucket and are answered as 0."""
_LOWEST: Final = -20 << _SUB_BITS
ZERO_BUCKET: Final = _LOWEST - 1
_HIGHEST: Final = 1024 << _SUB_BITS
"""Begins at infinity: no value is in it."""


def bucket_of(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """The bucket of each value; values must be finite and not negative."""
    raw = (np.ascontiguousarray(values).view(np.int64) >> _SHIFT) - _BIAS
    return np.where(values < SMALLEST, ZERO_BUCKET, raw).astype(np.int32)


def value_of(buckets: NDArray[np.int32]) -> NDArray[np.float64]:
    """The value that answers for each bucket: the middle of its span."""
    raw = (buckets.astype(np.int64) + _BIAS) << _SHIFT
    lower = raw.view(np.float64)
    middle = lower + np.ldexp(0.5, (buckets >> _SUB_BITS) - _SUB_BITS)
    return np.where(buckets == ZERO_BUCKET, 0.0, middle)


def edge_index(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """The lowest bucket that has nothing below each value: the one that begins at the value, or the next one.

    0 and less give ``ZERO_BUCKET``, infinity a bucket above all; NaN gives anything.
    """
    raw = ((np.ascontiguousarray(values).view(np.int64) + ((1 << _SHIFT) - 1)) >> _SHIFT) - _BIAS
    return np.where(values > 0.0, np.clip(raw, _LOWEST, _HIGHEST), ZERO_BUCKET).astype(np.int32)


def edge_of(values: NDArray[np.float64], steps: int = 0) -> NDArray[np.float64]:
    """The smallest bucket edge that is not below each value, ``steps`` buckets further up (or down).

    An edge is its own edge. The edges are 0, then from ``SMALLEST`` on 64 in each octave. NaN stays NaN.
    """
    index = np.clip(edge_index(values).astype(np.int64) + steps, ZERO_BUCKET, _HIGHEST)
    edges = np.where(index == ZERO_BUCKET, 0.0, ((index + _BIAS) << _SHIFT).view(np.float64))
    return np.where(np.isnan(values), np.nan, edges)


def count_from(
    rows: NDArray[np.int32],
    buckets: NDArray[np.int32],
    counts: NDArray[np.int64],
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each of many histograms: observations from ``edge_of`` its threshold on, and all observations.

    ``rows`` names the histogram of each entry: an index into ``thresholds``. A threshold that is NaN asks nothing:
    0 of 0.
    """
    reached = buckets >= edge_index(thresholds)[rows]
    held, known = (
        # Sums of integers in float64: exact up to 2**53 observations.
        np.bincount(rows, weights, len(thresholds)).astype(np.int64)
        for weights in (np.where(reached, counts, 0), counts)
    )
    asked = ~np.isnan(thresholds)
    return held * asked, known * asked


def quantile(buckets: NDArray[np.int32], counts: NDArray[np.int64], q: float) -> float:
    """The q-quantile of one histogram: the value of rank ``floor(q * (n - 1))``, within RELATIVE_ERROR.

    ``buckets`` must be ascending and without repeats; ``counts`` positive. Raises ValueError when empty.
    """
    if not len(buckets):
        raise ValueError("a quantile of nothing")
    cumulative = np.cumsum(counts)
    rank = int(q * (int(cumulative[-1]) - 1))
    return float(value_of(buckets[np.searchsorted(cumulative, rank, side="right")][None])[0])


def quantiles_by_row(
    rows: NDArray[np.int32], buckets: NDArray[np.int32], counts: NDArray[np.int64], qs: Sequence[float]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]]:
    """``quantile`` for many histograms and quantiles at once.

    ``rows`` names the histogram of each entry; entries are sorted by (row, bucket). Returns the rows that
    have entries, their quantiles as [qs, rows] and their number of observations.
    """
    if not len(rows):
        return rows, np.empty((len(qs), 0)), np.empty(0, np.int64)
    starts = np.flatnonzero(changes(rows))
    totals = np.add.reduceat(counts, starts)
    cumulative = np.cumsum(counts)
    before = cumulative[starts] - counts[starts]
    ranks = before + (np.array(qs)[:, None] * (totals - 1)).astype(np.int64)
    hit = np.searchsorted(cumulative, ranks, side="right")
    return rows[starts], value_of(buckets[hit]), totals
