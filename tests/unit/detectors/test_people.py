"""Users over ten minutes: when a span speaks, to whom, and that nothing of it is lost at a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.monitor import Detect, DetectParams
from detectors.people import MIN_PEOPLE, SPAN_MS, People
from detectors.records import FLEET, SegmentKey
from detectors.sketches.build import Columns, Segmentation, build
from detectors.sketches.window import WindowBlock
from streams.signals import LAYOUT
from streams.signals import SIGNALS as SIGNALS_TABLE
from streams.users import COST_BY_USER, cells, checksums

BASE_MS = 60_000
TENANT = SegmentKey(("tenant",), ("a",))
SIGNALS = ("cost_per_user_usd", "heavy_user_cost_share", "users")


def window(
    minute: int, users: Sequence[int] | NDArray[np.int64], cost: Any = 0.01, segment: SegmentKey = FLEET
) -> WindowBlock:
    one = np.ones(len(users), np.int32)
    ids = cells(checksums([f"u{user}" for user in users]), one, ["a"])
    columns = Columns(
        [f"{minute}-{at}" for at in range(len(users))], True, {},
        {"cost_usd": np.broadcast_to(cost, len(users)).astype(float)}, {},
        {COST_BY_USER.name: ids},
    )  # fmt: skip
    block = build(columns, [Segmentation(one, [segment], spread=True)], LAYOUT)
    return WindowBlock(minute * BASE_MS, (minute + 1) * BASE_MS, block, LAYOUT)


def play(people: People, *windows: WindowBlock, row: int = 0) -> list[list[float]]:
    """What the signals are in each window."""
    said = []
    for one in windows:
        people.add(one, np.full(len(one.segments), row))
        said.append([float(one.values[0, one.signals.index(name)]) for name in SIGNALS])
    return said


def new() -> People:
    people = People()
    people.grow(2)
    return people


def test_a_span_speaks_once_when_it_ends() -> None:
    said = play(new(), *(window(minute, range(minute, minute + 30)) for minute in range(12)))
    assert np.isnan(said[:9] + said[10:]).all()
    cost, heavy, users = said[9]
    assert abs(users - 39) < 3, "users 0 to 38 came in ten minutes"
    assert abs(cost * users - 10 * 30 * 0.01) < 1e-5
    assert 0.0 < heavy < 0.1


def test_who_was_silent_at_the_end_is_told_at_the_next_window() -> None:
    people = new()
    play(people, *(window(minute, range(30)) for minute in range(7)))
    play(people, *(window(minute, range(30), segment=TENANT) for minute in range(7, 12)), row=1)
    ((_, _, users),) = play(people, window(12, range(5)))
    assert abs(users - 30) < 3
    assert np.isnan(play(people, window(13, range(5)))).all()


def test_few_users_and_incomplete_spans_say_nothing() -> None:
    few = (window(minute, range(MIN_PEOPLE - 3)) for minute in range(12))
    assert np.isnan(play(new(), *few)).all()
    late = (window(minute, range(30)) for minute in range(2, 12))
    assert np.isnan(play(new(), *late)).all(), "a fifth of the span is missing"


def test_silence_ends_a_span_too() -> None:
    said = play(new(), *(window(minute, range(30)) for minute in (*range(3), *range(25, 32))))
    assert np.isnan(said[:3] + said[4:]).all(), "the span from 20 to 30 had no windows for its first half"
    assert abs(said[3][2] - 30) < 3


def test_a_restart_in_the_middle_changes_nothing() -> None:
    windows = [window(minute, range(minute, minute + 40), cost=0.001 * (minute + 1)) for minute in range(25)]
    expected = play(new(), *windows)
    for cut in (1, 9, 10, 14):
        first = new()
        said = play(first, *windows[:cut])
        second = People()
        second.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(first.to_state())))
        assert second.to_state() == first.to_state()
        said += play(second, *windows[cut:])
        assert np.array_equal(said, expected, equal_nan=True)


def test_state_holds_no_more_than_the_cells() -> None:
    people = new()
    for minute in range(9):
        play(people, window(minute, range(2000 * minute, 2000 * minute + 2000)))
    assert len(people.to_state()["sums"][0]) <= COST_BY_USER.cells * 8
    assert len(msgspec.msgpack.encode(people.to_state())) < 40_000


def test_one_user_who_spends_like_all_the_others_is_found() -> None:
    """Two hundred users with ordinary costs for eight hours, then one costs as much as all the others."""
    rng = np.random.default_rng(4)
    detect = Detect(DetectParams(), (), SIGNALS_TABLE, BASE_MS)
    found: dict[str, int] = {}
    for minute in range(600):
        users = rng.integers(0, 200, size=40)
        costs = rng.lognormal(-6.0, 0.8, size=40)
        if minute >= 500:
            users[0], costs[0] = 7, 40.0 * np.exp(-6.0)
        for evidence in detect.close(window(minute, users, costs)).evidence:
            found.setdefault(evidence.signal, minute)
    assert 500 < found["heavy_user_cost_share"] <= 560
    assert found.get("cost_per_user_usd", 500) >= 500


def test_a_row_that_is_given_up_is_forgotten() -> None:
    people = new()
    play(people, *(window(minute, range(30)) for minute in range(5)))
    people.reset(np.array([0]))
    said = play(people, *(window(minute, range(100, 110)) for minute in range(5, 12)))
    assert np.isnan(said).all()
    assert SPAN_MS == 10 * BASE_MS
