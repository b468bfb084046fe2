"""Series without a past take no room in the GLR, and nothing of what they are told depends on that."""

from __future__ import annotations

import numpy as np

from detectors.base import Batch, Hits, Ints
from detectors.drift.glr import Glr, GlrParams
from detectors.slots import Slots

RNG_SEED = 5


def batch(series: Ints, z: np.ndarray, at: int) -> Batch:
    one = np.ones(len(series))
    return Batch(
        series, np.zeros(len(series), np.int64), 5 * one, 5 * z, 0 * one, one, 1000 * one, 0.01 * one,
        np.full(len(series), at * 10_000, np.int64), z, z, one, np.ones(len(series), bool), one,
    )  # fmt: skip


def played(glr: Glr, series: Ints, begin: int, end: int) -> list[Hits]:
    rng = np.random.default_rng(RNG_SEED)
    values = rng.standard_normal((end, len(series)))
    return [glr.update(batch(series, values[at] + (at > 80), at + 1)) for at in range(begin, end)]


def same(one: list[Hits], other: list[Hits]) -> bool:
    return all(
        np.array_equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_rows_are_given_when_needed_and_used_again() -> None:
    slots = Slots()
    slots.grow(1000)
    first = slots.take(np.array([7, 900]))
    assert slots.room < 100
    assert len({0, *first.tolist()}) == 3, "row 0 is nobody's"
    assert slots.of(np.array([900, 8, 7])).tolist() == [first[1], 0, first[0]]
    assert slots.give_back(np.array([7, 8])).tolist() == [first[0]]
    assert slots.of(np.array([7])).tolist() == [0]
    assert slots.take(np.array([3])).tolist() == [first[0]]


def test_where_a_series_is_kept_does_not_show() -> None:
    few, many = Glr(GlrParams()), Glr(GlrParams())
    few.grow(3)
    many.grow(2000)
    many.update(batch(np.arange(500, 900), np.zeros(400), 1))
    many.reset(np.arange(500, 900))
    series = np.array([40, 600, 1999])
    assert same(played(few, np.arange(3), 0, 160), played(many, series, 0, 160))
    assert np.array_equal(few.inflation(np.arange(3)), many.inflation(series))
    assert (many.inflation(np.array([501])) == _new().inflation(np.array([0]))).all(), "as if never seen"


def test_a_restored_detector_goes_on_alike() -> None:
    series = np.array([1500, 3, 77])
    one, other = Glr(GlrParams()), Glr(GlrParams())
    one.grow(2000)
    played(one, series, 0, 100)
    state = one.to_state()
    assert int(state["phi"]["size"]) == 2000, "written by series"
    other.from_state(state)
    assert other.to_state() == state
    for glr in (one, other):
        glr.restart(np.array([3, 4]))
    assert same(played(one, series, 100, 160), played(other, series, 100, 160))
    assert one.to_state() == other.to_state()


def _new() -> Glr:
    glr = Glr(GlrParams())
    glr.grow(1)
    return glr
