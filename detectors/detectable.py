"""What a signal can show at the rate at which it is observed: the smallest change that its detector would see.

The GLR raises evidence when a stretch of n observations speaks N nats against the reference, and TRIAGE's budget
says which N that must be (``detectors.tails``). A level that moved by d is expected to give

    nats(n, d) = n D(moved, reference) / phi        D the divergence of the family, phi the inflation at that scale

computed by the very functions of the detector (``detectors.drift.families``), so estimated references, bursts and
tolerances count. The smallest change is the d at which nats(n, d) = N: about as likely to be seen within n
observations as not, larger ones more so. The other way round, the n at which nats(n, d) = N is what it takes to
see a change of d. For ratios d is a difference, for means a difference of x, for rates the logarithm of the factor.

Source: Lorden, Procedures for reacting to a change in distribution, Ann. Math. Stat. 42, 1971.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.base import Bools, Floats, Ints
from detectors.baseline import Baseline
from detectors.drift.families import bernoulli, gaussian, negative_binomial
from detectors.drift.glr import BERNOULLI, GAUSSIAN, NEGATIVE_BINOMIAL, Glr
from detectors.scoring import Scoring

_STEPS: Final = 60
"""Of a bisection: exact to the last bits."""
_MOST_LOG: Final = 10.0
"""Changes by more than a factor of e^10 are not asked for."""


class Terms(NamedTuple):
    """What the likelihood of a stretch needs besides its observations; arrays aligned with the series."""

    family: Ints
    """As in ``detectors.drift.glr``."""
    level: Floats
    """Of a ratio its share, of a rate its amount per pane, of a mean its x."""
    variance: Floats
    """Of one observation of x."""
    weight: Floats
    """Observations behind the reference."""
    tolerance: Floats
    """A difference that nobody would look at."""
    pane_n: Floats
    """Observations in a pane; of a rate 1."""
    phi: Floats
    """[series, level]: inflation of stretches of 2^level panes."""
    limit: Floats
    """The largest deviation of x that one pane is believed to have."""

    def take(self, at: Ints) -> Terms:
        """The same for some of the series."""
        return Terms._make(column[at] for column in self)


def terms_of(
    index: Ints, pane_n: Floats, now_ms: int, baseline: Baseline, scoring: Scoring, glr: Glr
) -> Terms:
    """What the likelihood of some series is made of now; ``pane_n`` as in ``Terms``."""
    ref = baseline.reference(index, now_ms)
    hoped = scoring.hoped(index, ref)
    ratio, rate = hoped.family == BERNOULLI, hoped.family == NEGATIVE_BINOMIAL
    phi = glr.inflation(index)
    spread = np.sqrt(hoped.variance * (1.0 / pane_n + 1.0 / hoped.weight) * phi[:, 0])
    return Terms(
        hoped.family, np.where(ratio, hoped.share, np.where(rate, hoped.amount, ref.expected)), hoped.variance,
        hoped.weight, hoped.tolerance, pane_n, phi, glr.params.clip_sigmas * spread + hoped.tolerance,
    )  # fmt: skip


def nats_of(terms: Terms, n: Floats, shift: Floats) -> Floats:
    """Expected evidence of ``n`` observations of levels that moved by ``shift``; 0 where no pane is complete."""
    panes = n / terms.pane_n
    scale = np.clip(np.floor(np.log2(np.maximum(panes, 1.0))), 0, terms.phi.shape[1] - 1).astype(np.int64)
    phi = terms.phi[np.arange(len(n)), scale]
    believed = np.clip(shift, -terms.limit, terms.limit)
    with np.errstate(over="ignore"):
        mean = gaussian(believed, n, terms.weight, terms.variance, phi, terms.tolerance)
        held = n * np.clip(terms.level + shift, 0.0, 1.0)
        ratio = bernoulli(held, n, terms.level, terms.weight, phi, terms.tolerance)
        hoped = n * terms.level
        rate = negative_binomial(
            hoped * np.exp(np.clip(shift, -_MOST_LOG, _MOST_LOG)), hoped, phi, terms.tolerance
        )
    nats = np.where(terms.family == GAUSSIAN, mean, np.where(terms.family == BERNOULLI, ratio, rate))
    return np.where(panes >= 1.0, nats, 0.0)


def smallest_shift(terms: Terms, n: Floats, nats: Floats, *, up: bool) -> Floats:
    """The smallest rise (or fall, negative) that ``n`` observations show with ``nats``; NaN where none would."""
    room = np.where(terms.family == GAUSSIAN, terms.limit, _MOST_LOG)
    share = 1.0 - terms.level if up else terms.level
    most = np.where(terms.family == BERNOULLI, share, room)
    sign = 1.0 if up else -1.0
    low, high = np.zeros(len(n)), most
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        enough = nats_of(terms, n, sign * middle) >= nats
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(nats_of(terms, n, sign * high) >= nats, sign * high, np.nan)


def observations_for(terms: Terms, shift: Floats, nats: Floats, most: Floats, panes: float) -> Floats:
    """The observations from which a change of ``shift`` shows with ``nats``; NaN where ``most`` are too few.

    ``panes`` is the largest number of panes in that time: beyond it panes are fuller, and so is the reference,
    which remembers a number of panes.
    """

    def enough(n: Floats) -> Bools:
        fuller = np.maximum(1.0, n / (panes * terms.pane_n))
        then = terms._replace(weight=terms.weight * fuller, pane_n=terms.pane_n * fuller)
        result: Bools = nats_of(then, n, shift) >= nats
        return result

    low, high = np.minimum(terms.pane_n, most), most
    for _ in range(_STEPS):
        middle = np.sqrt(low * high)
        seen = enough(middle)
        low, high = np.where(seen, low, middle), np.where(seen, middle, high)
    return np.where(enough(high), high, np.nan)
