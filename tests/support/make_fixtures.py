"""``python -m tests.support.make_fixtures``: what this version stores, kept for the upgrade tests of later ones.

Writes ``tests/fixtures/upgrade/<version>/``. Fixtures are made once, by the version they are named after, and never
changed: they are what its users have on their disks and topics.

``config.json``  the sections of the configuration under which it was made
``state.key``    the key of the seal
``state.sqlite`` the store of one host: DECIDE with every detector, an open incident and windows not closed yet
``records.msgpack``  topic -> records as [key, value, headers]; the last partials come after the checkpoint
``tables.sql``       the tables of ClickHouse
``expected.json``    what the checkpoint holds, in words that outlive its form
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from sinks.tables import TABLES, create_meta
from streams import __version__
from streams.aggregate import Aggregate
from streams.config import Config
from streams.decide import Decide
from streams.messages import LocalRecord, Message
from streams.simulate.scenarios import silent_model_change
from streams.simulate.traffic import TrafficSpec, generate
from streams.state import Checkpoint
from streams.state_sqlite import SqliteStateStore
from streams.topics import PARTIALS, TOPIC_OF_STREAM

FIXTURES: Final = Path(__file__).parents[1] / "fixtures" / "upgrade"
START_MS: Final = 1_790_000_000_000
MINUTES: Final = 100
INCIDENT_MINUTE: Final = 80
RATE_PER_SEC: Final = 8.0
SECTIONS: Final[dict[str, Any]] = {"segments": {"by": [["provider"]]}}
KEY: Final = b"a key for upgrade fixtures only!"
LOG_ID: Final = "cluster-of-the-fixture"
KEPT: Final = 6
"""Records kept of a topic: the first half and the last half."""
AFTER: Final = 40
"""Records of the partials log after the checkpoint."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the upgrade fixtures of this version.")
    parser.add_argument("--folder", type=Path, default=FIXTURES / __version__)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True)
    log = partials()
    decide, messages = Decide(Config.model_validate(SECTIONS)), list[Message]()
    for record in log[:-AFTER]:
        messages += decide.step(record)
    (folder / "config.json").write_bytes(orjson.dumps(SECTIONS))
    (folder / "state.key").write_bytes(KEY)
    checkpoint = Checkpoint(decide.next_offset, LOG_ID, decide.snapshot())
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "state.sqlite"
        asyncio.run(save(store, checkpoint))
        (folder / "state.sqlite.gz").write_bytes(gzip.compress(store.read_bytes(), mtime=0))
    records = {PARTIALS: [(record.key, record.value, []) for record in log[-AFTER:]]}
    for message in messages:
        headers = [list(header) for header in message.headers]
        records.setdefault(message.topic, []).append((message.key, message.value, headers))
    few = {
        topic: found if topic == PARTIALS else [*found[: KEPT // 2], *found[KEPT // 2 :][-KEPT // 2 :]]
        for topic, found in records.items()
    }
    (folder / "records.msgpack").write_bytes(msgspec.msgpack.encode(few))
    ddl = [table.create("tidewatch") for table in TABLES.values()]
    (folder / "tables.sql").write_text(";\n\n".join([*ddl, create_meta("tidewatch")]) + ";\n")
    expected = decide.progress | {"firing": [incident.fingerprint for incident in decide.firing]}
    (folder / "expected.json").write_bytes(orjson.dumps(expected, option=orjson.OPT_INDENT_2))
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()):,} bytes")


def partials(minutes: int = MINUTES) -> list[LocalRecord]:
    """The log of partials of some traffic, which ends within an incident if it is long enough."""
    config = Config.model_validate(SECTIONS)
    scenario = silent_model_change(START_MS + INCIDENT_MINUTE * 60_000)
    spec = TrafficSpec(START_MS, minutes * 60.0, RATE_PER_SEC, seed=7, effects=scenario.effects)
    sources = {
        stream: Aggregate(config, topic=topic, partition=0, attempt="fixture", sources_total=3)
        for stream, topic in TOPIC_OF_STREAM.items()
    }
    offsets = {stream: itertools.count() for stream in sources}
    messages = [message for source in sources.values() for message in source.start().messages]
    newest_ms = START_MS
    for batch in generate(spec):
        for stream, source in sources.items():
            chosen = [
                LocalRecord(TOPIC_OF_STREAM[stream], 0, next(offsets[stream]), event.value)
                for event in batch
                if event.kind == stream
            ]
            messages += source.add(chosen, START_MS + 86_400_000).messages
            newest_ms = max(newest_ms, source.max_event_ms or 0)
        for source in sources.values():
            messages += source.advance(newest_ms).messages
    log = (message for message in messages if message.topic == PARTIALS)
    return [LocalRecord(PARTIALS, 0, offset, m.value, m.key) for offset, m in enumerate(log)]


async def save(path: Path, checkpoint: Checkpoint) -> None:
    store = SqliteStateStore(path, Config.model_validate(SECTIONS).fleet, KEY)
    await store.claim()
    await store.save(checkpoint)
    await store.close()


if __name__ == "__main__":
    main()
