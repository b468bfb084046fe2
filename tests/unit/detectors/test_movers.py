"""Which labels of a mix moved."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.base import Change
from detectors.mixes.movers import came


def test_what_came_new_is_the_largest_share_that_was_hardly_there() -> None:
    change = Change(
        nats=np.array([40.0, 30.0, 3.0, 25.0]), since_ms=np.zeros(4, np.int64), n=np.full(4, 100.0),
        deviation=np.array([-40.0, 38.0, 2.0, 30.0]), expected=np.array([60.0, 0.1, 0.0, 20.0]),
    )  # fmt: skip
    assert came(change) == pytest.approx(0.38), (
        "not the third, which chance can show, nor the fourth, which was there"
    )
    assert came(change._replace(nats=np.full(4, 2.0))) == 0.0
