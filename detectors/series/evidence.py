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

from detectors.series.dispersion import LEVELS

Tilt = tuple[float, float, float]
"""(a, b, c): the log-likelihood ratio of a row with statistic t and weight w is a w + b t + c t^2."""


class Evidence:
    """R_j of one series. O(number of tilts) a row."""

    __slots__ = ("_active", "_log_threshold", "_r", "_threshold", "total")

    def __init__(self, tilts: int, threshold: float) -> None:
        self._r = [0.0] * tilts
        self._active: list[tuple[int, float, float, float]] = []
        self._threshold = threshold * tilts
        self._log_threshold = math.log(threshold)
        self.total = 0.0

    def scale(
        self, tilts: Sequence[Tilt], information: Sequence[float], dispersions: Sequence[Sequence[float]]
    ) -> None:
        """Take these tilts from now on, given nats per row and v_0 ... v_10 of each."""
        self._active = []
        for number, ((a, b, c), nats, dispersion) in enumerate(
            zip(tilts, information, dispersions, strict=True)
        ):
            for level in range(LEVELS):
                if (1 << level) * nats >= self._log_threshold * dispersion[level]:
                    v = dispersion[level]
                    self._active.append((number, a / v, b / v, c / v))
                    break
            else:
                self._r[number] = 0.0

    def update(self, t: float, weight: float) -> bool:
        """Take in one row; true if the threshold is reached, after which ``reset`` is due."""
        total, r, exp = 0.0, self._r, math.exp
        square = t * t
        for number, a, b, c in self._active:
            r[number] = value = (r[number] + 1.0) * exp(a * weight + b * t + c * square)
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
