"""How much one pane may say."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.drift.glr import Glr, GlrParams
from detectors.scales import Scales
from streams.signals import SIGNALS
from tests.support.batches import standard

ONE = np.zeros(1, np.int64)


def said(z: float, bulk: float) -> float:
    """Nats of the first pane that is off by ``z`` sigmas, after a hundred that are not."""
    glr, rng = Glr(GlrParams()), np.random.default_rng(2)
    glr.grow(1)
    for at in range(100):
        glr.update(standard(ONE, rng.standard_normal(1), at))
    hits = glr.update(standard(ONE, np.array([z]), 100)._replace(bulk=np.array([bulk])))
    return float(hits.up[0])


def test_one_small_pane_is_no_change_however_far_off() -> None:
    assert said(1e5, 1.0) == pytest.approx(said(6.0, 1.0), rel=0.01)
    assert said(1e5, 1.0) < 10.0


def test_many_values_say_at_once_what_as_many_small_panes_would() -> None:
    assert said(10.0, 9.0) > 4 * said(10.0, 1.0)
    assert said(1e5, 9.0) == pytest.approx(9 * said(1e5, 1.0), rel=0.1)
    assert said(2.0, 9.0) == said(2.0, 1.0), "what is near was never clipped"


def test_only_what_no_single_value_moves_far_counts_for_more() -> None:
    names = [
        "latency_typical_ms",
        "latency_p50_ms",
        "judge_score_mean",
        "cost_per_request_usd",
        "latency_p95_ms",
    ]
    robust = Scales([SIGNALS[name] for name in names], 1, 10_000).robust
    assert robust.tolist() == [True, True, True, False, False]
