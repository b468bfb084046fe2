"""Logarithms as integers, so that their sums are exact and do not depend on the order of the records.

A positive float64 is ``2**e * (1 + m)``. Its logarithm to base 2, in units of 1/65,536, is ``e * 65,536`` plus
what a table says for the first ten bits of ``m``: the logarithm of the middle of that 1/1,024 step. All of it is
integer arithmetic on the bit pattern, the same on every machine; a library's logarithm may differ in its last bit
from one processor to the next. The error is at most ``ABSOLUTE_ERROR`` octaves: 0.05 % of the value.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE: Final = 1 << 16
"""Units of a doubling."""
ABSOLUTE_ERROR: Final = math.log2(1 + 1 / 2048) + 0.5 / PER_OCTAVE
"""Of one logarithm, in octaves: half a step of the table, and its rounding."""
_STEP_BITS: Final = 10
_SHIFT: Final = 52 - _STEP_BITS
_STEPS: Final = 1 << _STEP_BITS
_TABLE: Final = np.array(
    [round(PER_OCTAVE * math.log2(1 + (step + 0.5) / _STEPS)) for step in range(_STEPS)], np.int64
)


def log_units(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The logarithm to base 2 of each value in units of 1/``PER_OCTAVE``; values must be positive and finite."""
    top = np.ascontiguousarray(values).view(np.int64) >> _SHIFT
    step = top & (_STEPS - 1)
    top >>= _STEP_BITS
    top -= 1023
    top <<= 16
    top += _TABLE[step]
    return top


def typical(total_units: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """The geometric mean of ``count`` values whose logarithms sum to ``total_units``; NaN without values."""
    mean = np.full(count.shape, np.nan)
    np.divide(total_units, count * float(PER_OCTAVE), out=mean, where=count > 0)
    result: NDArray[np.float64] = np.exp2(mean)
    return result
