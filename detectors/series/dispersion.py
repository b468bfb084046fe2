"""How much more sums vary than independent values would: the variance of dyadic blocks.

    v_k = E[(e_1 + ... + e_m)^2] / m,   m = 2^k rows,   e = a residual of unit variance if the model is right

v_0 is over-dispersion; v_k grows with k while residuals are positively correlated (bursts, cycles, long
memory) and is 1 at every k for independent ones. A likelihood ratio whose evidence is gathered over m rows is
divided by v_k, which makes it a quasi-likelihood with the right variance at the scale at which it is used.

Blocks of a scale are few at first. As long as sums of up to 32 rows do not show correlation beyond doubt (3
standard errors), only growth of v that is itself beyond doubt counts, and independent
rows cost no delay. A series that is correlated gets the opposite treatment: v_k is shrunk towards what
v_(k-1) and its growth let expect, with the weight of ``PRIOR_BLOCKS`` blocks, and a third of a standard error
is added. It never falls with k, so negative correlation is not exploited. In the first rows nothing is known
about correlation and v is larger by (80 / rows)^2. A block counts for at most ``CLIP`` times the present v_k:
one change must not hide the next.

Source: R. W. M. Wedderburn, Quasi-likelihood functions (1974); batch means: G. S. Fishman (1978).
"""

from __future__ import annotations

import math
from typing import Final

LEVELS: Final = 11
"""Blocks of 1, 2, 4, ... 1,024 rows: the memory of the reference is no longer."""

PRIOR_BLOCKS: Final = 6.0
"""Half the noise of the first blocks is gone, while ten blocks of real correlation prevail."""

SURE_CORRELATION: Final = 3.0
SURE_GROWTH: Final = 3.0
CAUTION: Final = 0.3
"""All three in standard errors."""

FEW_BLOCKS: Final = 8.0
UNKNOWN_ROWS: Final = 80.0
CLIP: Final = 9.0
"""Three standard deviations, squared."""

MEMORY_BLOCKS: Final = 4096.0
"""Older blocks fade: v follows a series whose character changes."""

_REFRESH_LEVEL: Final = 5
"""The table is computed anew every 2^5 rows, and more often in the beginning."""


class Dispersion:
    """v_k of one series of residuals. Amortised O(1) a row."""

    __slots__ = ("_counts", "_floor", "_means", "_pending", "rows", "single_trials", "values")

    def __init__(self, floor: float) -> None:
        """``floor``: the least v_0 (1 where the model has a variance of its own, 0 where it has none)."""
        self._floor = floor
        self._means = [0.0] * LEVELS
        self._counts = [0.0] * LEVELS
        self._pending: list[float | None] = [None] * LEVELS
        self.rows = 0
        self.single_trials = False
        """Rows are single trials of a known mean: their variance is known too, and only correlation is measured."""
        self.values = [1.0] * LEVELS
        """v_0 ... v_10."""

    def update(self, residual: float) -> bool:
        """Learn one residual; true if ``values`` changed."""
        self.rows += 1
        total, level, size = residual, 0, 1.0
        counts, means, pending, values = self._counts, self._means, self._pending, self.values
        while True:
            square = total * total / size
            if self.rows > 30:  # before, v is not known well enough to call a block an outlier
                largest = CLIP * values[level]
                if square > largest:
                    square = largest
            count = counts[level] + 1.0
            if count <= MEMORY_BLOCKS:
                counts[level] = count
            means[level] += (square - means[level]) / count
            before = pending[level]
            if before is None:
                if level < LEVELS - 1:
                    pending[level] = total
                break
            pending[level] = None
            total += before
            level += 1
            size += size
        if level >= _REFRESH_LEVEL or self.rows <= 32 or (level >= 2 and self.rows <= 256):
            self._refresh()
            return True
        return False

    def forget_partial_blocks(self) -> None:
        """Blocks do not reach across a change."""
        self._pending = [None] * LEVELS

    def _refresh(self) -> None:
        counts, means = self._counts, self._means
        prior = PRIOR_BLOCKS if self._floor else 0.0
        last = max((prior * self._floor + counts[0] * means[0]) / (prior + counts[0]), 1e-12)
        table, growth = [last], 1.0
        correlated = self._is_correlated()
        for level in range(1, LEVELS):
            count, mean = counts[level], means[level]
            if correlated:
                value = (PRIOR_BLOCKS * last * growth + count * mean) / (PRIOR_BLOCKS + count)
                value = max(value * (1.0 + CAUTION * _noise(PRIOR_BLOCKS + count)), last)
                growth = min(value / last, 2.0)
            elif count > FEW_BLOCKS:
                value = max(mean * (1.0 - SURE_GROWTH * _noise(count)), last)
            else:
                value = last
            table.append(value)
            last = value
        unknown = 1.0 + (UNKNOWN_ROWS / self.rows) ** 2
        if self.single_trials:
            known = max(table[0], 1.0)
            table = [value / known for value in table]
        self.values = [max(value, self._floor) * unknown for value in table]

    def _is_correlated(self) -> bool:
        """Sums of up to 32 rows vary more than chance explains."""
        counts, means = self._counts, self._means
        return any(
            counts[level] > 2.0 and means[level] > means[0] * (1.0 + SURE_CORRELATION * _noise(counts[level]))
            for level in range(1, 6)
        )


def _noise(blocks: float) -> float:
    """Relative standard error of a variance of so many blocks."""
    return math.sqrt(2.0 / blocks)
