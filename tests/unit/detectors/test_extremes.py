"""Where tails begin is learned; what is beyond is counted."""

from __future__ import annotations

import numpy as np
import pytest
from builders import START_MS, window

from detectors.extremes import Extremes, Tail
from detectors.records import FLEET
from detectors.sketches.window import WindowBlock

WINDOW_MS = 10_000
ROWS = np.zeros(1, np.int64)


def latencies(number: int, rng: np.random.Generator, n: int = 50, slow: float = 0.0) -> WindowBlock:
    """A window of lognormal latencies around a second, a share of them twelve times slower."""
    values = rng.lognormal(np.log(1000.0), 0.5, n) * np.where(rng.random(n) < slow, 12.0, 1.0)
    return window(START_MS + number * WINDOW_MS, {"duration_ms": values.tolist()})


def play(extremes: Extremes, windows: int, seed: int, slow: float = 0.0, *, learn: bool = True) -> float:
    """Share beyond the threshold over the later half of the windows."""
    extremes.grow(1)
    rng, held, known = np.random.default_rng(seed), 0.0, 0
    for number in range(windows):
        block = latencies(number, rng, slow=slow)
        assert block.segments == [FLEET]
        values, counts = np.zeros((1, 1)), np.zeros((1, 1), np.int64)
        extremes.shares(block, ROWS, values, counts)
        if number >= windows // 2 and counts[0, 0]:
            held += values[0, 0] * counts[0, 0]
            known += int(counts[0, 0])
        extremes.learn(block, ROWS, np.full((1, 1), learn))
    return held / known


def test_the_near_tail_holds_one_in_a_hundred() -> None:
    assert play(
        Extremes((Tail("latency_tail_ratio", 0, "duration_ms", begins="p99"),)), 1500, 1
    ) == pytest.approx(0.01, abs=0.003)


def test_a_tail_may_begin_at_one_in_a_thousand() -> None:
    tail = Tail("latency_p999_ratio", 0, "duration_ms", begins="p999")
    assert play(Extremes((tail,)), 3000, 9) == pytest.approx(0.001, abs=0.0005)


def test_the_far_tail_holds_next_to_nothing() -> None:
    assert play(Extremes((Tail("latency_tail_ratio", 0, "duration_ms", begins="far"),)), 1500, 2) < 2e-4


def test_a_heavier_tail_shows_and_is_not_learned_while_it_must_not() -> None:
    extremes = Extremes((Tail("latency_tail_ratio", 0, "duration_ms", begins="p99"),))
    play(extremes, 1500, 3)
    assert play(extremes, 300, 4, slow=0.05, learn=False) == pytest.approx(0.06, abs=0.015)
    assert play(extremes, 300, 5, learn=False) == pytest.approx(0.01, abs=0.005)


def test_nothing_is_said_before_enough_was_seen_and_after_a_reset() -> None:
    extremes, rng = (
        Extremes((Tail("latency_tail_ratio", 0, "duration_ms", begins="p99"),)),
        np.random.default_rng(6),
    )
    extremes.grow(1)
    for number in range(3):
        block = latencies(number, rng)
        values, counts = np.zeros((1, 1)), np.ones((1, 1), np.int64)
        extremes.shares(block, ROWS, values, counts)
        assert np.isnan(values[0, 0])
        assert counts[0, 0] == 0
        extremes.learn(block, ROWS, np.ones((1, 1), bool))


def test_a_stored_state_goes_on_exactly() -> None:
    first, second = (
        Extremes((Tail("latency_tail_ratio", 0, "duration_ms", begins="far"),)) for _ in range(2)
    )
    play(first, 100, 7)
    second.from_state(first.to_state())
    assert play(first, 200, 8) == play(second, 200, 8)
    assert repr(second.to_state()) == repr(first.to_state())


def test_tails_are_found_by_name_when_there_are_others() -> None:
    known, other = (
        Tail("latency_tail_ratio", 0, "duration_ms", begins="p99"),
        Tail("ttft_tail_ratio", 0, "ttft_ms", begins="p99"),
    )
    first, second = Extremes((known,)), Extremes((other, known))
    play(first, 50, 1)
    second.grow(1)
    second.from_state(first.to_state())
    (stored,), (begun, kept) = first.to_state()["tails"], second.to_state()["tails"]
    assert kept == stored != begun
