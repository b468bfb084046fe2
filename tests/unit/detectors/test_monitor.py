"""DETECT as a whole: windows in, evidence and expectations out."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from builders import BASE_MS, NUMERIC, START_MS, MatrixWindow, matrix, window
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import Verdict
from detectors.monitor import Detect, DetectParams, Judged
from detectors.records import FLEET, Evidence, SegmentKey, Severity
from detectors.rules.defaults import DEFAULT_RULES
from detectors.telling import LEVEL
from streams.signals import SIGNALS

COLUMN = {name: at for at, name in enumerate(NUMERIC)}
A, B = SegmentKey(("model",), ("a",)), SegmentKey(("model",), ("b",))


def new(**params: object) -> Detect:
    return Detect(DetectParams.model_validate(params), (), SIGNALS, BASE_MS)


def at(number: int) -> int:
    return START_MS + number * BASE_MS


def ratio_windows(
    signal: str, levels: list[float], n: int = 50, seed: int = 0, segment: SegmentKey = FLEET, start: int = 0
) -> list[MatrixWindow]:
    rng = np.random.default_rng(seed)
    return [
        matrix(at(start + k), [segment], **{signal: ([rng.binomial(n, p) / n], [n])})
        for k, p in enumerate(levels)
    ]


def play(detect: Detect, windows: list[MatrixWindow], *, freeze: bool = False) -> list[Evidence]:
    found: list[Evidence] = []
    for block in windows:
        evidence = detect.close(block).evidence
        found += evidence
        if freeze:
            detect.apply(Verdict("freeze", e.segment, e.signal) for e in evidence if e.firing)
    return found


def test_learning_until_there_is_enough_and_then_the_expected_value() -> None:
    detect = new()
    closings = [detect.close(block) for block in ratio_windows("refusal_ratio", [0.1] * 60, n=100)]
    column = COLUMN["refusal_ratio"]
    learning = [bool(c.learning[0, column]) for c in closings]
    assert learning == [True] * 29 + [False] * 31
    assert all(math.isnan(c.expected[0, column]) == bool(c.learning[0, column]) for c in closings)
    assert closings[-1].expected[0, column] == pytest.approx(0.1, abs=0.02)
    assert closings[-1].learning[0, COLUMN["latency_p50_ms"]], "a signal without data is learning"


@pytest.mark.parametrize(
    "signal", ["latency_p50_ms", "tokens_out_mean", "cost_per_request_usd", "judge_score_mean"]
)
def test_expectations_are_in_the_signals_own_unit(signal: str) -> None:
    detect, level = (
        new(),
        {"latency_p50_ms": 900.0, "cost_per_request_usd": 0.004, "judge_score_mean": 0.9}.get(signal, 210.0),
    )
    rng = np.random.default_rng(1)
    for k in range(50):
        closing = detect.close(matrix(at(k), [FLEET], **{signal: ([level * rng.normal(1, 0.02)], [60])}))
    assert closing.expected[0, COLUMN[signal]] == pytest.approx(level, rel=0.02)


def test_request_rate_is_expected_per_second() -> None:
    detect = new()
    for k in range(6 * 40):
        closing = detect.close(matrix(at(k), [FLEET], request_rate=([12.0], [120])))
    assert closing.expected[0, COLUMN["request_rate"]] == pytest.approx(12.0, rel=0.01)


def test_no_statistical_evidence_while_learning() -> None:
    assert play(new(), ratio_windows("refusal_ratio", [0.01] * 14 + [0.9] * 14, n=100)) == []


def test_a_jump_gives_evidence_with_its_onset_and_band() -> None:
    found = play(new(), ratio_windows("refusal_ratio", [0.02] * 120 + [0.4] * 20))
    first = found[0]
    assert (first.detector, first.segment, first.signal) == ("glr", FLEET, "refusal_ratio")
    assert abs(first.started_at_ms - at(120)) <= 2 * BASE_MS
    assert first.window_end_ms <= at(124)
    assert first.observed == pytest.approx(0.4, abs=0.12)
    assert first.expected == pytest.approx(0.02, abs=0.015)
    assert first.lower is not None
    assert first.upper is not None
    assert 0.0 <= first.lower <= first.expected <= first.upper < first.observed
    assert first.statistic > first.threshold


def test_only_the_bad_direction_is_evidence() -> None:
    better = play(new(), ratio_windows("error_ratio", [0.5] * 120 + [0.0] * 60))
    worse = play(new(), ratio_windows("schema_valid_ratio", [0.9] * 120 + [0.4] * 60))
    assert better == []
    assert worse


@pytest.mark.parametrize(
    ("signal", "before", "after", "severity"),
    [
        ("refusal_ratio", 0.02, 0.40, Severity.CRITICAL),
        ("refusal_ratio", 0.02, 0.15, Severity.WARNING),
        ("cache_hit_ratio", 0.60, 0.05, Severity.WARNING),
        ("idk_ratio", 0.02, 0.60, Severity.WARNING),
    ],
)
def test_severity_is_what_the_change_means(
    signal: str, before: float, after: float, severity: Severity
) -> None:
    found = play(new(), ratio_windows(signal, [before] * 120 + [after] * 60), freeze=True)
    assert max(e.severity for e in found) == severity


def test_few_interactions_never_page() -> None:
    found = play(new(), ratio_windows("error_ratio", [0.0] * 120 + [1.0] * 15, n=10), freeze=True)
    assert max(e.severity for e in found) == Severity.WARNING


def test_a_frozen_series_does_not_learn_and_says_when_it_is_back() -> None:
    detect = new()
    play(detect, ratio_windows("refusal_ratio", [0.02] * 120))
    before = play(detect, ratio_windows("refusal_ratio", [0.4] * 200, seed=1, start=120), freeze=True)
    closing = detect.close(ratio_windows("refusal_ratio", [0.4], start=320)[0])
    assert closing.expected[0, COLUMN["refusal_ratio"]] == pytest.approx(0.02, abs=0.015)
    assert all(e.firing for e in before)
    after = play(detect, ratio_windows("refusal_ratio", [0.02] * 60, seed=2, start=321))
    back = [e for e in after if not e.firing]
    assert back[0].detector == LEVEL
    assert back[0].window_end_ms - at(321) <= 40 * BASE_MS


def test_evidence_repeats_every_five_minutes_at_most_unless_it_grew() -> None:
    detect = new()
    play(detect, ratio_windows("idk_ratio", [0.02] * 120))
    found = play(detect, ratio_windows("idk_ratio", [0.9] * 120, seed=1, start=120), freeze=True)
    assert len(found) >= 3
    for before, after in pairwise(found):
        grown = after.statistic > 1.1 * before.statistic or after.severity > before.severity
        assert grown or after.window_end_ms - before.window_end_ms >= 300_000


def test_relearning_makes_the_new_level_normal() -> None:
    detect = new()
    play(detect, ratio_windows("refusal_ratio", [0.02] * 120))
    assert play(detect, ratio_windows("refusal_ratio", [0.4] * 20, seed=1, start=120), freeze=True)
    detect.apply([Verdict("relearn", FLEET, "refusal_ratio")])
    assert play(detect, ratio_windows("refusal_ratio", [0.4] * 200, seed=2, start=140)) == []
    closing = detect.close(ratio_windows("refusal_ratio", [0.4], start=340)[0])
    assert closing.expected[0, COLUMN["refusal_ratio"]] == pytest.approx(0.4, abs=0.05)


def test_verdicts_about_unknown_series_are_ignored() -> None:
    detect = new()
    play(detect, ratio_windows("refusal_ratio", [0.02] * 3))
    state = msgspec.msgpack.encode(detect.to_state())
    detect.apply([Verdict("relearn", A, "refusal_ratio"), Verdict("freeze", FLEET, "vibes")])
    assert msgspec.msgpack.encode(detect.to_state()) == state


def test_the_end_of_all_traffic_is_a_warning_for_the_fleet() -> None:
    detect = new()
    rng = np.random.default_rng(4)
    busy = [
        matrix(at(k), [FLEET], request_rate=([n / 10], [n])) for k, n in enumerate(rng.poisson(50, 6 * 60))
    ]
    silent = [matrix(at(360 + k), []) for k in range(60)]
    assert play(detect, busy) == []
    found = play(detect, silent, freeze=True)
    assert max(e.severity for e in found) == Severity.WARNING
    first = next(e for e in found if e.severity == Severity.WARNING)
    assert (first.signal, first.observed, first.n) == ("request_rate", 0.0, 0)
    assert abs(first.started_at_ms - at(360)) <= 60_000
    assert first.window_end_ms <= at(360) + 300_000


def test_a_gap_in_time_is_not_a_rate() -> None:
    detect = new()
    play(detect, [matrix(at(k), [FLEET], request_rate=([5.0], [50])) for k in range(360)])
    later = [matrix(at(5003 + k), [FLEET], request_rate=([5.0], [50])) for k in range(60)]
    assert play(detect, later) == []


def test_sparse_series_wait_until_there_is_something_to_see() -> None:
    """One vote a minute, one in ten of them down: single votes must not be ratios of 1."""
    detect = new()
    rng = np.random.default_rng(8)
    votes = (rng.random(3000) < 0.1).astype(float)
    windows = [
        matrix(at(k), [FLEET], thumbs_down_ratio=([votes[k // 6]], [1])) if k % 6 == 0 else matrix(at(k), [])
        for k in range(18_000)
    ]
    assert play(detect, windows) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_values_that_are_no_numbers_change_nothing(bad: float) -> None:
    clean, dirty = new(), new()
    calm = ratio_windows("retrieval_score_mean", [0.5] * 60)
    play(clean, calm)
    for k, block in enumerate(calm):
        values = np.concatenate([block.values, np.full((1, len(NUMERIC)), bad)])
        counts = np.concatenate([block.counts, np.full((1, len(NUMERIC)), 50)])
        dirty.close(MatrixWindow(at(k), [FLEET, A], values, counts))
    jump = ratio_windows("retrieval_score_mean", [0.1] * 20, start=60)
    assert play(dirty, jump) == play(clean, jump) != []


def test_constant_series_stay_quiet_and_still_see_a_change() -> None:
    detect = new()
    calm = [matrix(at(k), [FLEET], latency_p50_ms=([800.0], [20])) for k in range(500)]
    assert play(detect, calm) == []
    assert play(detect, [matrix(at(500 + k), [FLEET], latency_p50_ms=([1600.0], [20])) for k in range(20)])


def test_evidence_comes_in_order_of_segment_and_signal() -> None:
    detect, rng = new(), np.random.default_rng(5)
    found: list[list[Evidence]] = []
    for k in range(140):
        p = 0.02 if k < 120 else 0.6
        order = [FLEET, A, B]
        ratios = [rng.binomial(100, p) / 100 for _ in order]
        block = matrix(
            at(k),
            order,
            refusal_ratio=(ratios, [100] * 3),
            error_ratio=(ratios[::-1], [100] * 3),
            idk_ratio=(ratios, [100] * 3),
        )
        found.append(detect.close(block).evidence)
    assert any(len(evidence) > 3 for evidence in found)
    for evidence in found:
        keys = [(e.segment, COLUMN[e.signal]) for e in evidence]
        assert keys == sorted(keys)


def test_rescaling_the_unit_changes_nothing_but_the_unit() -> None:
    rng = np.random.default_rng(6)
    values = np.r_[rng.lognormal(7, 0.1, 120), rng.lognormal(7.7, 0.1, 30)]
    first = play(new(), [matrix(at(k), [FLEET], tokens_in_mean=([v], [40])) for k, v in enumerate(values)])
    second = play(
        new(), [matrix(at(k), [FLEET], tokens_in_mean=([v * 50], [40])) for k, v in enumerate(values)]
    )
    assert [(e.detector, e.window_end_ms, e.started_at_ms) for e in first] == [
        (e.detector, e.window_end_ms, e.started_at_ms) for e in second
    ]
    assert first
    assert second[0].observed == pytest.approx(50 * first[0].observed, rel=0.001)


def test_segments_are_bounded_and_the_longest_absent_makes_room() -> None:
    detect = Detect(DetectParams(), (), SIGNALS, BASE_MS, max_segments=3)
    keys = [SegmentKey(("tenant",), (f"t{k}",)) for k in range(6)]
    for k, key in enumerate(keys):
        detect.close(matrix(at(k), [FLEET, key], error_ratio=([0.0, 0.0], [10, 10])))
        assert detect.segments <= 3
    stored = detect.to_state()["rows"]["segments"]
    assert sorted(s[1] for s in stored if s is not None) == [[], ["t4"], ["t5"]]


def test_a_displaced_segment_leaves_nothing_to_its_successor() -> None:
    detect = Detect(DetectParams(), (), SIGNALS, BASE_MS, max_segments=1)
    play(detect, ratio_windows("refusal_ratio", [0.02] * 60, segment=A))
    closing = detect.close(ratio_windows("refusal_ratio", [0.9], segment=B, start=60)[0])
    assert closing.learning.all()
    fresh = Detect(DetectParams(), (), SIGNALS, BASE_MS, max_segments=1)
    fresh.close(ratio_windows("refusal_ratio", [0.9], segment=B, start=60)[0])
    tail = ratio_windows("refusal_ratio", [0.5] * 100, segment=B, start=61)
    for block in tail:
        np.testing.assert_array_equal(detect.close(block).expected, fresh.close(block).expected)


def test_segments_retire_after_their_days() -> None:
    detect = Detect(DetectParams(), (), SIGNALS, BASE_MS, retire_after_days=1.0)
    detect.close(matrix(at(0), [FLEET, A], error_ratio=([0.0, 0.0], [10, 10])))
    for hour in range(1, 27):
        detect.close(matrix(at(0) + hour * 3_600_000, [FLEET], error_ratio=([0.0], [10])))
    assert detect.segments == 1


def test_a_window_of_other_signals_is_refused() -> None:
    detect = Detect(DetectParams(), (), {"error_ratio": SIGNALS["error_ratio"]}, BASE_MS)
    with pytest.raises(ValueError, match="expected"):
        detect.close(matrix(at(0), []))


def busy_window(
    number: int, rng: np.random.Generator
) -> tuple[int, dict[str, np.ndarray], dict[str, list[str]]]:
    n = int(rng.poisson(40))
    bad = 60 <= number < 90
    records = {
        "refusal": (rng.random(n) < (0.5 if bad else 0.02)).astype(float),
        "error": (rng.random(n) < 0.04).astype(float),
        "duration_ms": rng.lognormal(7, 0.5, n),
        "tokens_out": rng.lognormal(4 if bad else 5, 0.5, n),
        "cost_usd": rng.lognormal(-6, 0.5, n),
        "judge_score": rng.beta(8, 2, n // 5),
    }
    return number, records, {"model": [str(m) for m in rng.choice(["a", "b"], n)]}


def closings(detect: Detect, first: int, last: int) -> list[Judged]:
    """Windows of their own seed each, so that a run may start anywhere."""
    found = []
    for number in range(first, last):
        _, records, by = busy_window(number, np.random.default_rng(number))
        votes = {"judge_score": records.pop("judge_score")}
        block = window(at(number), records if number % 7 else None, by if number % 7 else None, votes)
        closing = detect.close(block)
        detect.apply(
            Verdict("freeze", e.segment, e.signal)
            for e in closing.evidence
            if e.firing and e.family != "rule"
        )
        found.append(closing)
    return found


@settings(max_examples=12, deadline=None)
@given(cut=st.integers(1, 119))
def test_a_restored_monitor_continues_exactly(cut: int) -> None:
    def fresh() -> Detect:
        return Detect(DetectParams(), DEFAULT_RULES, SIGNALS, BASE_MS)

    whole = fresh()
    expected = closings(whole, 0, 120)
    first = fresh()
    found = closings(first, 0, cut)
    state = msgspec.msgpack.encode(first.to_state())
    second = fresh()
    second.from_state(msgspec.msgpack.decode(state))
    assert msgspec.msgpack.encode(second.to_state()) == state
    found += closings(second, cut, 120)
    assert [c.evidence for c in found] == [c.evidence for c in expected]
    assert any(c.evidence for c in expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.expected, other.expected)
    assert msgspec.msgpack.encode(second.to_state()) == msgspec.msgpack.encode(whole.to_state())


def test_changed_parameters_start_that_detector_anew_and_keep_the_baseline() -> None:
    detect = new()
    play(detect, ratio_windows("refusal_ratio", [0.02] * 120))
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(detect.to_state()))
    changed = new(detectors={"glr": {"report_nats": 30.0}})
    assert changed.from_state(state) == ["detector glr: its parameters are others"]
    found = play(changed, ratio_windows("refusal_ratio", [0.5] * 3, start=120))
    assert found[0].statistic >= 30.0
    assert found[0].expected == pytest.approx(0.02, abs=0.015)
