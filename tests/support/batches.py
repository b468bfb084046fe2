"""Panes for detectors: standardised values as a batch of means with a well-known reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.base import Batch


def standard(series: NDArray[np.int64], z: Any, at: int = 0, learn: Any = None) -> Batch:
    """One value of unit variance for each series, the ``at``-th of them."""
    values = np.asarray(z, np.float64)
    size = len(series)
    ones = np.ones(size)
    return Batch(
        series, np.zeros(size, np.int64), ones, values, 0.0 * ones, ones, 1e9 * ones, 0.0 * ones,
        np.full(size, 1_000 * (at + 1), np.int64), values, values,
        np.ones(size, bool) if learn is None else np.asarray(learn, bool),
    )  # fmt: skip
