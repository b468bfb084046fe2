"""Logarithms as integers: within their stated error, growing, and of exact sums."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.sketches.logs import _STEPS, _TABLE, ABSOLUTE_ERROR, PER_OCTAVE, log_units, typical

POSITIVE = st.floats(min_value=1e-12, max_value=1e12, allow_nan=False)


@given(POSITIVE)
def test_a_logarithm_is_within_its_stated_error(value: float) -> None:
    [units] = log_units(np.array([value]))
    assert abs(int(units) / PER_OCTAVE - math.log2(value)) <= ABSOLUTE_ERROR * (1 + 1e-9)


def test_the_stated_error_is_half_a_thousandth_of_the_value() -> None:
    assert 2**ABSOLUTE_ERROR - 1 < 0.0005


@given(POSITIVE, POSITIVE)
def test_larger_values_have_no_smaller_logarithm(a: float, b: float) -> None:
    low, high = log_units(np.array(sorted((a, b))))
    assert low <= high


@given(st.lists(POSITIVE, min_size=1, max_size=50))
def test_the_geometric_mean_is_within_the_error_of_one_logarithm(values: list[float]) -> None:
    units = log_units(np.array(values))
    [mean] = typical(np.array([units.sum()]), np.array([len(values)]))
    expected = math.fsum(map(math.log2, values)) / len(values)
    assert abs(math.log2(mean) - expected) <= ABSOLUTE_ERROR * (1 + 1e-6)


def test_nothing_has_no_geometric_mean() -> None:
    assert np.isnan(typical(np.array([0]), np.array([0]))).all()


def test_the_table_does_not_depend_on_the_last_bit_of_a_library() -> None:
    """None of its entries is so near to the middle of two integers that another logarithm would round it up."""
    exact = [PER_OCTAVE * math.log2(1 + (step + 0.5) / _STEPS) for step in range(_STEPS)]
    assert min(abs(value % 1 - 0.5) for value in exact) > 1e-6
    assert _TABLE.tolist() == [round(value) for value in exact]
