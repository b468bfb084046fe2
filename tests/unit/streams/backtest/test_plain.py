"""The methods that detection is compared with are what they are called."""

from __future__ import annotations

import numpy as np
from river.drift import ADWIN, PageHinkley

from streams.backtest.plain import PlainDetectors


def test_page_hinkley_is_rivers() -> None:
    """On many series at once, with jumps up and down, and again after each detection."""
    rng = np.random.default_rng(1)
    steps = np.repeat(rng.choice([-1.5, 0.0, 1.5], (12, 40)), 100, axis=1)
    values = rng.standard_normal(steps.shape) + steps
    plain = PlainDetectors()
    plain._ph.grow(len(values))
    rivers = [PageHinkley() for _ in values]
    fired = 0
    for column in values.T:
        sides = plain._page_hinkley(np.arange(len(values)), column)
        for series, river in enumerate(rivers):
            river.update(float(column[series]))
        assert (sides != 0).tolist() == [river.drift_detected for river in rivers]
        fired += int((sides != 0).sum())
    assert fired > 100


def test_adwin_goes_on_after_a_snapshot() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.standard_normal(500), rng.standard_normal(500) + 2]).tolist()
    plain, river = PlainDetectors(), ADWIN()
    plain._signals = ["request_rate"]
    found, expected = [], []
    for at, value in enumerate(values):
        if at in (333, 777):
            plain = PlainDetectors.from_state(plain.to_state())
        river.update(value)
        if river.drift_detected:
            expected.append(at)
        if plain._adwin(np.array([0]), np.array([value]))[0] != 0:
            found.append(at)
    assert found == expected
    assert len(found) > 0


def test_static_thresholds_want_five_in_a_row() -> None:
    plain = PlainDetectors()
    plain._static.grow(1)
    series = np.array([0])
    values = [4, 4, 4, 4, 0, 4, 4, 4, 4, 4, 4, -4, -4, -4, -4, -4]
    sides = [float(plain._thresholds(series, np.array([float(v)]))[0]) for v in values]
    assert [at for at, side in enumerate(sides) if side] == [9, 15]
    assert (sides[9], sides[15]) == (1.0, -1.0)
