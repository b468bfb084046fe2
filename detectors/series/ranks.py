"""Normal scores: the rank of a value among the last ones, as the value a standard normal would have at that rank.

    z = Phi^-1( (#below + (#equal + 1) / 2) / (n + 1) )

While a stream's values are exchangeable z is standard normal whatever their distribution: heavy tails, skew
and units do not matter, logarithm or not, and one value moves z by no more than Phi^-1(1 - 1/(2n + 2)).
Against normal data nothing is lost (Chernoff, Savage).

Source: H. Chernoff, I. R. Savage, Asymptotic normality and efficiency of certain nonparametric test
statistics (1958).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from statistics import NormalDist
from typing import Final

REFERENCE_ROWS: Final = 1024
"""Long against the delays to expect (tens of rows), short enough to follow a series that ages: 16 kB."""

_INVERSE: Final = NormalDist().inv_cdf


class NormalScores:
    """Ranks among a sliding reference of one series. O(log n), and one memory move of 8 kB, a row."""

    __slots__ = ("_order", "_sorted")

    def __init__(self) -> None:
        self._sorted = array("d")
        self._order: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._sorted)

    def score(self, value: float) -> float:
        """The normal score of a value among those learned."""
        known = self._sorted
        below = bisect_left(known, value)
        upto = bisect_right(known, value, below)
        return _INVERSE((below + upto + 1) / (2 * (len(known) + 1)))

    def learn(self, value: float) -> None:
        """Make the value part of the reference; the oldest leaves a full one."""
        known = self._sorted
        if len(known) >= REFERENCE_ROWS:
            del known[bisect_left(known, self._order.popleft())]
        known.insert(bisect_left(known, value), value)
        self._order.append(value)

    def restart(self, values: Iterable[float]) -> None:
        """Forget the reference but for these."""
        self._order = deque(values, REFERENCE_ROWS)
        self._sorted = array("d", sorted(self._order))

    def last(self, count: int) -> list[float]:
        """The youngest ``count`` values."""
        return list(self._order)[-count:] if count else []
