"""The smallest change that a signal can show: what theory says, and what the detector then does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builders import NUMERIC, START_MS, matrix

from detectors.detectable import Terms, nats_of, observations_for, smallest_shift
from detectors.drift.glr import BERNOULLI, GAUSSIAN
from detectors.monitor import Detect, DetectParams
from detectors.observed import Observed
from detectors.records import FLEET, SegmentKey
from detectors.tails import Tails
from streams.signals import RATED, SIGNALS

BUDGET = 5.0 / 60.0
MINUTE_MS = 60_000
TOPIC = SegmentKey(("topic",), ("billing",))


def terms(family: int, level: float, *, variance: float = 1.0, phi: float = 1.0) -> Terms:
    """One series with a reference that is known exactly, and no tolerance."""
    one = np.ones(1)
    return Terms(
        np.array([family]), level * one, variance * one, 1e12 * one, 0.0 * one, 5.0 * one,
        np.full((1, 14), phi), 1e9 * one,
    )  # fmt: skip


def only(values: np.ndarray) -> float:
    (value,) = values.tolist()
    return float(value)


@pytest.mark.parametrize(("p0", "n"), [(0.12, 83.0), (0.03, 2_000.0), (0.5, 500.0)])
def test_a_share_shows_from_n_times_the_divergence_on(p0: float, n: float) -> None:
    nats = 18.2
    p1 = p0 + only(smallest_shift(terms(BERNOULLI, p0), np.array([n]), np.array([nats]), up=True))
    divergence = p1 * math.log(p1 / p0) + (1 - p1) * math.log((1 - p1) / (1 - p0))
    assert n * divergence == pytest.approx(nats, rel=1e-4)


def test_a_mean_shows_from_d_squared_on_and_bursts_cost_their_factor() -> None:
    n, nats, variance = np.array([400.0]), np.array([18.2]), 0.04
    plain = only(smallest_shift(terms(GAUSSIAN, 0.8, variance=variance), n, nats, up=False))
    assert plain == pytest.approx(-math.sqrt(2 * 18.2 * variance / 400), rel=1e-4)
    bursty = only(smallest_shift(terms(GAUSSIAN, 0.8, variance=variance, phi=4.0), n, nats, up=False))
    assert bursty == pytest.approx(2.0 * plain, rel=1e-6)


def test_observations_for_is_the_inverse() -> None:
    series, nats = terms(BERNOULLI, 0.12), np.array([18.2])
    for n in (60.0, 700.0, 9_000.0):
        shift = smallest_shift(series, np.array([n]), nats, up=True)
        assert only(observations_for(series, shift, nats, np.array([1e6]), 1e9)) == pytest.approx(n, rel=1e-3)


def test_what_cannot_be_seen_is_said() -> None:
    nats = np.array([18.2])
    few, pane = np.array([8.0]), np.array([3.0])
    assert math.isnan(only(smallest_shift(terms(BERNOULLI, 0.5), few, nats, up=True))), (
        "even all of 8 is not enough"
    )
    assert only(nats_of(terms(BERNOULLI, 0.12), pane, np.array([0.8]))) == 0.0, "no pane is complete"
    tiny = np.array([1e-4])
    assert math.isnan(only(observations_for(terms(BERNOULLI, 0.12), tiny, nats, np.array([1e5]), 1e9)))


def test_nats_at_is_the_inverse_of_false_alarms() -> None:
    tails = Tails(2, lambda rows: np.ones(len(rows), bool))
    tails.grow(2)
    rng = np.random.default_rng(3)
    for at in range(20_000):
        nats = np.where(rng.random(2) < 0.02, 6.0 + rng.exponential(1.4, 2), 0.0)
        tails.observe(np.array([0, 1]), nats, at * 60_000, np.ones(2, bool))
    for per_week in (5.0, BUDGET, 1e-3):
        nats = tails.nats_at(0, per_week, known=True)
        assert tails.false_per_week(0, nats) == pytest.approx(per_week, rel=1e-3)
    assert tails.nats_at(0, 1e9, known=True) == pytest.approx(6.0, abs=1e-3)


def test_observations_an_hour_from_the_first_hour_on() -> None:
    observed = Observed(2)
    observed.grow(2)
    rows, row, column = np.array([1]), np.array([1, 1, 0]), np.array([0, 1, 0])
    for at in range(3 * 360):
        observed.add(rows, np.array([[10, 1]]), at * 10_000, (at + 1) * 10_000)
    assert observed.per_hour(row, column, 3 * 3_600_000).tolist() == pytest.approx(
        [3600.0, 360.0, 0.0], rel=1e-4
    )
    later = observed.per_hour(row, column, 27 * 3_600_000)
    assert 200.0 < later[0] < 400.0, "a day without any counts, and fades what was before"
    copy = Observed(2)
    copy.from_state(observed.to_state())
    assert copy.per_hour(row, column, 27 * 3_600_000).tolist() == later.tolist()


def test_the_rated_signals_are_those_of_feedback() -> None:
    assert set(RATED) == {
        "judge_score_mean", "judge_fail_ratio", "unsupported_claim_ratio", "thumbs_down_ratio",
        "user_corrected_ratio",
    }  # fmt: skip


class Judged:
    """A topic of 600 interactions a minute, of which the judge sees one in 50."""

    def __init__(self, seed: int) -> None:
        self.detect = Detect(DetectParams(), (), SIGNALS, MINUTE_MS)
        self._rng = np.random.default_rng(seed)
        self._at = 0

    def run(self, hours: float, bad: float) -> bool:
        """Play; whether there was evidence enough of a rise."""
        series, needed = np.array([list(NUMERIC).index("judge_fail_ratio")]), np.inf
        if self._at:
            needed = float(self.detect.explainer(self.now_ms).nats_needed(series, BUDGET)[0])
        for _ in range(round(hours * 60)):
            held = float((self._rng.random(12) < bad).mean())
            block = matrix(
                self.now_ms, [TOPIC], MINUTE_MS, request_rate=([10.0], [600]), judge_fail_ratio=([held], [12])
            )
            self._at += 1
            evidence = [e for e in self.detect.close(block).evidence if e.signal == "judge_fail_ratio"]
            if any(e.statistic >= needed and e.observed > e.expected for e in evidence):
                return True
        return False

    @property
    def now_ms(self) -> int:
        return START_MS + self._at * MINUTE_MS


def test_a_series_is_explained_in_its_own_units() -> None:
    judged = Judged(seed=1)
    judged.run(6.0, bad=0.12)
    (found,) = judged.detect.explainer(judged.now_ms).explain(
        [TOPIC, FLEET], ["judge_fail_ratio"], BUDGET, judged.now_ms
    )
    assert (found.segment, found.learning, found.open_incident) == (TOPIC, False, False)
    assert found.expected == pytest.approx(0.12, abs=0.03)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < found.expected < found.upper
    assert found.observations_per_hour == pytest.approx(720.0, rel=1e-3)
    assert found.sample_rate == pytest.approx(0.02)
    assert found.fall_hour is None, "fewer failures are good news"
    assert found.rise_hour is not None
    assert found.rise_day is not None
    assert 0.02 < found.rise_day < found.rise_hour < 0.3
    assert found.asked == 0.03, "from which an incident of the model's behaviour warns"
    assert found.sample_rate_needed is not None
    larger = judged.detect.explainer(judged.now_ms).explain(
        [TOPIC], ["judge_fail_ratio"], BUDGET, judged.now_ms, asked=0.2
    )[0]
    assert larger.sample_rate_needed is not None
    assert larger.sample_rate_needed < found.sample_rate_needed


def test_what_is_said_to_show_within_an_hour_does() -> None:
    """Twice the smallest change is as good as certain, half of it is not seen."""
    seen = {2.0: 0, 0.5: 0}
    for factor in seen:
        for seed in range(6):
            judged = Judged(seed)
            judged.run(6.0, bad=0.12)
            explainer = judged.detect.explainer(judged.now_ms)
            (found,) = explainer.explain([TOPIC], ["judge_fail_ratio"], BUDGET, judged.now_ms)
            assert found.rise_hour is not None
            seen[factor] += judged.run(1.0, bad=0.12 + factor * found.rise_hour)
    assert seen == {2.0: 6, 0.5: 0}
