"""Sums over the recent past at every scale."""

from __future__ import annotations

import numpy as np

from detectors.drift.dyadic import LEVELS, SUMS, Dyadic


def push(blocks: Dyadic, values: list[float]) -> None:
    blocks.grow(1)
    for at, value in enumerate(values):
        sums = value * np.arange(1.0, SUMS + 1)[:, None]
        blocks.push(np.zeros(1, np.int64), sums, np.array([1 + at]))


def test_every_suffix_is_the_sum_of_all_since_its_start() -> None:
    values = np.random.default_rng(1).integers(-50, 50, 777).astype(float)
    blocks = Dyadic()
    push(blocks, values.tolist())
    sums, starts = blocks.suffixes(np.zeros(1, np.int64))
    known = starts[:, 0] > 0
    for k, blocks_of_one in enumerate(sums, 1):
        for total, start in zip(blocks_of_one[known, 0], starts[known, 0], strict=True):
            assert total == k * values[start - 1 :].sum()


def test_candidates_reach_back_to_the_beginning_and_lie_at_most_a_factor_of_three_apart() -> None:
    blocks = Dyadic()
    push(blocks, [1.0] * 1000)
    _, starts = blocks.suffixes(np.zeros(1, np.int64))
    ages = np.sort(1001 - starts[starts > 0])
    assert ages[0] == 1
    assert ages[-1] == 1000
    assert (ages[1:] <= 3 * ages[:-1]).all()


def test_beyond_the_top_the_oldest_are_forgotten() -> None:
    blocks, count = Dyadic(), 3 * 2**LEVELS
    blocks.grow(1)
    index, one = np.zeros(1, np.int64), np.ones((SUMS, 1))
    for at in range(count):
        for formed in blocks.push(index, one, np.array([at + 1])):
            assert 0 < formed.level < LEVELS
            assert formed.sums[0, 0] == 2**formed.level
    sums, _ = blocks.suffixes(index)
    assert 2 ** (LEVELS - 1) <= sums[0].max() <= 2 ** (LEVELS + 1)


def test_a_stored_state_goes_on_exactly() -> None:
    values = np.random.default_rng(2).normal(size=300).tolist()
    whole, first, second = Dyadic(), Dyadic(), Dyadic()
    push(whole, values[:200])
    push(first, values[:200])
    second.from_state(first.to_state())
    push(whole, values[200:])
    push(second, values[200:])
    assert second.to_state() == whole.to_state()
