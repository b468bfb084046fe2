"""Who an amount came from: exact in any grouping, and what the cells say against what is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.records import FLEET, SegmentKey
from detectors.sketches.block import Block, decode, encode, merge
from detectors.sketches.build import Columns, Segmentation, build
from detectors.sketches.entries import Entries
from detectors.sketches.spreads import Spreads, spreads
from detectors.sketches.window import WindowBlock
from streams.signals import LAYOUT
from streams.users import COST_BY_USER, NOBODY, cells, checksums

TENANTS = [SegmentKey(("tenant",), (name,)) for name in ("a", "b")]


def block(users: list[int], costs: list[float], tenants: list[int]) -> Block:
    """Interactions of numbered users (below 0: of nobody), each with a cost (NaN: unknown), of tenants 0 and 1."""
    codes = np.array(tenants, np.int32) + 1
    ids = checksums([None if user < 0 else f"user-{user:04}" for user in users])
    columns = Columns(
        [f"e{at}" for at in range(len(users))], True, {}, {"cost_usd": np.array(costs, float)}, {},
        {COST_BY_USER.name: cells(ids, codes, ["a", "b"])},
    )  # fmt: skip
    fleet = Segmentation(np.ones(len(users), np.int32), [FLEET], spread=True)
    return build(columns, [fleet, Segmentation(codes, TENANTS, spread=True)], LAYOUT)


def of_fleet(users: NDArray[np.int64], costs: NDArray[np.float64]) -> Spreads:
    found = block(users.tolist(), costs.tolist(), [0] * len(users))
    return spreads(
        Entries(*(column[found.histograms.slot == 4] for column in found.histograms)), COST_BY_USER.cells
    )


record = st.tuples(
    st.integers(-1, 30), st.sampled_from([0.0, 1e-9, 0.01, 3.7, 1000.0, np.nan]), st.integers(0, 1)
)


@settings(deadline=None)
@given(st.lists(record, min_size=1, max_size=60), st.data())
def test_parts_merge_to_the_whole_in_any_order(
    records: list[tuple[int, float, int]], data: st.DataObject
) -> None:
    whole = block(*map(list, zip(*records, strict=True)))  # type: ignore[arg-type]
    shuffled = data.draw(st.permutations(records))
    cut = data.draw(st.integers(1, len(records)))
    parts = [block(*map(list, zip(*part, strict=True))) for part in (shuffled[:cut], shuffled[cut:]) if part]  # type: ignore[arg-type]
    merged = merge([decode(encode(part), LAYOUT) for part in parts], LAYOUT)
    rows = [merged.segments.index(segment) for segment in merged.segments]
    assert rows == sorted(rows)
    seen = {segment for segment in whole.segments if whole.counters[whole.segments.index(segment), 0]}
    for segment in seen:
        for one, other in zip(_of(whole, segment), _of(merged, segment), strict=True):
            assert one.tolist() == other.tolist()


def _of(found: Block, segment: SegmentKey) -> list[NDArray[np.int64]]:
    entries = found.histograms
    mine = entries.row == found.segments.index(segment)
    return [np.asarray(column[mine], np.int64) for column in (entries.slot, entries.item, entries.count)]


@pytest.mark.parametrize("users", [20, 100, 500, 1000, 3000])
def test_consecutive_ids_are_counted_within_a_tenth(users: int) -> None:
    found = of_fleet(np.arange(users), np.full(users, 0.01))
    assert found.users[0] == pytest.approx(users, rel=0.1)
    assert found.whole[0] * 1e-8 == pytest.approx(users * 0.01, rel=1e-9)


def test_too_many_users_are_unknown_and_what_is_heavy_is_still_told() -> None:
    users = np.arange(20_000)
    costs = np.full(20_000, 0.01)
    costs[7] = 200.0
    found = of_fleet(users, costs)
    assert np.isnan(found.users[0])
    assert found.observations[0] == COST_BY_USER.cells
    assert found.heaviest[0] == pytest.approx(0.505, abs=0.02)


def test_the_heaviest_hundredth_is_found_whatever_shares_its_cells() -> None:
    rng = np.random.default_rng(3)
    for users in (50, 400, 1500):
        costs = rng.lognormal(0.0, 1.0, size=users)
        costs[:3] *= 100.0
        heavy = max(1, round(users / 100))
        expected = np.sort(costs)[-heavy:].sum() / costs.sum()
        assert of_fleet(np.arange(users), costs).heaviest[0] == pytest.approx(expected, abs=0.04)


def test_equal_users_have_no_heavy_one_among_them() -> None:
    found = of_fleet(np.repeat(np.arange(300), 5), np.full(1500, 0.002))
    assert found.heaviest[0] < 0.03


def test_nobody_and_no_cost() -> None:
    none = block([NOBODY, NOBODY], [1.0, 2.0], [0, 1])
    assert 4 not in none.histograms.slot
    window = WindowBlock(0, 10_000, merge([none, block([1, 2], [np.nan, np.nan], [0, 0])], LAYOUT), LAYOUT)
    free = WindowBlock(0, 10_000, block([1, 2], [np.nan, np.nan], [0, 0]), LAYOUT).measures(0)
    assert free.read("users", 10_000) is not None
    assert free.read("cost_per_user_usd", 10_000) is None
    assert np.isnan(window.values[0, window.signals.index("cost_per_user_usd")]), (
        "a window is too short to tell"
    )


def test_a_rule_reads_it_over_its_span() -> None:
    window = WindowBlock(0, 10_000, block([1, 2, 2, 3], [0.5, 1.0, 1.5, 3.0], [0, 0, 1, 1]), LAYOUT)
    over = window.measures(0).merge(window.measures(0))
    read = over.read("cost_per_user_usd", 20_000)
    assert read is not None
    assert (read.value, read.n) == (pytest.approx(12.0 / 4.0, rel=0.01), 4), "user 2 of two tenants is two"
    heaviest = over.read("heavy_user_cost_share", 20_000)
    assert heaviest is not None
    assert heaviest.value == pytest.approx(0.5, abs=0.01)
