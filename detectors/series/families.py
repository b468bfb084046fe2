"""Likelihood formulas of the exponential families that change detectors use, as pure functions of scalars.

An exponential family in natural form has density proportional to exp(theta T(x) - n psi(theta)). *Tilting* it by
``shift`` moves theta to theta + shift; the log-likelihood ratio of the tilted against the present parameter is

    log LR = shift T(x) - n (psi(theta + shift) - psi(theta))

whose mean is negative, -n KL(theta || theta + shift), before a change, and n KL(theta + shift || theta) after it.

Source: L. D. Brown, Fundamentals of Statistical Exponential Families (1986); Kullback-Leibler information as the
speed of detection: G. Lorden, Procedures for reacting to a change in distribution (1971).
"""

from __future__ import annotations

import math


def tilted_ratio(ratio: float, shift: float) -> float:
    """The probability whose log-odds are those of ``ratio`` plus ``shift``."""
    up = ratio * math.exp(shift)
    return up / (1.0 - ratio + up)


def bernoulli_tilt(hits: float, trials: float, ratio: float, shift: float) -> float:
    """Log LR of log-odds moved by ``shift``: hits shift - trials log(1 - p + p e^shift), in nats."""
    return hits * shift - trials * math.log1p(ratio * math.expm1(shift))


def poisson_tilt(count: float, exposure: float, rate: float, shift: float) -> float:
    """Log LR of a rate multiplied by e^shift: count shift - exposure rate (e^shift - 1), in nats."""
    return count * shift - exposure * rate * math.expm1(shift)


def gaussian_tilt(z: float, shift: float) -> float:
    """Log LR of N(shift, 1) against N(0, 1): shift z - shift^2 / 2, in nats."""
    return shift * z - 0.5 * shift * shift


def spread_tilt(z: float, spread: float) -> float:
    """Log LR of N(0, spread^2) against N(0, 1): z^2 (1 - 1/spread^2) / 2 - log spread, in nats."""
    return 0.5 * z * z * (1.0 - 1.0 / (spread * spread)) - math.log(spread)


def bernoulli_information(after: float, before: float) -> float:
    """KL(after || before) of one trial, in nats; 0 log 0 is 0, and infinite where ``before`` excludes what
    comes.
    """
    return _term(after, before) + _term(1.0 - after, 1.0 - before)


def poisson_information(after: float, before: float) -> float:
    """KL(after || before) of one unit of exposure, in nats; rates per unit of exposure."""
    return _term(after, before) - after + before


def gaussian_information(shift: float) -> float:
    """KL(N(shift, 1) || N(0, 1)) of one value, in nats."""
    return 0.5 * shift * shift


def spread_information(spread: float) -> float:
    """KL(N(0, spread^2) || N(0, 1)) of one value, in nats."""
    return 0.5 * (spread * spread - 1.0) - math.log(spread)


def negative_binomial_dispersion(mean: float, size: float) -> float:
    """Variance over mean of a negative binomial with that ``size``: 1 + mean / size (1 for Poisson)."""
    return 1.0 + mean / size


def _term(after: float, before: float) -> float:
    if after <= 0.0:
        return 0.0
    return after * math.log(after / before) if before > 0.0 else math.inf
