"""The series detector as a whole: what it finds, what it leaves alone, and that it only knows the past."""

from __future__ import annotations

import math
import pickle
import random
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.series.detector import KINDS, Kind, SeriesDetector, Verdict
from tests.benchmarks import nab
from tests.benchmarks.series import delays, march_alone, tidewatch
from tests.support.real_data import NAB, PRIME

Draw = Callable[[np.random.Generator, int], np.ndarray]


def verdicts(kind: Kind, values: list[float | None], arl: float = 1e5, weight: float = 1.0) -> list[Verdict]:
    detector = SeriesDetector(kind, arl)
    return [detector.update(300.0 * row, value, weight) for row, value in enumerate(values)]


def alarms(found: list[Verdict]) -> list[int]:
    return [row for row, verdict in enumerate(found) if verdict.rows_since_onset]


STEPS: list[tuple[Kind, Draw, Draw, int]] = [
    ("mean", lambda r, n: r.normal(0, 1, n), lambda r, n: r.normal(2, 1, n), 25),
    ("mean", lambda r, n: r.lognormal(0, 1, n), lambda r, n: r.lognormal(1, 1, n), 60),
    ("mean", lambda r, n: r.normal(0, 1, n), lambda r, n: r.normal(0, 3, n), 60),
    ("ratio", lambda r, n: r.binomial(1, 0.1, n), lambda r, n: r.binomial(1, 0.5, n), 50),
    ("count", lambda r, n: r.poisson(5, n), lambda r, n: r.poisson(15, n), 15),
    ("count", lambda r, n: r.poisson(50, n), lambda r, n: r.poisson(25, n), 15),
    ("rate", lambda r, n: r.gamma(4, 1, n), lambda r, n: r.gamma(4, 3, n), 25),
]


@pytest.mark.parametrize(("kind", "before", "after", "within_rows"), STEPS)
def test_a_step_is_one_alarm_with_its_onset(kind: Kind, before: Draw, after: Draw, within_rows: int) -> None:
    late = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = [*before(rng, 1_000).tolist(), *after(rng, 1_000).tolist()]
        found = verdicts(kind, [float(value) for value in values])
        (row,) = alarms(found)
        assert row >= 1_000
        late += row >= 1_000 + within_rows
        assert abs(row + 1 - found[row].rows_since_onset - 1_000) <= within_rows // 2
        assert found[row].score == 1.0
    assert late <= 1


def test_weighted_ratios_are_seen_sooner_than_single_trials() -> None:
    rng = np.random.default_rng(1)
    counts = [*rng.binomial(500, 0.10, 500), *rng.binomial(500, 0.15, 500)]
    detector = SeriesDetector("ratio", weighted=True)
    found = [detector.update(60.0 * row, count / 500, 500.0) for row, count in enumerate(counts)]
    assert 500 <= alarms(found)[0] < 510


def test_the_way_back_is_a_change_too() -> None:
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(m, 1, 500) for m in (0, 4, 0)]).tolist()
    assert [row // 500 for row in alarms(verdicts("mean", values))] == [1, 2]


def test_a_constant_that_jumps_is_seen() -> None:
    for kind, low, high in (("mean", 7.0, 8.0), ("count", 0.0, 9.0), ("ratio", 0.0, 1.0), ("rate", 0.0, 2.0)):
        (row,) = alarms(verdicts(kind, [low] * 500 + [high] * 500))  # type: ignore[arg-type]
        assert 500 < row < 520


QUIET: list[tuple[Kind, Draw]] = [
    ("mean", lambda r, n: r.standard_cauchy(n)),
    ("ratio", lambda r, n: r.binomial(1, 0.3, n)),
    ("count", lambda r, n: r.negative_binomial(4, 4 / 104, n)),
    ("rate", lambda r, n: r.lognormal(0, 2, n)),
]


@pytest.mark.parametrize(("kind", "draw"), QUIET)
def test_the_stated_false_alarm_rate_holds(kind: Kind, draw: Draw) -> None:
    """30,000 rows at one alarm in 3,000: 10 expected; more than 18 has a probability of half a percent."""
    values = draw(np.random.default_rng(7), 30_000).astype(float).tolist()
    assert len(alarms(verdicts(kind, values, arl=3_000))) <= 18


def test_correlated_rows_are_no_change() -> None:
    rng, level, values = random.Random(8), 0.0, []
    for _ in range(20_000):
        level = 0.95 * level + rng.gauss(0.0, 1.0)
        values.append(level)
    assert len(alarms(verdicts("mean", values))) <= 1


series = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]), st.none()), min_size=1, max_size=120
)
kinds = st.sampled_from(KINDS)


@given(kinds, series, st.integers(0, 120))
@settings(max_examples=40)
def test_a_row_depends_on_earlier_rows_only(kind: Kind, values: list[float | None], cut: int) -> None:
    assert verdicts(kind, values[:cut], arl=100) == verdicts(kind, values, arl=100)[:cut]


