"""Evidence of a change: a mixture of Shiryaev-Roberts statistics over tilts of an exponential family.

    R_j(t) = (1 + R_j(t-1)) exp(l_j(t) / v_j),     alarm when   mean_j R_j(t) >= threshold

l_j is the log-likelihood ratio of tilt j for row t (``families``) and v_j the dispersion at the scale where
that tilt is seen (``dispersion``). R_j sums the likelihood ratios of *all* change points before t, in O(1),
so nothing is lost between the points of a grid. While nothing changes R(t) - t is a martingale, which bounds
the average run length (ARL): mean rows to a false alarm >= threshold, whatever the family: R is an
e-detector.

A tilt is seen once it has gathered log(threshold) nats. Its scale is the smallest block of m = 2^k rows with
m I_j >= log(threshold) v_k, I_j being the information of one row. Where there is no such block the series is
too correlated for so small a change to be told apart from its own wandering, and the tilt pauses.

Source: J. Shin, A. Ramdas, A. Rinaldo, E-detectors (2022), arXiv:2203.03532; A. N. Shiryaev (1963), S. W.
Roberts (1966).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from detectors.series.dispersion import LEVELS

_LARGEST: Final = 1e250
"""R stays finite, however strong the evidence."""


class Evidence:
    """R_j of one series. O(number of tilts) a row."""

    __slots__ = ("_inverse", "_log_threshold", "_r", "_threshold", "total")

    def __init__(self, tilts: int, threshold: float) -> None:
        self._r = [0.0] * tilts
        self._inverse = [0.0] * tilts
        self._threshold = threshold * tilts
        self._log_threshold = math.log(threshold)
        self.total = 0.0

    def scale(self, first: int, information: Sequence[float], dispersion: Sequence[float]) -> None:
        """Set v_j of the tilts from number ``first`` on, given nats per row of each and v_0 ... v_10."""
        for number, nats in enumerate(information, first):
            self._inverse[number] = 0.0
            for level in range(LEVELS):
                if (1 << level) * nats >= self._log_threshold * dispersion[level]:
                    self._inverse[number] = 1.0 / dispersion[level]
                    break
            else:
                self._r[number] = 0.0

    def update(self, increments: Sequence[float]) -> bool:
        """Take in the log-likelihood ratios of one row; true if the threshold is reached."""
        total, r, exp = 0.0, self._r, math.exp
        for number, inverse in enumerate(self._inverse):
            if inverse:
                value = (r[number] + 1.0) * exp(min(increments[number] * inverse, 500.0))
                r[number] = value = min(value, _LARGEST)
                total += value
        self.total = total
        return total >= self._threshold

    @property
    def nearness(self) -> float:
        """How near the alarm is: 0 none, 1 there (on a log scale)."""
        if self.total <= len(self._r):
            return 0.0
        return min(math.log(self.total / len(self._r)) / self._log_threshold, 1.0)

    @property
    def strongest(self) -> int:
        """The number of the tilt that the evidence speaks for."""
        return max(range(len(self._r)), key=self._r.__getitem__)

    def reset(self) -> None:
        """Start anew, after an alarm."""
        self._r = [0.0] * len(self._r)
        self.total = 0.0
