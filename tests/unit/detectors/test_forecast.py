"""Trends of whole days: what is established, what is not, and when the bound is crossed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.rules.forecast import HOURS, MOST_DAYS, Day, Shares, trend

FIRST = 20_717
"""A Monday."""


def days_of(values: list[float], first: int = FIRST) -> list[Day]:
    return [Day(first + at, value, 1000) for at, value in enumerate(values)]


def ever(values: list[float], *, up: bool = True, first: int = FIRST) -> list[int]:
    """After how many days a trend was established, as the days come."""
    days = days_of(values, first)
    return [n for n in range(1, len(days) + 1) if trend(days[max(0, n - MOST_DAYS) : n], up=up) is not None]


def test_a_ramp_is_established_after_nine_days_and_tells_its_slope() -> None:
    values = [60.0 + 4.0 * day for day in range(9)]
    assert ever(values[:8]) == []
    found = trend(days_of(values), up=True)
    assert found is not None
    assert found.per_day == pytest.approx(4.0)
    assert found.level == pytest.approx(92.0)
    assert found.days_to(100.0) == pytest.approx(2.0)
    assert found.days == 9


@settings(max_examples=60, deadline=None)
@given(
    week=st.lists(st.floats(0.3, 1.0), min_size=7, max_size=7),
    level=st.floats(1e-3, 1e6),
    first=st.integers(FIRST, FIRST + 6),
)
def test_a_week_of_any_shape_is_no_trend(week: list[float], level: float, first: int) -> None:
    values = [level * week[day % 7] for day in range(35)]
    for up in (True, False):
        assert ever(values, up=up, first=first) == []


@settings(max_examples=40, deadline=None)
@given(level=st.floats(-1e6, 1e6), n=st.integers(1, 40))
def test_a_constant_is_no_trend(level: float, n: int) -> None:
    assert ever([level] * n) == []


@pytest.mark.parametrize("weekend", [1.0, 0.6])
def test_noise_is_hardly_ever_a_trend(weekend: float) -> None:
    rng = np.random.default_rng(5)
    weeks = 0
    for _ in range(40):
        noise = np.exp(0.1 * rng.normal(size=70))
        shape = np.array([1.0] * 5 + [weekend] * 2 * 1)
        values = (noise * np.tile(shape, 10)).tolist()
        weeks += len({n // 7 for n in ever(values)})
    assert weeks <= 4, "400 weeks"


@pytest.mark.parametrize("day", range(3, 19))
def test_a_single_step_is_no_trend(day: int) -> None:
    rng = np.random.default_rng(day)
    values = np.where(np.arange(21) < day, 60.0, 90.0) + rng.normal(size=21)
    assert ever(values.tolist()) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_noisy_ramp_under_a_week_is_found_before_it_crosses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    day = np.arange(28)
    weekend = np.where(day % 7 >= 5, 0.6, 1.0)
    values = (50.0 + 2.0 * day) * weekend * np.exp(0.01 * rng.normal(size=28))
    crossed = int(np.argmax(values > 100.0)) if (values > 100.0).any() else 28
    known = days_of(values.tolist())
    warned = next(n for n in range(9, 29) if _crosses_within(known[max(0, n - MOST_DAYS) : n], 100.0, 3.0))
    assert warned <= crossed, "when day 24 is the first beyond the bound, 24 days before it were known"
    assert warned >= crossed - 8


def _crosses_within(days: list[Day], bound: float, horizon: float) -> bool:
    found = trend(days, up=True)
    return found is not None and found.days_to(bound) <= horizon


def test_a_fall_is_the_mirror_of_a_rise() -> None:
    rng = np.random.default_rng(1)
    values = [60.0 + 4.0 * day + float(rng.normal()) for day in range(14)]
    rise, fall = trend(days_of(values), up=True), trend(days_of([-v for v in values]), up=False)
    assert rise is not None
    assert fall is not None
    assert fall.per_day == pytest.approx(-rise.per_day)
    assert fall.days_to(-200.0) == pytest.approx(rise.days_to(200.0))
    assert trend(days_of(values), up=False) is None


@pytest.mark.parametrize("factor", [1e-6, 1e9])
def test_the_unit_does_not_matter(factor: float) -> None:
    rng = np.random.default_rng(2)
    values = [60.0 + 3.0 * day + float(rng.normal()) for day in range(14)]
    one, other = trend(days_of(values), up=True), trend(days_of([factor * v for v in values]), up=True)
    assert one is not None
    assert other is not None
    assert other.per_day == pytest.approx(factor * one.per_day)
    assert other.clearness == pytest.approx(one.clearness, rel=1e-6)


def test_the_time_to_the_bound_is_right_within_the_stated_factors() -> None:
    """Nine times in ten between two thirds and twice of what is told, wherever there is a trend."""
    told, held = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        values = 60.0 + 2.0 * np.arange(14) + 2.0 * rng.normal(size=14)
        found = trend(days_of(values.tolist()), up=True)
        if found is not None:
            told += 1
            held += 0.66 <= (100.0 - 86.0) / 2.0 / found.days_to(100.0) <= 2.0
    assert told >= 20
    assert held >= 0.9 * told


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=0, max_size=30))
def test_strange_values_do_not_raise(values: list[float]) -> None:
    ever(values)


def by_hour(total: float, share_by_noon: float = 0.4) -> list[float]:
    """The sum so far, hour by hour."""
    first = np.linspace(0.0, share_by_noon, 13)[1:]
    second = np.linspace(share_by_noon, 1.0, 13)[1:]
    return [float(total * share) for share in np.r_[first, second]]


def test_what_a_day_is_heading_for_is_learned_from_days() -> None:
    shares = Shares()
    for _ in range(4):
        shares.learn(by_hour(80.0))
    assert shares.heading(12, 60.0) is None, "four days are too few"
    for _ in range(10):
        shares.learn(by_hour(80.0))
    found = shares.heading(12, 60.0)
    assert found is not None
    assert found[0] == pytest.approx(150.0)
    assert 120.0 < found[1] < 150.0
    assert shares.heading(2, 60.0) is None, "too early in the day"
    copy = Shares.from_state(shares.to_state())
    assert copy.heading(12, 60.0) == found


def test_days_that_differ_widen_what_a_day_comes_to_at_least() -> None:
    even, uneven = Shares(), Shares()
    for day in range(20):
        even.learn(by_hour(80.0))
        uneven.learn(by_hour(80.0, 0.3 if day % 2 else 0.5))
    sure, unsure = even.heading(12, 60.0), uneven.heading(12, 60.0)
    assert sure is not None
    assert unsure is not None
    assert unsure[1] < sure[1]
    assert len(by_hour(1.0)) == HOURS
