"""Panes for detectors: standardised values as a batch with a well-known reference."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Batch

RATIO_ONLY: Final = {"ddm", "hddm"}
"""Detectors that look at nothing but ratios."""


def standard(series: NDArray[np.int64], z: Any, at: int = 0, learn: Any = None) -> Batch:
    """One value of unit variance of a mean for each series, the ``at``-th of them."""
    values = np.asarray(z, np.float64)
    size = len(series)
    ones = np.ones(size)
    return Batch(
        series, np.zeros(size, np.int64), ones, values, 0.0 * ones, ones, 1e9 * ones, 0.0 * ones,
        np.full(size, 1_000 * (at + 1), np.int64), values, values, ones,
        np.ones(size, bool) if learn is None else np.asarray(learn, bool), ones,
    )  # fmt: skip


def ratio(series: NDArray[np.int64], z: Any, at: int = 0, *, n: float = 400.0, share: float = 0.2) -> Batch:
    """``n`` observations of a ratio for each series; as many hold as is nearest to ``z`` sigmas off ``share``."""
    size = len(series)
    sigma = np.sqrt(share * (1.0 - share) / n)
    held = np.clip(np.rint(n * share + n * sigma * np.asarray(z, np.float64)), 0.0, n)
    values = (held / n - share) / sigma
    plain = standard(series, values, at)
    return plain._replace(
        family=np.ones(size, np.int64), n=np.full(size, n), deviation=held - n * share,
        expected=np.full(size, n * share), variance=np.full(size, share * (1.0 - share)),
        sigma=np.full(size, sigma),
    )  # fmt: skip


def fitting(detector: str, series: NDArray[np.int64], z: Any, at: int = 0) -> Batch:
    """Panes that the detector looks at."""
    return (ratio if detector in RATIO_ONLY else standard)(series, z, at)
