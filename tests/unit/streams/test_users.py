"""Users as cells: the same everywhere, apart by tenant, and without a trace of the id."""

from __future__ import annotations

import msgspec
import numpy as np

from detectors.sketches.block import decode
from streams.aggregate import Aggregate
from streams.config import Config
from streams.messages import LocalRecord
from streams.partials import Partial, decode_log_record
from streams.signals import LAYOUT
from streams.users import COST_BY_USER, NOBODY, cells, checksums

START_MS = 1_789_992_000_000
RECORD = {
    "occurred_at": START_MS,
    "tenant": "acme",
    "model_requested": "m",
    "provider": "p",
    "duration_ms": 1.0,
}


def test_cells_are_the_same_in_every_process() -> None:
    ids = checksums(["alice", None, "bob"])
    assert ids.tolist() == [663_665_735, NOBODY, 4_123_767_104]
    assert cells(ids, np.array([0, 1, 1], np.int32), ["acme"]).tolist() == [250, NOBODY, 704]


def test_the_same_id_of_two_tenants_is_two_users() -> None:
    ids = checksums(["1"] * 200)
    tenants = [f"tenant-{at}" for at in range(200)]
    found = cells(ids, np.arange(1, 201, dtype=np.int32), tenants)
    assert len(set(found.tolist())) > 170


def test_neighbours_of_neighbouring_tenants_are_apart() -> None:
    ids = checksums([f"user-{at:04}" for at in range(300)] * 3)
    tenant = np.repeat(np.arange(1, 4, dtype=np.int32), 300)
    used = len(set(cells(ids, tenant, ["a", "b", "c"]).tolist()))
    assert abs(used - 1024 * (1.0 - np.exp(-900 / 1024))) < 40


def test_consecutive_ids_fall_anywhere() -> None:
    found = cells(checksums([f"user-{at:06}" for at in range(1024)]), np.zeros(1024, np.int32), [])
    assert 0.6 < len(set(found.tolist())) / 1024 < 0.67, "1 - 1/e of the cells"


def test_ids_and_pseudonyms_are_read_and_do_not_leave() -> None:
    who = [{"user_id": "alice"}, {"user_hash": "h-bob"}, {}, {"user_id": "alice", "user_hash": "ignored"}]
    records = [{**RECORD, "event_id": f"e{at}", "cost": 0.25, **user} for at, user in enumerate(who)]
    aggregate = Aggregate(Config(), topic="llm.interactions", partition=0, attempt="a", sources_total=1)
    given = [LocalRecord("llm.interactions", 0, at, msgspec.json.encode(r)) for at, r in enumerate(records)]
    messages = [*aggregate.add(given, START_MS).messages, *aggregate.idle(0).messages]
    (partial,) = [found for m in messages if isinstance(found := decode_log_record(m.value), Partial)]
    block = decode(partial.block, LAYOUT)
    mine = block.histograms.slot == LAYOUT.spread[COST_BY_USER.name]
    spread = [segment.label for segment in (block.segments[row] for row in block.histograms.row[mine])]
    assert spread == ["all", "all", "tenant=acme", "tenant=acme"]
    assert sorted(block.histograms.count[mine].tolist()) == [25_000_000] * 2 + [50_000_000] * 2
    assert b"alice" not in messages[0].value
