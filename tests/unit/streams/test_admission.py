"""Segments keep their place; a flood goes to __other__ and nothing is lost."""

from __future__ import annotations

import msgspec
import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.records import FLEET, OVERFLOW_VALUE, SegmentKey
from detectors.sketches.block import Block, decode, encode, merge
from detectors.sketches.entries import EMPTY
from detectors.sketches.exemplars import NO_EXEMPLARS
from streams.admission import DAY_MS, Admission, folded
from streams.aggregate import Aggregate
from streams.config import Config, SegmentsConfig
from streams.messages import LocalRecord
from streams.partials import Partial, decode_log_record
from streams.signals import LAYOUT
from streams.topics import INTERACTIONS

START_MS = 1_790_000_000_000


def tenant(name: str) -> SegmentKey:
    return SegmentKey(("tenant",), (name,))


def block(*names: str) -> Block:
    segments = sorted([FLEET, *map(tenant, names)])
    counters = np.zeros((len(segments), LAYOUT.width), np.int64)
    counters[:, 0] = [len(names) if s == FLEET else 1 for s in segments]
    return Block(segments, counters, EMPTY, EMPTY, [], NO_EXEMPLARS)


def test_known_segments_keep_their_place_in_a_flood() -> None:
    admission = Admission(SegmentsConfig(max_per_segmentation=3))
    admission.admit(block("a", "b"), 10_000, LAYOUT)
    flood = [f"x{n}" for n in range(500)]
    admitted = admission.admit(block("a", "b", *flood), 20_000, LAYOUT)
    assert {tenant("a"), tenant("b"), FLEET} <= set(admitted.segments)
    other = admitted.segments.index(tenant(OVERFLOW_VALUE))
    assert len(admitted) == 5
    assert admitted.counters[other, 0] == 499
    assert admission.state.refused == 499


def test_who_gets_the_last_place_does_not_depend_on_the_order() -> None:
    names = [f"x{n}" for n in range(50)]
    winners = []
    for order in (names, names[::-1]):
        admission = Admission(SegmentsConfig(max_per_segmentation=5))
        admission.admit(block(*order), 10_000, LAYOUT)
        winners.append(sorted(admission.state.last_seen_ms))
    assert winners[0] == winners[1]


def test_a_segment_that_is_gone_gives_its_place_back() -> None:
    admission = Admission(SegmentsConfig(max_per_segmentation=1, retire_after_days=2))
    admission.admit(block("old"), 10_000, LAYOUT)
    assert tenant("new") not in admission.admit(block("new"), DAY_MS, LAYOUT).segments
    assert tenant("new") in admission.admit(block("new"), 4 * DAY_MS, LAYOUT).segments


def test_the_fleet_is_always_watched() -> None:
    admission = Admission(SegmentsConfig(max_total=1))
    admission.admit(block("a", "b"), 10_000, LAYOUT)
    assert FLEET in admission.admit(block("c"), 20_000, LAYOUT).segments


def test_a_flood_is_one_incident_that_ends_when_calm_returns() -> None:
    admission = Admission(SegmentsConfig(max_per_segmentation=3))
    seen = []
    for minute in range(90):
        names = [f"x{minute}-{n}" for n in range(20)] if 10 <= minute < 20 else ["a", "b"]
        end_ms = (minute + 1) * 60_000
        admission.admit(block(*names), end_ms, LAYOUT)
        seen += [(minute, e.firing) for e in admission.evidence(end_ms - 60_000, end_ms)]
    assert seen == [*((minute, True) for minute in range(10, 20)), (79, False)]


FEW = SegmentsConfig.model_validate({"by": [["tenant"], ["model"]], "max_per_segmentation": 3})


def seen(partition: int, tenants: list[int]) -> list[Block]:
    """What one partition saw in one window, in pieces."""
    config = Config.model_validate({"segments": FEW.model_dump(), "limits": {"partial_bytes": 10_000}})
    source = Aggregate(config, topic=INTERACTIONS, partition=partition, attempt="a", sources_total=1)
    values = [
        {
            "event_id": f"{partition}-{n}", "occurred_at": START_MS + n, "tenant": f"t{tenant}",
            "model_requested": f"m{tenant % 3}", "model_served": f"m{n}",
            "duration_ms": 10.0 + tenant * n, "refusal": n % 2 == 0,
        }
        for n, tenant in enumerate(tenants)
    ]  # fmt: skip
    records = [LocalRecord(INTERACTIONS, partition, n, orjson.dumps(value)) for n, value in enumerate(values)]
    messages = [*source.add(records, START_MS + 60_000).messages, *source.idle(0).messages]
    found = [decode_log_record(message.value) for message in messages]
    return [decode(record.block, LAYOUT) for record in found if isinstance(record, Partial)]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=20), min_size=1, max_size=3))
def test_folding_the_pieces_or_the_whole_is_the_same(partitions: list[list[int]]) -> None:
    parts = [piece for at, tenants in enumerate(partitions) for piece in seen(at, tenants)]
    whole, apart = Admission(FEW), Admission(FEW)
    expected = whole.admit(merge(parts, LAYOUT), 10_000, LAYOUT)
    refused = apart.refuse(sorted(set().union(*(part.segments for part in parts))), 10_000)
    found = apart.admit(merge([folded(part, refused, LAYOUT) for part in parts], LAYOUT), 10_000, LAYOUT)
    assert encode(found) == encode(expected)
    assert msgspec.msgpack.encode(apart.state) == msgspec.msgpack.encode(whole.state)
