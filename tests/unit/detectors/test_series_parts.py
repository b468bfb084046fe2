"""The parts of the series detector: likelihood formulas, evidence, dispersion, onset, ranks, novelty, band."""

from __future__ import annotations

import math
import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.series import families
from detectors.series.band import Expectation
from detectors.series.dispersion import LEVELS, Dispersion
from detectors.series.evidence import Evidence
from detectors.series.novelty import DISTANCES, REPRESENTATIVES, Nearest, Novelty, Ranks, Rest
from detectors.series.onset import (
    bernoulli_fit,
    gaussian_fit,
    poisson_fit,
    rows_since_onset,
    spread_fit,
)
from detectors.series.ranks import REFERENCE_ROWS, NormalScores
from detectors.series.time_of_day import TimeOfDay

ratios = st.floats(0.01, 0.99)
shifts = st.floats(-3.0, 3.0)
INDEPENDENT = [1.0] * LEVELS


@given(ratios, shifts, st.integers(0, 20), st.integers(0, 20))
def test_the_bernoulli_tilt_is_the_log_likelihood_ratio(
    ratio: float, shift: float, hits: int, misses: int
) -> None:
    after = families.tilted_ratio(ratio, shift)
    expected = hits * math.log(after / ratio) + misses * math.log((1 - after) / (1 - ratio))
    assert families.bernoulli_tilt(hits, hits + misses, ratio, shift) == pytest.approx(expected, abs=1e-9)


@given(st.floats(0.01, 100.0), shifts, st.integers(0, 50), st.floats(0.1, 10.0))
def test_the_poisson_tilt_is_the_log_likelihood_ratio(
    rate: float, shift: float, count: int, exposure: float
) -> None:
    after = rate * math.exp(shift)
    expected = count * math.log(after / rate) - exposure * (after - rate)
    assert families.poisson_tilt(count, exposure, rate, shift) == pytest.approx(expected, abs=1e-9, rel=1e-9)


@given(st.floats(-4.0, 4.0), shifts, st.floats(0.2, 4.0))
def test_gaussian_and_spread_tilts_are_log_likelihood_ratios(z: float, shift: float, spread: float) -> None:
    assert families.gaussian_tilt(z, shift) == pytest.approx((z * z - (z - shift) ** 2) / 2, abs=1e-9)
    density = -0.5 * (z / spread) ** 2 - math.log(spread)
    assert families.spread_tilt(z, spread) == pytest.approx(density + 0.5 * z * z, abs=1e-9)


@given(ratios, shifts)
def test_information_is_the_mean_of_the_tilt_after_the_change(ratio: float, shift: float) -> None:
    after = families.tilted_ratio(ratio, shift)
    mean = sum(p * families.bernoulli_tilt(hit, 1, ratio, shift) for hit, p in ((1, after), (0, 1 - after)))
    assert families.bernoulli_information(after, ratio) == pytest.approx(mean, abs=1e-9)
    rate = math.exp(shift)
    assert families.poisson_information(rate, 1.0) == pytest.approx(
        families.poisson_tilt(rate, 1.0, 1.0, shift), abs=1e-9
    )
    assert families.gaussian_information(shift) == pytest.approx(
        families.gaussian_tilt(shift, shift), abs=1e-9
    )


def test_information_at_the_edges() -> None:
    assert families.bernoulli_information(0.0, 0.5) == pytest.approx(math.log(2))
    assert families.bernoulli_information(0.5, 0.0) == math.inf
    assert families.spread_information(1.0) == 0.0
    assert families.negative_binomial_dispersion(100.0, 4.0) == 26.0


@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=30))
def test_evidence_sums_the_likelihood_ratios_of_all_change_points(values: list[float]) -> None:
    evidence = Evidence(1, 1e9)
    evidence.scale([(-0.5, 1.0, 0.0)], [0.5], [INDEPENDENT])
    for value in values:
        evidence.update(value, 1.0)
    tails = accumulate(families.gaussian_tilt(value, 1.0) for value in reversed(values))
    assert evidence.total == pytest.approx(sum(math.exp(tail) for tail in tails), rel=1e-9)


def test_a_tilt_pauses_where_the_series_wanders_more() -> None:
    evidence = Evidence(1, 1e5)
    evidence.scale([(-0.5, 1.0, 0.0)], [0.5], [[1e3] * LEVELS])
    assert not any(evidence.update(3.0, 1.0) for _ in range(10_000))
    assert evidence.total == 0.0


def _dispersion(phi: float, rows: int = 20_000) -> Dispersion:
    rng, level, found = random.Random(1), 0.0, Dispersion(floor=1.0)
    for _ in range(rows):
        level = phi * level + rng.gauss(0.0, math.sqrt(1 - phi * phi))
        found.update(level)
    return found


def test_dispersion_of_independent_rows_is_one_and_of_correlated_rows_the_long_run_variance() -> None:
    assert max(_dispersion(0.0).values) < 1.1
    correlated = _dispersion(0.9).values  # (1 + phi) / (1 - phi) = 19
    assert correlated == sorted(correlated)
    assert 1.0 <= correlated[0] < 1.2
    assert 15.0 < correlated[8] < 32.0


