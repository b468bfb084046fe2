"""What TRIAGE may ask DETECT about."""

from __future__ import annotations

import numpy as np
import pytest
from builders import BASE_MS, matrix

from detectors.monitor import Detect, DetectParams
from detectors.records import FLEET, SegmentKey
from streams.signals import SIGNALS

START_MS = 1_790_000_000_000
ACME = SegmentKey(("provider",), ("acme",))


def watched(refusals: float, latency_ms: float, windows: int = 40) -> Detect:
    """Two hundred calm windows, then others; a quarter of the traffic is acme's, which alone changes."""
    detect, rng = Detect(DetectParams(), (), SIGNALS, BASE_MS), np.random.default_rng(3)
    for k in range(200 + windows):
        p, ms = (0.02, 800.0) if k < 200 else (refusals, latency_ms)
        held = [rng.binomial(30, 0.02) + rng.binomial(10, p), rng.binomial(10, p)]
        noise = rng.normal(1.0, 0.02, 2)
        detect.close(
            matrix(
                START_MS + k * BASE_MS,
                [FLEET, ACME],
                request_rate=([4.0, 1.0], [40, 10]),
                refusal_ratio=([held[0] / 40, held[1] / 10], [40, 10]),
                latency_p50_ms=([800.0 * noise[0], ms * noise[1]], [40, 10]),
            )
        )
    return detect


def test_a_change_is_told_with_size_onset_and_evidence() -> None:
    effects = watched(0.3, 800.0).effects
    found = effects.effect(ACME, "refusal_ratio")
    assert found is not None
    assert found.nats > 20
    # Candidates for the onset lie a factor of two apart, seen from now.
    assert abs(found.since_ms - (START_MS + 200 * BASE_MS)) <= 20 * BASE_MS
    assert found.observed == pytest.approx(0.3, abs=0.06)
    assert found.expected == pytest.approx(0.02, abs=0.01)
    assert found.shift == pytest.approx(0.28, abs=0.07)


def test_sizes_on_a_logarithmic_scale_are_logarithms() -> None:
    found = watched(0.02, 1600.0).effects.effect(ACME, "latency_p50_ms")
    assert found is not None
    assert found.shift == pytest.approx(np.log(2.0), abs=0.05)
    assert found.observed == pytest.approx(1600.0, rel=0.05)


def test_what_did_not_change_has_little_evidence_and_what_is_unknown_none() -> None:
    effects = watched(0.3, 800.0).effects
    calm = effects.effect(FLEET, "latency_p50_ms")
    assert calm is not None
    assert calm.nats < 6
    assert effects.effect(FLEET, "judge_score_mean") is None
    assert effects.effect(SegmentKey(("tenant",), ("nobody",)), "refusal_ratio") is None
    assert effects.effect(FLEET, "no such signal") is None


def test_shares_are_of_recent_interactions() -> None:
    effects = watched(0.02, 800.0).effects
    assert effects.share(ACME, FLEET) == pytest.approx(0.25)
    assert effects.share(FLEET, SegmentKey(("tenant",), ("nobody",))) == 0.0


def test_what_has_stopped_has_changed_although_no_window_holds_it() -> None:
    detect = Detect(DetectParams(), (), SIGNALS, BASE_MS)
    for k in range(300):
        there = k < 240
        segments, rate = ([FLEET, ACME], [4.0, 1.0]) if there else ([FLEET], [4.0])
        detect.close(matrix(START_MS + k * BASE_MS, segments, request_rate=(rate, [10 * r for r in rate])))
    assert detect.effects.changed("request_rate", 8.0) == [ACME]
    assert detect.effects.changed("request_rate", 1e6) == []
    assert detect.effects.changed("topic_mix", 0.0) == []


def test_what_a_series_shows_since_a_time_is_not_diluted_by_the_time_before() -> None:
    effects = watched(0.02, 1600.0).effects
    late = effects.since(ACME, "latency_p50_ms", START_MS + 225 * BASE_MS)
    assert late is not None
    assert late.since_ms >= START_MS + 225 * BASE_MS
    assert late.nats == 0.0
    assert late.shift == pytest.approx(np.log(2.0), abs=0.05)
    assert effects.since(ACME, "latency_p50_ms", START_MS + 300 * BASE_MS) is None, "nothing has begun since"
    assert effects.since(FLEET, "judge_score_mean", START_MS) is None
