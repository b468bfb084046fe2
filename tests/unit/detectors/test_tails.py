"""From nats to false alarms a week."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.base import Bools, Ints
from detectors.tails import WEEK_MS, Tails

ONE = np.zeros(1, np.int64)
MINUTE_MS = 60_000
NOT_YET = np.zeros(1, bool)
IN_WEEK = np.ones(1, bool)


def everybody(rows: Ints) -> Bools:
    return np.ones(len(rows), bool)


def after_weeks(weeks: int, peaks: list[float], *, raised_from: float = np.inf) -> Tails:
    """Excursions of one series spread over some weeks; those from ``raised_from`` nats on become incidents."""
    tails = Tails(1, everybody)
    tails.grow(1)
    step_ms = weeks * WEEK_MS // len(peaks)
    for number, nats in enumerate(peaks):
        at_ms = number * step_ms
        tails.observe(ONE, np.array([nats]), at_ms, IN_WEEK)
        if nats >= raised_from:
            tails.cut(ONE)
        tails.observe(ONE, np.zeros(1), at_ms + MINUTE_MS, IN_WEEK)
    return tails


def exponential(count: int, mean: float) -> list[float]:
    return (6.0 + np.random.default_rng(3).exponential(mean, count)).tolist()


@pytest.mark.parametrize("mean", [1.5, 2.5])
def test_the_rate_beyond_what_was_seen_follows_the_tail(mean: float) -> None:
    tails = after_weeks(4, exponential(1000, mean))
    for nats in (12.0, 18.0):
        true = 250 * np.exp(-(nats - 6) / mean)
        assert true / 3 <= tails.false_per_week(0, nats) <= true * 3


def test_what_was_raised_counts_so_that_false_alarms_end() -> None:
    """The peaks that became incidents are missing from the tail if they are not counted."""
    peaks = exponential(1000, 3.0)
    raised = after_weeks(4, peaks, raised_from=14.0).false_per_week(0, 16.0)
    left_out = after_weeks(4, [nats for nats in peaks if nats < 14.0]).false_per_week(0, 16.0)
    assert raised > 2 * left_out


def test_a_real_incident_does_not_blind_its_signal() -> None:
    quiet = after_weeks(4, exponential(1000, 1.5)).false_per_week(0, 25.0)
    tails = Tails(1, everybody)
    tails.grow(50)
    for number, nats in enumerate(exponential(1000, 1.5)):
        at_ms = number * 4 * WEEK_MS // 1000
        tails.observe(ONE, np.array([nats]), at_ms, IN_WEEK)
        tails.observe(ONE, np.zeros(1), at_ms + MINUTE_MS, IN_WEEK)
    every = np.arange(50)
    tails.observe(every, np.full(50, 400.0), 4 * WEEK_MS, np.ones(50, bool))
    tails.cut(every)
    assert tails.false_per_week(0, 25.0) < 3 * quiet, (
        "fifty series of one signal, hit by one incident, are one peak"
    )


def test_restored_tails_go_on_alike() -> None:
    one = after_weeks(2, exponential(200, 2.0), raised_from=12.0)
    other = Tails(1, everybody)
    other.grow(1)
    other.from_state(one.to_state())
    for tails in (one, other):
        tails.observe(ONE, np.array([15.0]), 3 * WEEK_MS, IN_WEEK)
        tails.cut(ONE)
    assert one.false_per_week(0, 14.0) == other.false_per_week(0, 14.0)
    assert one.to_state() == other.to_state()


def test_strangers_change_nothing_for_known_segments() -> None:
    """Two signals; rows 0 and 1 are known, 2 to 9 are strangers that may show excursions or incidents."""

    def play(strangers: bool) -> Tails:
        rng = np.random.default_rng(4)
        tails = Tails(2, lambda rows: rows < 2)
        tails.grow(20)
        for at in range(3000):
            nats = np.where(rng.random(20) < 0.05, 6.0 + rng.exponential(2.0, 20), 0.0)
            index = np.arange(20 if strangers else 4)
            tails.observe(index, nats[index], at * 10 * MINUTE_MS, np.ones(len(index), bool))
            tails.cut(index[(index > 3) & (nats[index] > 9.0)])
        return tails

    alone, flooded = play(strangers=False), play(strangers=True)
    for nats in (7.0, 12.0, 18.0):
        for series in range(4):
            assert flooded.false_per_week(series, nats) == alone.false_per_week(series, nats)
        everyone = flooded.false_per_week(4, nats)
        assert everyone > flooded.false_per_week(0, nats), "strangers are judged by all that there are"
    assert flooded.nats_at(0, 1.0, known=True) < flooded.nats_at(0, 1.0, known=False)


def test_a_state_without_known_segments_begins_with_what_was_counted_over_all() -> None:
    one = after_weeks(2, exponential(200, 2.0), raised_from=12.0)
    state = one.to_state()
    del state["known"]
    other = Tails(1, everybody)
    other.from_state(state)
    assert other.to_state() == one.to_state()


def test_what_chance_did_before_the_week_was_known_counts_for_a_day() -> None:
    def play(known_from_day: int) -> Tails:
        tails = Tails(1, everybody)
        tails.grow(1)
        for day in range(10):
            in_week = IN_WEEK if day >= known_from_day else NOT_YET
            for hour in range(24):
                at_ms = (day * 24 + hour) * 3_600_000
                tails.observe(ONE, np.array([14.0 if day < 7 else 7.0]), at_ms, in_week)
                tails.observe(ONE, np.zeros(1), at_ms + MINUTE_MS, in_week)
        return tails

    never, from_the_start, then = play(99), play(0), play(7)
    assert then.nats_at(0, 1.0, known=True) < never.nats_at(0, 1.0, known=True) - 1.0
    assert never.nats_at(0, 1.0, known=True) == from_the_start.nats_at(0, 1.0, known=True)
    again = Tails(1, everybody)
    again.from_state(then.to_state())
    assert again.to_state() == then.to_state()


def test_a_long_count_of_a_program_that_did_not_ask_for_the_week_is_kept() -> None:
    one = after_weeks(2, exponential(200, 2.0))
    state = one.to_state()
    del state["week"]
    del state["known"]["week"]
    other = Tails(1, everybody)
    other.from_state(state)
    other.observe(ONE, np.zeros(1), 2 * WEEK_MS, IN_WEEK)
    assert other.nats_at(0, 1.0, known=True) == pytest.approx(one.nats_at(0, 1.0, known=True), rel=0.01)