def test_one_wild_block_does_not_hide_what_follows() -> None:
    found = _dispersion(0.0, 2_000)
    found.update(1e6)
    assert max(found.values) < 1.3


@pytest.mark.parametrize(
    ("before", "after", "fit"),
    [
        ([0.0, 1.0, -1.0] * 20, [3.0, 4.0, 2.0] * 4, gaussian_fit),
        ([0.1, -0.1] * 30, [3.0, -3.0] * 6, spread_fit),
        ([0.0, 0.0, 0.0, 1.0] * 15, [1.0] * 12, bernoulli_fit),
        ([2.0, 3.0, 1.0] * 20, [12.0, 9.0, 10.0] * 4, poisson_fit),
    ],
)
def test_the_onset_is_where_the_rows_change(before: list[float], after: list[float], fit) -> None:  # type: ignore[no-untyped-def]
    rows = before + after
    assert abs(rows_since_onset(rows, [1.0] * len(rows), fit) - len(after)) <= 1


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=30, max_size=60))
def test_scores_depend_on_ranks_alone(values: list[float]) -> None:
    plain, moved = NormalScores(), NormalScores()
    order = {value: float(rank) for rank, value in enumerate(sorted(set(values)))}
    for value in values:
        assert plain.score(value) == moved.score(order[value])
        plain.learn(value)
        moved.learn(order[value])


def test_the_reference_slides() -> None:
    scores = NormalScores()
    for number in range(3 * REFERENCE_ROWS):
        scores.learn(float(number))
    assert len(scores) == REFERENCE_ROWS
    assert scores.last(2) == [3.0 * REFERENCE_ROWS - 2, 3.0 * REFERENCE_ROWS - 1]
    assert scores.score(0.0) < -3.0


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=80))
def test_the_distance_is_to_the_nearest_value_seen(values: list[int]) -> None:
    nearest = Nearest()
    for number, value in enumerate(values):
        expected = min((abs(value - seen) for seen in values[:number]), default=0)
        assert nearest.step(float(value)) == expected


def test_novelty_has_bounded_memory() -> None:
    rng, nearest, ranks = random.Random(2), Nearest(), Ranks()
    for _ in range(20_000):
        ranks.step(nearest.step(rng.paretovariate(1.0)))
    assert len(nearest._known) <= REPRESENTATIVES
    assert len(ranks._keys) <= DISTANCES
    assert sum(ranks._counts) == ranks._rows == 20_000 - 3


def test_ranks_are_shares_of_what_came_before() -> None:
    ranks = Ranks()
    for number in range(1, 104):
        ranks.step(float(number))
    assert ranks.step(99.0) == pytest.approx(-math.log10(6 / 101))
    assert ranks.step(1e9) == pytest.approx(-math.log10(1 / 102))
    assert ranks.step(0.0) == 0.0


def test_rest_lets_only_records_pass() -> None:
    rest = Rest()
    assert [rest.step(value) for value in (1.0, 3.0, 2.0, 3.0, 4.0)] == [1.0, 3.0, 0.0, 0.0, 4.0]
    assert [rest.step(0.5) for _ in range(121)] == [0.0] * 121
    assert rest.step(0.6) == 0.6


def test_a_new_value_is_novel_and_fades_when_it_returns() -> None:
    novelty, rng = Novelty(), random.Random(3)

    def quiet(rows: int) -> list[float]:
        return [novelty.step(value, value) for value in (rng.gauss(0.0, 1.0) for _ in range(rows))]

    quiet(1_000)
    first = novelty.step(30.0, 30.0)
    quiet(300)
    again = novelty.step(30.0, 30.0)
    assert first > 0.5 > again


def test_the_hour_of_the_day_is_known_after_a_day() -> None:
    clock = TimeOfDay()
    for row in range(48):
        clock.learn(row * 1_800.0, float(row // 2))
    assert clock.expected(86_400.0 + 5 * 3_600.0) == 5.0
    assert clock.expected(-3_600.0) == 23.0


def test_the_band_holds_three_sigma_and_narrows_with_weight() -> None:
    rng, expectation, outside = random.Random(4), Expectation(), 0
    for row in range(5_000):
        value = rng.gauss(10.0, 2.0)
        band = expectation.band(math.inf, 1.0)
        if row > 200 and band is not None:
            outside += not band.lower <= value <= band.upper
        expectation.learn(value, math.inf, 1.0)
    one, four = expectation.band(math.inf, 1.0), expectation.band(math.inf, 4.0)
    assert 0 < outside < 50
    assert one is not None
    assert four is not None
    assert one.upper - one.lower == pytest.approx(2 * (four.upper - four.lower))


def test_the_band_takes_the_hour_of_the_day_where_that_predicts_better() -> None:
    expectation = Expectation()
    for row in range(200):
        expectation.learn(100.0 * (row % 2), 100.0 * (row % 2), 1.0)
    band = expectation.band(100.0, 1.0)
    assert band is not None
    assert band.expected == 100.0
