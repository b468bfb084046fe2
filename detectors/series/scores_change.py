"""Change of a mean, or of the spread, of values of any distribution: evidence on normal scores.

    z = normal score of x among the last 1,024 values;   tilts N(0, 1) -> N(shift, 1) and N(0, 1) -> N(0, spread^2)

Scores have the same distribution whatever the values', so one threshold holds for tokens, latencies and
degrees alike; a change of a mean and of a logarithm's mean are the same change. What remains, correlation in
time, is measured (``dispersion``).

Parameters: ``SHIFTS`` in standard deviations of z: 0.5 is seen in about 100 rows, 2 in 6; smaller shifts need
more rows than the reference keeps, larger ones have the ranks' ceiling. ``SPREADS``: a distribution that
widens by half or more, or shrinks to half.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from detectors.series.dispersion import Dispersion
from detectors.series.evidence import Evidence, Tilt
from detectors.series.families import gaussian_information, spread_information
from detectors.series.onset import gaussian_fit, rows_since_onset, spread_fit
from detectors.series.ranks import REFERENCE_ROWS, NormalScores

SHIFTS: Final = (0.5, -0.5, 1.0, -1.0, 2.0, -2.0)
SPREADS: Final = (1.6, 0.5)
WARM_UP_ROWS: Final = 30
"""Before, ranks are too coarse to mean anything."""

_ROOT_HALF: Final = math.sqrt(0.5)
"""z^2 of a standard normal has variance 2."""
_TILTS: Final = len(SHIFTS) + len(SPREADS)
_SHIFT_NATS: Final = [gaussian_information(shift) for shift in SHIFTS]
_SPREAD_NATS: Final = [spread_information(spread) for spread in SPREADS]
_NATS: Final = [*_SHIFT_NATS, *_SPREAD_NATS]
_POLYNOMIALS: Final[list[Tilt]] = [
    *((-0.5 * shift * shift, shift, 0.0) for shift in SHIFTS),
    *((-math.log(spread), 0.0, 0.5 * (1.0 - 1.0 / (spread * spread))) for spread in SPREADS),
]
"""``gaussian_tilt`` and ``spread_tilt`` as a + b z + c z^2."""


class ScoresChange:
    """Evidence of one series. Amortised O(log n) a row."""

    def __init__(self, threshold: float) -> None:
        self._scores = NormalScores()
        self._evidence = Evidence(_TILTS, threshold)
        self._location = Dispersion(floor=1.0)
        self._spread = Dispersion(floor=1.0)
        self._kept: deque[float] = deque(maxlen=REFERENCE_ROWS)
        self._scale()

    @property
    def nearness(self) -> float:
        return self._evidence.nearness

    def update(self, value: float, weight: float) -> int:
        """Rows since the onset if this row is the first to show the change, else 0. ``weight`` has no part in
        ranks.
        """
        since = 0
        if len(self._scores) >= WARM_UP_ROWS:
            z = self._scores.score(value)
            self._kept.append(z)
            if self._evidence.update(z, 1.0):
                since = self._onset()
            else:
                moved = self._location.update(z)
                if self._spread.update((z * z - 1.0) * _ROOT_HALF) or moved:
                    self._scale()
        self._scores.learn(value)
        if since:
            self._restart(since)
        return since

    def _scale(self) -> None:
        location, spread = self._location.values, self._spread.values
        self._evidence.scale(_POLYNOMIALS, _NATS, [location] * len(SHIFTS) + [spread] * len(SPREADS))

    def _onset(self) -> int:
        kept = list(self._kept)
        of_spread = self._evidence.strongest >= len(SHIFTS)
        return rows_since_onset(kept, [1.0] * len(kept), spread_fit if of_spread else gaussian_fit)

    def _restart(self, since: int) -> None:
        """The rows since the onset are the new normal."""
        self._scores.restart(self._scores.last(since))
        self._evidence.reset()
        self._location.forget_partial_blocks()
        self._spread.forget_partial_blocks()
        self._kept.clear()
