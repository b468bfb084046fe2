"""Where a change began, once it is known that there is one: the two-sample generalised likelihood ratio.

    onset = argmax_k  [ n_a D(m_a) + n_b D(m_b) ],   a = rows before k, b = rows from k on

over every k of the rows kept since the last change; n D(m) is the maximised log-likelihood of a part, up to
what both hypotheses share. The means of the two parts are the level before and after; the difference is the
effect size.

Source: D. Siegmund, E. S. Venkatraman, Using the generalized likelihood ratio statistic for sequential
detection (1995).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

LogLikelihood = Callable[[float, float, float], float]
"""(sum of T, sum of T^2, weight) -> maximised log-likelihood of a part."""


def gaussian_fit(total: float, squares: float, weight: float) -> float:
    """Normal values of known variance 1, mean fitted: total^2 / (2 weight)."""
    return 0.5 * total * total / weight


def spread_fit(total: float, squares: float, weight: float) -> float:
    """Normal values, mean and variance fitted: -weight/2 log variance; a spread below a tenth is not believed."""
    mean = total / weight
    return -0.5 * weight * math.log(max(squares / weight - mean * mean, 0.01))


def bernoulli_fit(total: float, squares: float, weight: float) -> float:
    """Hits of trials, ratio fitted: total log p + (weight - total) log(1 - p)."""
    miss = weight - total
    return (total * math.log(total / weight) if total > 0 else 0.0) + (
        miss * math.log(miss / weight) if miss > 0 else 0.0
    )


def poisson_fit(total: float, squares: float, weight: float) -> float:
    """Counts of exposures, rate fitted: total log(total / weight)."""
    return total * math.log(total / weight) if total > 0 else 0.0


def rows_since_onset(statistics: Sequence[float], weights: Sequence[float], fit: LogLikelihood) -> int:
    """How many of the last rows belong to the new regime: at least 1, at most all but one."""
    whole = math.fsum(statistics)
    whole_squares = math.fsum(value * value for value in statistics)
    whole_weight = math.fsum(weights)
    total = squares = weight = 0.0
    best, since = -math.inf, 1
    for age in range(1, len(statistics)):
        value = statistics[-age]
        total += value
        squares += value * value
        weight += weights[-age]
        rest = whole_weight - weight
        if weight <= 0.0 or rest <= 0.0:
            continue
        found = fit(total, squares, weight) + fit(whole - total, whole_squares - squares, rest)
        if found > best:
            best, since = found, age
    return since
