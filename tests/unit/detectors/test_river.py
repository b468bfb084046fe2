"""Our columns against River's own objects."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from river.drift import ADWIN
from river.drift import PageHinkley as RiverPageHinkley

from detectors.drift.adwin import Adwin, AdwinParams
from detectors.drift.page_hinkley import PageHinkley, PageHinkleyParams
from tests.support.batches import standard

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
