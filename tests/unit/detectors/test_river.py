"""Our columns against River's own objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from river.drift import ADWIN, KSWIN
from river.drift import PageHinkley as RiverPageHinkley
from river.drift.binary import DDM, HDDMA
from river.stats import Mean

from detectors.drift.adwin import Adwin, AdwinParams
from detectors.drift.ddm import Ddm, DdmParams
from detectors.drift.hddm import Hddm, HddmParams
from detectors.drift.kswin import Kswin, KswinParams, critical, distances
from detectors.drift.page_hinkley import PageHinkley, PageHinkleyParams
from detectors.registry import DETECTORS, DetectorsParams
from tests.support.batches import ratio, standard

finite = st.floats(-1e6, 1e6)


@given(
    values=st.lists(finite, min_size=1, max_size=200),
    threshold=st.floats(0.5, 50),
    delta=st.floats(0, 2),
    alpha=st.floats(0.95, 1.0),
    min_panes=st.integers(1, 40),
)
def test_page_hinkley_equals_river_bit_for_bit(
    values: list[float], threshold: float, delta: float, alpha: float, min_panes: int
) -> None:
    ours = PageHinkley(PageHinkleyParams(threshold=threshold, delta=delta, alpha=alpha, min_panes=min_panes))
    ours.grow(1)
    river = RiverPageHinkley(min_instances=min_panes, delta=delta, threshold=threshold, alpha=alpha)
    for value in values:
        hits = ours.step(np.zeros(1, np.int64), np.array([value]))
        river.update(value)
        assert bool(hits.fired_up[0] or hits.fired_down[0]) == river.drift_detected
        if not river.drift_detected:
            state = ours.to_state()["arrays"]
            sums = [np.frombuffer(state[name], "<f8")[0] for name in ("inc", "dec", "min_inc", "max_dec")]
            assert sums == [
                river._sum_increase,
                river._sum_decrease,
                river._min_increase,
                river._max_decrease,
            ]


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=300), st.integers(0, 2**16))
def test_adwin_is_rivers_adwin_on_mapped_values(values: list[float], seed: int) -> None:
    """Every alarm of ours is one of River's; River's others are cuts that lead back to normal."""
    params = AdwinParams(delta=0.002, clock=1)
    ours = Adwin(params)
    river = ADWIN(delta=0.002, clock=1, min_window_length=params.min_part, grace_period=params.grace_panes)
    stream = np.concatenate([np.random.default_rng(seed).normal(size=60) * 0.2, np.array(values)])
    for value in np.clip(stream, -4, 4):
        one = np.array([value])
        hits = ours.update(standard(np.zeros(1, np.int64), one))
        river.update(value / 8.0 + 0.5)
        if hits.fired_up[0] or hits.fired_down[0]:
            assert river.drift_detected


def test_adwin_of_another_river_version_starts_anew() -> None:
    adwin = Adwin(AdwinParams())
    one = np.zeros(1)
    for _ in range(50):
        adwin.update(standard(np.zeros(1, np.int64), one))
    state = adwin.to_state()
    assert len(state["objects"]) == 1
    adwin.from_state({**state, "river": "0.0.1"})
    assert adwin.to_state()["objects"] == []


class _Panic(BaseException):
    """What a Rust panic looks like from Python: not an Exception."""


class _Panicking:
    total, width = 0.0, 0

    def update(self, x: float) -> None:
        raise _Panic


def test_a_panic_drops_that_series_only() -> None:
    adwin = Adwin(AdwinParams())
    index = np.arange(2)
    for _ in range(30):
        adwin.update(standard(index, np.zeros(2)))
    adwin._of[0] = _Panicking()
    hits = adwin.update(standard(index, np.zeros(2)))
    assert not (hits.fired_up | hits.fired_down).any()
    assert [series for series, _, _ in adwin.to_state()["objects"]] == [1]
    adwin.update(standard(index, np.zeros(2)))
    assert [series for series, _, _ in adwin.to_state()["objects"]] == [0, 1]


answers = st.lists(st.booleans(), min_size=1, max_size=300)


@given(
    early=answers, late=answers, sigmas=st.floats(0.5, 6.0), warm=st.integers(0, 60), complement=st.booleans()
)
def test_ddm_of_single_observations_is_rivers_bit_for_bit(
    early: list[bool], late: list[bool], sigmas: float, warm: int, complement: bool
) -> None:
    """The rising side on the answers, the falling side on the opposite answers."""
    side = int(complement)
    ours = Ddm(DdmParams(drift_sigmas=sigmas, min_panes=warm, min_held=0))
    ours.grow(1)
    river = DDM(warm_start=warm, drift_threshold=sigmas)
    for answer in [*early, *late, *early]:
        hits = ours.step(np.zeros(1, np.int64), np.ones(1), np.array([float(answer != complement)]))
        river.update(int(answer))
        assert bool((hits.fired_up, hits.fired_down)[side][0]) == river.drift_detected
        if hits.fired_up[0] or hits.fired_down[0]:
            ours.reset(np.zeros(1, np.int64))
            river._reset()
        elif river._p_min is not None:
            assert [ours._p.rows[0, side], ours._p_min.rows[0, side], ours._s_min.rows[0, side]] == [
                river._p.get(), river._p_min, river._s_min,
            ]  # fmt: skip


@given(early=answers, late=answers, delta=st.floats(1e-6, 0.3))
def test_hddm_of_single_observations_is_rivers_bit_for_bit(
    early: list[bool], late: list[bool], delta: float
) -> None:
    ours = Hddm(HddmParams(delta=delta))
    ours.grow(1)
    river = HDDMA(drift_confidence=delta, two_sided_test=True)
    for answer in [*early, *late, *early]:
        hits = ours.step(np.zeros(1, np.int64), np.ones(1), np.array([float(answer)]))
        river.update(int(answer))
        assert bool(hits.fired_up[0] or hits.fired_down[0]) == river.drift_detected
        if not river.drift_detected:
            means = [river._z, river._x_min, river._x_max]
            stored = ours.to_state()["means"]["arrays"]
            assert [
                np.frombuffer(stored[name], "<f8")[0]
                for name in ("n", "mean", "low_n", "low_mean", "high_n", "high_mean")
            ] == [value for mean in means for value in (mean.n, mean.get())]


@given(panes=st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=100))
def test_a_pane_weighs_as_many_observations_as_rivers_weighted_mean_gives_it(
    panes: list[tuple[int, float]],
) -> None:
    ours = Ddm(DdmParams(drift_sigmas=100.0, min_panes=1000))
    ours.grow(1)
    mean = Mean()
    for n, share in panes:
        ours.step(np.zeros(1, np.int64), np.array([float(n)]), np.array([share]))
        mean.update(share, n)
    assert ours._p.rows[0, 0] == mean.get()


@settings(max_examples=20, deadline=None)
@given(
    early=st.lists(st.integers(-3, 3), min_size=40, max_size=60),
    late=st.lists(st.integers(-1, 5), min_size=40, max_size=60),
    recent=st.integers(10, 20),
    alpha=st.floats(1e-4, 0.05),
)
def test_kswin_is_rivers_where_nothing_is_left_to_draw(
    early: list[int], late: list[int], recent: int, alpha: float
) -> None:
    """With a window of twice the newest values, River's random sample is everything before them. Many ties."""
    assume(critical(recent, recent, alpha) / recent**2 > 0.1)
    ours = Kswin(KswinParams(window=2 * recent, recent=recent, alpha=alpha))
    ours.grow(1)
    river = KSWIN(alpha=alpha, window_size=2 * recent, stat_size=recent, seed=1)
    for value in [*early, *late]:
        hits = ours.step(np.zeros(1, np.int64), np.array([float(value)]))
        river.update(float(value))
        assert bool(hits.fired_up[0] or hits.fired_down[0]) == river.drift_detected
        if river.drift_detected:
            river._drift_detected = (
                False  # ours keeps the newest values, as River's comment says; its reset drops them
            )


