"""Sketch laws: merging is associative and commutative, shards equal the whole, quantiles hold their error."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import zstandard
from ddsketch import DDSketch
from ddsketch.mapping import LinearlyInterpolatedMapping
from hypothesis import given
from hypothesis import strategies as st

from detectors.records import FLEET, SegmentKey
from detectors.sketches.block import Block, decode, encode, merge, split
from detectors.sketches.buckets import RELATIVE_ERROR, SMALLEST, ZERO_BUCKET, bucket_of, quantile, value_of
from detectors.sketches.build import Columns, Segmentation, build
from detectors.sketches.labels import MAX_LABELS, cap_labels
from detectors.sketches.readings import read_signals
from detectors.sketches.window import Measures, WindowBlock
from streams.segments import Interner, cap_segments
from streams.signals import LAYOUT

POSITIVE = st.floats(min_value=SMALLEST, max_value=8e7, allow_nan=False)


def block_of(rows: list[tuple[str, float | None, bool | None, str | None, str]]) -> Block:
    """Rows of (tenant, duration_ms, refusal, finish_reason, event_id) as a block of fleet and tenants."""
    tenants, durations, refusals, reasons, ids = zip(*rows, strict=True) if rows else ((),) * 5
    tenant: Interner[str] = Interner()
    reason: Interner[str] = Interner()
    codes, reason_codes = tenant.codes(tenants), reason.codes(reasons)
    columns = Columns(
        ids,
        True,
        {"refusal": np.array(refusals, np.float64)},
        {"duration_ms": np.array(durations, np.float64)},
        {"finish_reason": (reason_codes, [(label,) for label in reason.labels])} if reason.labels else {},
    )
    segmentations = [
        Segmentation(np.ones(len(rows), np.int32), [FLEET] if rows else []),
        Segmentation(codes, [SegmentKey(("tenant",), (label,)) for label in tenant.labels]),
    ]
    return build(columns, segmentations, LAYOUT)


def rows(
    max_size: int = 40,
) -> st.SearchStrategy[list[tuple[str, float | None, bool | None, str | None, str]]]:
    row = st.tuples(
        st.sampled_from("abcdef"),
        st.none() | POSITIVE,
        st.none() | st.booleans(),
        st.none() | st.sampled_from(["stop", "length", "content_filter"]),
        st.uuids().map(str),
    )
    return st.lists(row, max_size=max_size)


@given(st.lists(POSITIVE, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_the_stated_relative_error(values: list[float], q: float) -> None:
    buckets, counts = np.unique(bucket_of(np.array(values)), return_counts=True)
    exact = sorted(values)[int(q * (len(values) - 1))]
    assert quantile(buckets, counts, q) == pytest.approx(exact, rel=RELATIVE_ERROR * (1 + 1e-9))


@given(st.lists(POSITIVE, min_size=1, max_size=300))
def test_quantiles_agree_with_the_ddsketch_package(values: list[float]) -> None:
    theirs = DDSketch(relative_accuracy=RELATIVE_ERROR)
    for value in values:
        theirs.add(value)
    buckets, counts = np.unique(bucket_of(np.array(values)), return_counts=True)
    for q in (0.0, 0.5, 0.95, 0.99, 1.0):
        ours = quantile(buckets, counts, q)
        assert ours == pytest.approx(theirs.get_quantile_value(q), rel=2.1 * RELATIVE_ERROR)


def test_our_mapping_is_the_interpolated_one_of_the_ddsketch_package() -> None:
    """Both cut each octave into equal parts; theirs are as many as the accuracy needs, ours 64."""
    theirs = LinearlyInterpolatedMapping(relative_accuracy=RELATIVE_ERROR)
    per_octave = theirs.key(2.0 ** (1 - 1e-12)) - theirs.key(1.0)
    ours = np.diff(bucket_of(np.array([1.0, 2.0])))
    assert ours == 64
    assert 64 <= per_octave + 1 <= 92


def test_zero_and_tiny_values_share_one_bucket_and_are_answered_as_zero() -> None:
    buckets = bucket_of(np.array([0.0, SMALLEST / 2]))
    assert buckets.tolist() == [ZERO_BUCKET, ZERO_BUCKET]
    assert value_of(buckets).tolist() == [0.0, 0.0]


@given(rows(), st.integers(0, 40), st.integers(0, 40))
def test_shards_merge_to_the_whole_in_any_order_and_grouping(data: list, i: int, j: int) -> None:
    i, j = sorted((min(i, len(data)), min(j, len(data))))
    a, b, c = block_of(data[:i]), block_of(data[i:j]), block_of(data[j:])
    whole = encode(merge([block_of(data)], LAYOUT))
    assert encode(merge([a, b, c], LAYOUT)) == whole
    assert encode(merge([c, a, b], LAYOUT)) == whole
    assert encode(merge([merge([a, b], LAYOUT), c], LAYOUT)) == whole
    assert encode(merge([a, merge([b, c], LAYOUT)], LAYOUT)) == whole


@given(rows(), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(data: list, random: object) -> None:
    shuffled = list(data)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert encode(block_of(shuffled)) == encode(block_of(data))


@given(rows())
def test_few_records_are_summed_like_many(data: list) -> None:
    """All segmentations in one pass, or one by one: the same block."""
    together = encode(block_of(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detectors.sketches.build.SMALL_CELLS", 0)
        assert encode(block_of(data)) == together


@given(rows())
def test_exemplars_as_0_1_0_wrote_them(data: list) -> None:
    """Rows of (row, measure, rank, check, event id), which partials of older workers still hold."""
    block = block_of(data)
    parts = msgspec.msgpack.decode(encode(block))
    columns = [column.tolist() for column in block.exemplars[:5]]
    parts[6] = list(zip(*columns, strict=True))
    assert encode(decode(msgspec.msgpack.encode(parts), LAYOUT)) == encode(block)


@given(rows())
def test_encode_and_decode_are_inverse(data: list) -> None:
    block = block_of(data)
    assert encode(decode(encode(block), LAYOUT)) == encode(block)


@given(rows(), st.integers(600, 3000))
def test_pieces_stay_below_the_limit_and_merge_to_the_whole(data: list, max_bytes: int) -> None:
    block = block_of(data)
    pieces = split(block, LAYOUT, max_bytes)
    for piece in pieces:
        assert len(piece) <= max_bytes or len(decode(piece, LAYOUT)) == 1
    whole = merge([decode(piece, LAYOUT) for piece in pieces], LAYOUT)
    assert encode(whole) == encode(merge([block], LAYOUT))


def test_what_only_looks_like_a_piece_is_refused() -> None:
    piece = split(block_of([("a", 1.0, True, "stop", "e1")]), LAYOUT, 900_000)[0]
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 27))
    for damaged in (piece[:-1], piece[:8] + b"!" + piece[9:], bomb):
        with pytest.raises(ValueError, match="block"):
            decode(damaged, LAYOUT)


@given(rows(), st.integers(1, 5), st.integers(0, 40))
def test_capping_parts_equals_capping_the_whole(data: list, cap: int, cut: int) -> None:
    parts = [cap_segments(block_of(part), LAYOUT, cap) for part in (data[:cut], data[cut:])]
    capped = cap_segments(merge(parts, LAYOUT), LAYOUT, cap)
    assert encode(capped) == encode(cap_segments(block_of(data), LAYOUT, cap))


@given(rows(), st.integers(1, 2), st.integers(0, 40))
def test_capping_labels_of_parts_equals_capping_those_of_the_whole(data: list, cap: int, cut: int) -> None:
    parts = [cap_labels(block_of(part), cap) for part in (data[:cut], data[cut:])]
    capped = cap_labels(merge(parts, LAYOUT), cap)
    assert encode(capped) == encode(cap_labels(block_of(data), cap))


def test_a_flood_of_labels_is_counted_together_and_leaves_other_segments_alone() -> None:
    calm = [("a", 10.0, True, "stop", f"a{n}") for n in range(5)]
    flood = [("b", 10.0, True, f"reason-{n}" + "\U0001f4a9" * 500, f"b{n}") for n in range(3000)]
    window = WindowBlock(0, 10_000, cap_labels(block_of(calm + flood)), LAYOUT)
    fleet, a, b = (window.mixes()[row, "finish_reason_mix"] for row in range(3))
    assert a == {"stop": 5}
    assert (len(b), sum(b.values())) == (MAX_LABELS + 1, 3000)
    assert (len(fleet), sum(fleet.values())) == (MAX_LABELS + 1, 3005)
    assert max(map(len, split(window.block, LAYOUT, 900_000))) < 900_000


def test_a_capped_segmentation_loses_nothing() -> None:
    data = [(tenant, 10.0, True, "stop", f"{tenant}{n}") for tenant in "abcdef" for n in range(5)]
    capped = cap_segments(block_of(data), LAYOUT, 2)
    tenants = [row for row, s in enumerate(capped.segments) if s.dimensions]
    assert len(tenants) == 3
    assert SegmentKey(("tenant",), ("__other__",)) in capped.segments
    assert capped.counters[tenants, 0].sum() == 30


@given(rows())
def test_one_segment_over_a_span_reads_like_the_window(data: list) -> None:
    block = block_of(data)
    window = WindowBlock(0, 10_000, block, LAYOUT)
    values, counts = read_signals(block, LAYOUT, 10_000)
    for row in range(len(block)):
        measures = window.measures(row)
        for at, signal in enumerate(window.signals):
            reading = measures.read(signal, 10_000)
            if np.isnan(values[row, at]):
                assert reading is None
            else:
                assert reading is not None
                assert (reading.value, reading.n) == (values[row, at], counts[row, at])


def test_exact_statistics_of_a_small_window() -> None:
    data = [
        ("a", 100.0, True, "stop", "e1"),
        ("a", 200.0, False, "stop", "e2"),
        ("b", 400.0, None, "length", "e3"),
        ("b", None, False, None, "e4"),
    ]
    window = WindowBlock(0, 10_000, block_of(data), LAYOUT)
    fleet = window.segments.index(FLEET)
    value = dict(zip(window.signals, window.values[fleet].tolist(), strict=True))
    count = dict(zip(window.signals, window.counts[fleet].tolist(), strict=True))
    assert value["request_rate"] == 0.4
    assert (value["refusal_ratio"], count["refusal_ratio"]) == (1 / 3, 3)
    assert value["latency_p50_ms"] == pytest.approx(200.0, rel=RELATIVE_ERROR)
    assert value["latency_p99_ms"] == pytest.approx(200.0, rel=RELATIVE_ERROR)
    assert np.isnan(value["judge_score_mean"])
    assert window.mixes()[fleet, "finish_reason_mix"] == {"stop": 2, "length": 1}
    assert window.exemplars(fleet, "latency_p95_ms") == ("e3",)
    assert window.exemplars(fleet, "refusal_ratio") == ("e1",)


@given(rows(20), rows(20))
def test_measures_merge_like_blocks(left: list, right: list) -> None:
    if not left or not right:
        return
    both = block_of(left + right)
    a, b = (WindowBlock(0, 10_000, block_of(part), LAYOUT).measures(0) for part in (left, right))
    merged: Measures = a.merge(b)
    assert merged.events == both.counters[0, 0]
    whole = WindowBlock(0, 20_000, both, LAYOUT).measures(0)
    for signal in LAYOUT.numeric_signals:
        assert merged.read(signal, 20_000) == whole.read(signal, 20_000)
