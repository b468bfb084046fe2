"""What older versions stored is read, and goes on; what a newer one stored is refused in words."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson
import pytest

from detectors.records import Incident, SegmentKey
from detectors.sketches.block import decode as decode_block
from detectors.sketches.layout import Category, Flag, Layout, Log, Value
from detectors.sketches.recent import RecentExemplars
from detectors.sketches.translation import exemplar_places, layout_of, recode, signature
from streams import decide_state
from streams.config import Config
from streams.decide import Decide
from streams.decide_state import MIGRATIONS, VERSION, StateUnusable
from streams.messages import LocalRecord
from streams.partials import NewerRecord, Partial, decode_log_record
from streams.pseudonyms import Pseudonyms
from streams.record import Recorder
from streams.signals import LAYOUT
from streams.state import Checkpoint
from streams.state_sqlite import SqliteStateStore
from streams.topics import ALERTS, ANOMALIES, DEADLETTERS, INCIDENTS, PARTIALS, SUMMARIES
from tests.support.make_fixtures import FIXTURES

VERSIONS = sorted(path.name for path in FIXTURES.iterdir())
NOW_MS = 1_790_100_000_000


class Stored(NamedTuple):
    """What a version left behind."""

    config: Config
    checkpoint: Checkpoint
    records: dict[str, list[tuple[bytes | None, bytes, list[list[Any]]]]]
    expected: dict[str, Any]


@pytest.fixture(scope="module", params=VERSIONS)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder: Path = FIXTURES / request.param
    config = Config.model_validate(orjson.loads((folder / "config.json").read_bytes()))
    file = tmp_path_factory.mktemp("state") / "state.sqlite"
    file.write_bytes(gzip.decompress((folder / "state.sqlite.gz").read_bytes()))
    records = msgspec.msgpack.decode((folder / "records.msgpack").read_bytes())
    checkpoint = asyncio.run(_load(file, config.fleet, (folder / "state.key").read_bytes()))
    return Stored(config, checkpoint, records, orjson.loads((folder / "expected.json").read_bytes()))


async def _load(file: Path, fleet: str, key: bytes) -> Checkpoint:
    store = SqliteStateStore(file, fleet, key)
    await store.claim()
    try:
        loaded = await store.load()
        assert loaded.refused == ()
        assert loaded.checkpoint is not None
        await store.save(loaded.checkpoint)
        assert (await store.load()).checkpoint == loaded.checkpoint
        return loaded.checkpoint
    finally:
        await store.close()


def log_after(stored: Stored) -> list[LocalRecord]:
    """The records of the log that the older version wrote after its checkpoint."""
    first = stored.checkpoint.position
    return [LocalRecord(PARTIALS, 0, first + n, r[1], r[0]) for n, r in enumerate(stored.records[PARTIALS])]


def carried_over(stored: Stored) -> bytes:
    """The stored state as this program writes it."""
    return Decide.restore(stored.config, stored.checkpoint.state)[0].snapshot()


def test_the_state_of_an_older_version_is_carried_over_and_goes_on(stored: Stored) -> None:
    decide, anew = Decide.restore(stored.config, stored.checkpoint.state)
    expected = dict(stored.expected)
    assert [incident.fingerprint for incident in decide.firing] == expected.pop("firing")
    assert {name: decide.progress[name] for name in expected} == expected
    assert decide.firing
    assert len(anew) == 1
    assert "this program's is" in anew[0], "monitors learn again when what they learn is another thing"
    messages = [message for record in log_after(stored) for message in decide.step(record)]
    assert decide.windows_closed > expected["windows_closed"]
    assert any(message.topic == SUMMARIES for message in messages)
    again, anew = Decide.restore(stored.config, decide.snapshot())
    assert anew == []
    assert again.snapshot() == decide.snapshot()


def test_records_of_an_older_version_are_recorded(stored: Stored) -> None:
    recorder = Recorder(fleet="default", pseudonyms=Pseudonyms(b"k" * 32))
    records = [
        LocalRecord(topic, 0, offset, value, key, NOW_MS)
        for topic in (SUMMARIES, ANOMALIES, INCIDENTS, ALERTS)
        for offset, (key, value, _) in enumerate(stored.records[topic])
    ]
    batches = recorder.rows(records, NOW_MS)
    assert recorder.skipped.total() == 0
    assert {batch.table for batch in batches} == {"window_summaries", "anomalies", "incidents", "alerts"}


@pytest.mark.parametrize("topic", [SUMMARIES, ANOMALIES, INCIDENTS, ALERTS, DEADLETTERS])
def test_records_of_a_newer_version_are_refused_in_words(topic: str) -> None:
    recorder = Recorder(fleet="default", pseudonyms=Pseudonyms(b"k" * 32))
    newer = LocalRecord(topic, 0, 7, b'{"of": "a form nobody knows yet", "schema_version": 2}', None, NOW_MS)
    expected = rf"{topic}-0 at offset 7: got schema_version 2; expected 1 or lower.*use that version"
    with pytest.raises(NewerRecord, match=expected):
        recorder.rows([newer], NOW_MS)


def test_every_version_has_a_migration_to_the_next() -> None:
    assert sorted(MIGRATIONS) == list(range(1, VERSION))


def test_monitors_that_do_not_fit_are_learnt_again_and_all_else_stays(stored: Stored) -> None:
    parts = msgspec.msgpack.decode(carried_over(stored))
    for change, reason in [
        ({"detect": decide_state.forget_monitors({})["detect"]}, "does not fit"),
        ({"detect": parts["detect"] | {"signals": ["another"]}}, "does not fit"),
        ({"detect": {key: value for key, value in parts["detect"].items() if key != "rows"}}, "KeyError"),
        ({"exemplars": [[1, 2]]}, "does not fit"),
    ]:
        decide, anew = Decide.restore(stored.config, msgspec.msgpack.encode(parts | change))
        assert len(anew) == 1
        assert reason in anew[0]
        assert [incident.fingerprint for incident in decide.firing] == stored.expected["firing"]
        assert decide.next_offset == stored.expected["next_offset"]
        assert decide.progress["segments"] == stored.expected["segments"]
        for record in log_after(stored):
            decide.step(record)
        assert decide.windows_closed > stored.expected["windows_closed"]


def test_a_detector_with_other_parameters_is_learnt_again(stored: Stored) -> None:
    sections = {"detect": {"detectors": {"glr": {"report_nats": 9.0}}}}
    config = stored.config.model_copy(update={"detect": Config.model_validate(sections).detect})
    decide, anew = Decide.restore(config, carried_over(stored))
    assert anew == ["detector glr: its parameters are others"]
    assert len(decide.firing) == len(stored.expected["firing"])


@pytest.mark.parametrize("part", ["closing", "admission", "triage"])
def test_what_must_not_be_lost_is_not_guessed(stored: Stored, part: str) -> None:
    parts = msgspec.msgpack.decode(stored.checkpoint.state)
    with pytest.raises(
        StateUnusable, match=rf"checkpoint's {part}: got .*; expected .*remove the checkpoint"
    ):
        Decide.restore(stored.config, msgspec.msgpack.encode(parts | {part: ["other"]}))


def test_a_newer_state_is_refused_in_words(stored: Stored) -> None:
    decide, _ = Decide.restore(stored.config, stored.checkpoint.state)
    parts = msgspec.msgpack.decode(decide.snapshot())
    newer = msgspec.msgpack.encode(parts | {"version": VERSION + 1, "detect": "of a form nobody knows yet"})
    with pytest.raises(
        StateUnusable,
        match=rf"got state of version {VERSION + 1}; expected {VERSION} or lower.*use that version",
    ):
        Decide.restore(stored.config, newer)


def test_blocks_of_another_layout_are_found_by_name(stored: Stored) -> None:
    """A version that measures more, less and in another order reads what this one wrote."""
    partials = [decode_log_record(value) for _, value, _ in stored.records[PARTIALS]]
    found = next(p for p in partials if isinstance(p, Partial) and p.source.startswith("llm.interactions"))
    other = Layout(
        flags=[Flag("brand_new"), *reversed(LAYOUT.flags)],
        values=[
            *(v for v in reversed(LAYOUT.values) if v.name != "tokens_in"),
            Value("tokens_in", 2.0, 1e8),  # in another quantum: another measure
        ],
        categories=[*reversed(LAYOUT.categories), Category("new_category")],
        readings={},
        logs=[*reversed(LAYOUT.logs), Log("new_log")],
    )
    before = decode_block(recode(found.block, found.layout, LAYOUT), LAYOUT)
    after = decode_block(recode(found.block, found.layout, other), other)
    assert after.segments == before.segments
    assert SegmentKey((), ()) in after.segments
    for name in LAYOUT.columns:
        expected = (
            0
            if name in ("tokens_in.count", "tokens_in.sum")
            else before.counters[:, LAYOUT.column[name]].tolist()
        )
        assert after.counters[:, other.column[name]].tolist() == expected or not expected
    assert after.counters[:, other.column["brand_new.known"]].sum() == 0
    assert len(after.histograms.row) == len(before.histograms.row)
    assert after.histograms.count.sum() == before.histograms.count.sum()
    assert after.categories.count.sum() == before.categories.count.sum()
    assert len(after.exemplars.row) == len(before.exemplars.row) > 0
    back = recode(recode(found.block, found.layout, other), signature(other), LAYOUT)
    columns = zip(decode_block(back, LAYOUT).exemplars, before.exemplars, strict=True)
    assert all(np.array_equal(found, expected) for found, expected in columns)
    assert signature(layout_of(signature(LAYOUT))) == signature(LAYOUT)


def test_incidents_of_an_older_version_keep_their_content(stored: Stored) -> None:
    for _, value, _ in stored.records[INCIDENTS]:
        incident = msgspec.json.decode(value, type=Incident)
        assert keeps(orjson.loads(msgspec.json.encode(incident)), orjson.loads(value))


def keeps(new: object, old: object) -> bool:
    """Whether ``new`` has all that ``old`` has; more fields may have come."""
    if isinstance(new, dict) and isinstance(old, dict):
        return all(name in new and keeps(new[name], value) for name, value in old.items())
    return new == old


def test_measures_that_only_a_newer_program_knows_are_refused_in_words(stored: Stored) -> None:
    found = next(
        record
        for _, value, _ in stored.records[PARTIALS]
        if isinstance(record := decode_log_record(value), Partial)
    )
    newer = msgspec.structs.replace(found, layout=f"{signature(LAYOUT)}\ndigest of_a_newer_kind")
    with pytest.raises(NewerRecord, match=r"'digest of_a_newer_kind'.*use that version"):
        decide_state.recode_partial(newer)


def test_exemplars_of_an_older_layout_are_those_of_the_same_measures() -> None:
    """Places of measures move when others are added before them."""
    older = Layout(LAYOUT.flags[5:2:-1], LAYOUT.values[:2], (), {})
    segment = SegmentKey((), ())
    windows = [[[[(), ()], [[0, [1, 7, "cached"]], [3, [900, 8, "slow"]]]]]]
    recent = RecentExemplars()
    recent.from_state(windows, exemplar_places(signature(older), LAYOUT))
    assert recent.find(segment, LAYOUT.exemplar["cache_hit"]) == ("cached",)
    assert recent.find(segment, LAYOUT.exemplar["duration_ms"]) == ("slow",)
    without = Layout(LAYOUT.flags[:2], (), (), {})
    recent.from_state(windows, exemplar_places(signature(older), without))
    assert recent.find(segment, 0) == recent.find(segment, 1) == ()