@pytest.mark.parametrize(("recent", "before"), [(30, 70), (5, 9), (12, 12)])
def test_the_chance_of_a_distance_is_the_exact_one(recent: int, before: int) -> None:
    """Against every order of the two samples, where these are few enough, and a large sample of them."""
    rng = np.random.default_rng(6)
    rows = rng.random((20_000, recent + before)).astype(np.float32)
    far = np.maximum(*distances(rows, recent))
    for alpha in (0.5, 0.1, 0.01):
        bound = critical(recent, before, alpha)
        reached = np.mean(far >= (bound - 0.5) / (recent * before))
        below = np.mean(far >= (bound - 1.5) / (recent * before))
        assert reached <= alpha + 4.0 * np.sqrt(alpha / len(rows))
        assert below >= alpha - 4.0 * np.sqrt(alpha / len(rows)) or below == reached


def test_an_alpha_that_no_order_reaches_is_refused() -> None:
    with pytest.raises(ValueError, match="as rare as alpha"):
        KswinParams(window=20, recent=10, alpha=1e-5)
    assert critical(10, 10, 1.1e-5) > 90


def test_ratios_are_judged_by_what_was_expected_of_them() -> None:
    """The course of a day that the baseline knows is no change to them; other signals are nothing to them."""
    for name in ("ddm", "hddm"):
        known, unknown, other = (DETECTORS[name](getattr(DetectorsParams(), name)) for _ in range(3))
        fired = [0, 0, 0]
        index = np.zeros(1, np.int64)
        rng = np.random.default_rng(8)
        for bank in (known, unknown, other):
            bank.grow(1)
        for at in range(1_500):
            share = 0.2 + 0.1 * np.sin(at / 100.0)
            z = rng.normal(size=1)
            pane = ratio(index, z, at, share=share)
            offset = (share - 0.2) * pane.n
            blind = pane._replace(deviation=pane.deviation + offset, expected=0.2 * pane.n)
            for which, (bank, batch) in enumerate(
                ((known, pane), (unknown, blind), (other, standard(index, z + 9.0)))
            ):
                hits = bank.update(batch)
                fired[which] += int(hits.fired_up[0] or hits.fired_down[0])
        assert fired[0] == 0, name
        assert fired[1] > 0, name
        assert fired[2] == 0, name


def test_a_burst_counts_for_what_it_tells() -> None:
    """Panes that wander four times as far as independent answers would: no alarm, where raw counts give some."""
    for name in ("ddm", "hddm"):
        rng = np.random.default_rng(9)
        index = np.arange(50)
        honest, raw = (DETECTORS[name](getattr(DetectorsParams(), name)) for _ in range(2))
        fired = [0, 0]
        for bank in (honest, raw):
            bank.grow(50)
        for at in range(1_000):
            pane = ratio(index, 4.0 * rng.normal(size=50), at, share=0.5)
            for which, (bank, sigma) in enumerate(((honest, 4.0 * pane.sigma), (raw, pane.sigma))):
                hits = bank.update(pane._replace(sigma=sigma))
                fired[which] += int((hits.fired_up | hits.fired_down).sum())
        assert fired[0] == 0, name
        assert fired[1] > 0, name
