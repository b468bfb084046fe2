"""Generalised likelihood ratios of one exponential family each: how many nats a stretch of data speaks against "as
before", the best-fitting other level taken as the alternative.

All functions broadcast, return nats >= 0, and are 0 where there is nothing to compare. ``weight`` is the number
of observations behind the reference, so that a reference that is only an estimate is treated as one (two-sample
form). ``phi`` is the variance inflation against independent observations (quasi-likelihood; McCullagh and Nelder,
Generalized Linear Models, 2nd ed., ch. 9). By Chernoff's bound the chance of h nats on one side is at most e^-h.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.base import Floats

_TINY = 1e-12


def gaussian(deviation: Floats, n: Floats, weight: Any, variance: Any, phi: Any, tolerance: Any) -> Floats:
    """Mean of ``n`` values off by ``deviation``; ``variance`` of one; within ``tolerance`` is no difference."""
    beyond = np.maximum(np.abs(deviation) - tolerance, 0.0)
    result: Floats = beyond**2 / (2.0 * variance * (1.0 / np.maximum(n, _TINY) + 1.0 / weight) * phi)
    return np.where(n > 0, result, 0.0)


def bernoulli(held: Floats, n: Floats, p: Floats, weight: Any, phi: Any, tolerance: Any) -> Floats:
    """``held`` of ``n`` where the share ``p`` was to be expected."""
    share = np.clip(held / np.maximum(n, _TINY), 0.0, 1.0)
    reference = np.clip(share, p - tolerance, p + tolerance)
    pooled = np.clip((n * share + weight * reference) / (n + weight), _TINY, 1.0 - _TINY)
    nats = n * _kl(share, pooled) + weight * _kl(reference, pooled)
    return np.where(n > 0, np.maximum(nats, 0.0) / phi, 0.0)


def negative_binomial(count: Floats, expected: Floats, phi: Any, tolerance: Any) -> Floats:
    """``count`` events where ``expected`` were to come and the variance is ``phi`` times Poisson's.

    Bursts multiply the rate, so the variance grows with the square of the expectation: size r = E / (phi - 1).
    ``tolerance`` is relative.
    """
    count = np.maximum(count, 0.0)
    reference = np.clip(count, expected * (1.0 - tolerance), expected * (1.0 + tolerance))
    reference = np.maximum(reference, _TINY)
    size = reference / np.maximum(phi - 1.0, 1e-6)
    nats = _xlogy(count, count / reference) - (count + size) * np.log((count + size) / (reference + size))
    return np.where(expected > 0, np.maximum(nats, 0.0), 0.0)


def _kl(p: Floats, q: Floats) -> Floats:
    """Nats an observation; ``q`` is off 0 and 1."""
    return _xlogy(p, p / q) + _xlogy(1.0 - p, (1.0 - p) / (1.0 - q))


def _xlogy(x: Floats, y: Floats) -> Floats:
    """x log(y), 0 where x is 0; neither is below 0."""
    result: Floats = x * np.log(np.maximum(y, _TINY))
    return result