@given(kinds, series)
@settings(max_examples=30)
def test_a_gap_scores_nothing_and_teaches_nothing(kind: Kind, values: list[float | None]) -> None:
    detector, dense = SeriesDetector(kind, 100), SeriesDetector(kind, 100)
    for row, value in enumerate(values):
        found = detector.update(60.0 * row, value)
        if value is None:
            assert (found.score, found.rows_since_onset) == (0.0, 0)
        else:
            assert found == dense.update(60.0 * row, value)


@given(st.lists(st.floats(-1e6, 1e6), min_size=40, max_size=120), st.integers(-20, 60))
@settings(max_examples=30)
def test_the_unit_changes_nothing(values: list[float], exponent: int) -> None:
    """Powers of two, in which rescaling is exact."""
    factor = 2.0**exponent
    plain = verdicts("mean", list(values), arl=200)
    moved = verdicts("mean", [factor * value for value in values], arl=200)
    assert [v[:2] for v in moved] == [v[:2] for v in plain]


extremes = st.one_of(
    st.sampled_from([0.0, 5e-324, 1.7976931348623157e308, 1e308, 1.0, 1e15]), st.floats(0, 1e308)
)


@given(
    st.sampled_from(["mean", "count", "rate"]), st.lists(extremes, min_size=1, max_size=100), st.booleans()
)
@settings(max_examples=60)
def test_huge_values_neither_raise_nor_leave_the_scale(kind: Kind, values: list[float], signed: bool) -> None:
    if signed and kind == "mean":
        values = [-value if row % 2 else value for row, value in enumerate(values)]
    for verdict in verdicts(kind, list(values), arl=200):
        assert 0.0 <= verdict.score <= 1.0
        assert verdict.band is None or all(map(math.isfinite, verdict.band))


def test_huge_values_do_not_blind() -> None:
    rng = np.random.default_rng(9)
    values = [*rng.normal(0, 1, 600), 1e308, -1e308, *rng.normal(0, 1, 600), *rng.normal(4, 1, 100)]
    found = alarms(verdicts("mean", [float(value) for value in values]))
    assert found
    assert 1_202 <= found[-1] < 1_222


def test_memory_is_bounded() -> None:
    rng, detector, sizes = random.Random(10), SeriesDetector("mean"), []
    for row in range(30_000):
        detector.update(300.0 * row, rng.gauss(0.0, 1.0))
        if row in (10_000, 29_999):
            sizes.append(len(pickle.dumps(detector)))
    assert sizes[1] < 1.1 * sizes[0]
    assert sizes[1] < 100_000


@pytest.mark.skipif(not PRIME.exists(), reason=f"LLMDrift data not found at {PRIME}")
@pytest.mark.timeout(300)
def test_the_updates_of_real_models_are_found() -> None:
    def detector() -> Callable[[float], bool]:
        return tidewatch("ratio", 100_000)

    found = {model: delays(detector, model, "bad") for model in ("gpt-4", "gpt-3.5")}
    assert all(math.isfinite(value) for values in found.values() for value in values)
    assert statistics.fmean(statistics.median(values) for values in found.values()) <= 50.0


@pytest.mark.skipif(not PRIME.exists(), reason=f"LLMDrift data not found at {PRIME}")
@pytest.mark.parametrize("column", ["tokens", "latency_secs"])
def test_a_month_without_an_update_is_quiet(column: str) -> None:
    false = 0
    for values in march_alone("gpt-4", column, 5):
        alarm = tidewatch("mean", 100_000)
        false += sum(map(alarm, values))
    assert false <= 2


@pytest.mark.skipif(not NAB.exists(), reason=f"NAB files not found at {NAB}")
@pytest.mark.timeout(300)
def test_novelty_finds_the_labelled_anomalies() -> None:
    files = nab.read_series(NAB)
    scores = {}
    for name, one in files.items():
        detector = SeriesDetector("mean")
        scores[name] = [
            detector.update(at, value).score for at, value in zip(one.at_secs, one.values, strict=True)
        ]
    found, windows = nab.detections(files, scores), sum(len(one.windows) for one in files.values())
    assert nab.points(found, windows, nab.PROFILES["standard"], 0.5)[0] >= 68.0


def test_the_formula_of_numenta() -> None:
    one = {"file": nab.Series([float(row) for row in range(1_000)], [0.0] * 1_000, [(500, 599)])}
    standard = nab.PROFILES["standard"]

    def score(*rows: int) -> float:
        marked = [1.0 if row in rows else 0.0 for row in range(1_000)]
        return nab.points(nab.detections(one, {"file": marked}), 1, standard, 0.5)[0]

    assert score() == 0.0
    assert score(500) == pytest.approx(100.0)
    assert score(500, 550) == pytest.approx(100.0)
    assert score(100, 500) == pytest.approx(100.0)  # probation
    assert score(300, 500) == pytest.approx(100.0 - 11.0 / 2)
    assert score(599) == pytest.approx(50.0 + 50.0 * (2 / (1 + math.exp(-0.05)) - 1) / 0.98661, rel=1e-3)
    assert score(500, 601) > score(500, 900)
