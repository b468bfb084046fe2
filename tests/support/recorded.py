"""Records of every recorded topic, as a fleet would have written them, and how the tables are held against them.

The verdict is by content: the records of the topics are projected and stored once, undisturbed, in a database of
their own, and every row of every table is compared.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import orjson

from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from sinks.tables import TABLES
from streams.config import Config
from streams.messages import LocalRecord, Message
from streams.pseudonyms import Pseudonyms, load_key
from streams.record import Recorder
from streams.replay import Replay
from streams.topics import INTERACTIONS, RECORDED, TOPIC_OF_STREAM
from tests.recovery.rig.run import SECTIONS, START_MS, traffic
from tests.support.brokers import read_all

IDENTITY: Final[dict[str, tuple[str, ...]]] = {
    "interactions": ("event_id",),
    "window_summaries": ("fleet", "signal", "segment", "window_start"),
    "anomalies": ("fleet", "anomaly_id"),
    "incidents": ("fleet", "incident_id"),
    "alerts": ("fleet", "alert_id"),
    "dead_letters": ("dead_letter_id",),
    "changes": ("change_id",),
}
"""Table -> the columns that tell its rows apart."""
PARTITIONS: Final = 2
NOW_MS: Final = START_MS + 86_400_000
_BAD: Final = b'{"event_id": 7}'

Place = tuple[str, int, bytes]
"""Topic, partition, value."""


@cache
def recorded_traffic(minutes: int, per_sec: float) -> list[Place]:
    """Interactions, changes, and what the stages say about them, mixed; every record once.

    One in two hundred interactions cannot be read, so that there are dead letters.
    """
    events = list(dict.fromkeys(traffic(minutes, per_sec)))
    said: list[Message] = []
    # Few segments: a record of summaries is hundreds of rows as it is.
    config = Config.model_validate(SECTIONS | {"segments": {"by": [["provider", "model"]]}})
    replay = Replay(config, said.append, now_ms=NOW_MS)
    inputs: list[Place] = []
    for number, event in enumerate(events):
        topic = TOPIC_OF_STREAM[event.stream]
        bad = topic == INTERACTIONS and number % 200 == 0
        value = _BAD[:-1] + b', "n": %d}' % number if bad else event.value
        replay.feed(event.stream, value)
        if topic in RECORDED:
            inputs.append((topic, zlib.crc32(event.key) % PARTITIONS if topic == INTERACTIONS else 0, value))
    replay.finish()
    outputs = [(message.topic, 0, message.value) for message in said if message.topic in RECORDED]
    return _mixed(inputs, outputs)


def _mixed(many: Sequence[Place], few: Sequence[Place]) -> list[Place]:
    """Both in their order, the few spread evenly among the many."""
    placed = [(n / len(many), 0, item) for n, item in enumerate(many)]
    placed += [(n / len(few), 1, item) for n, item in enumerate(few)]
    placed.sort(key=lambda entry: entry[:2])
    return [item for _, _, item in placed]


class Expected:
    """How many rows of each table the records handed in so far stand for, by identity."""

    def __init__(self) -> None:
        self._recorder = Recorder(fleet="default", pseudonyms=Pseudonyms(b"k" * 32))
        self._seen: dict[str, set[tuple[Any, ...]]] = {table: set() for table in TABLES}

    def add(self, places: Iterable[Place]) -> None:
        records = [LocalRecord(topic, partition, 0, value) for topic, partition, value in places]
        for batch in self._recorder.rows(records, NOW_MS):
            where = [batch.columns.index(name) for name in IDENTITY[batch.table]]
            self._seen[batch.table] |= set(zip(*(batch.data[at] for at in where), strict=True))

    @property
    def rows(self) -> dict[str, int]:
        return {table: len(seen) for table, seen in self._seen.items()}

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def store_undisturbed(config: Config, store: ClickHouseConfig) -> None:
    """Store what the topics hold, once, in ``store``; the key of pseudonyms is that of ``config``."""

    async def work() -> None:
        recorder = Recorder(fleet=config.fleet, pseudonyms=Pseudonyms(load_key(config.state_dir)))
        sink = ClickHouseSink(store, config.state_dir)
        try:
            await sink.healthcheck()
            for topic in RECORDED:
                for batch in recorder.rows(await read_all(config, topic), NOW_MS):
                    await sink.write(batch)
        finally:
            await sink.close()

    asyncio.run(work())


class Held(NamedTuple):
    """A database held against an undisturbed one."""

    lost: int
    """Rows that are missing or have other contents, read with FINAL."""
    doubled: int
    """Rows that should not be there, or are there twice, read with FINAL."""
    repeats: int
    """Stored rows of an identity beyond the first, before ClickHouse has merged them; FINAL hides them."""
    rows: int


class Tables:
    """The tables of one database of an engine (``chdb.connect``)."""

    def __init__(self, engine: Any, database: str) -> None:
        self._engine = engine
        self._database = database

    def distinct(self) -> dict[str, int]:
        """Rows of each table by identity."""
        counts = [
            f"SELECT '{table}', uniqExact({', '.join(names)}) FROM {self._database}.{table}"  # noqa: S608
            for table, names in IDENTITY.items()
        ]
        return {table: int(count) for table, count in self._rows(" UNION ALL ".join(counts))}

    def held_against(self, other: Tables) -> Held:
        lost = doubled = repeats = rows = 0
        for table, names in IDENTITY.items():
            found, wanted = self._contents(table), other._contents(table)
            lost += (wanted - found).total()
            doubled += (found - wanted).total()
            rows += found.total()
            version = TABLES[table].version
            distinct = ", ".join(names if version is None else (*names, version))
            query = f"SELECT count() - uniqExact({distinct}) FROM {self._database}.{table}"  # noqa: S608
            repeats += int(self._rows(query)[0][0])
        return Held(lost, doubled, repeats, rows)

    def _contents(self, table: str) -> Counter[str]:
        """Hashes of the rows."""
        row = "hex(sipHash128(formatRow('JSONEachRow', *)))"
        query = f"SELECT {row} FROM {self._database}.{table} FINAL"  # noqa: S608
        return Counter(value for (value,) in self._rows(query))

    def _rows(self, query: str) -> list[list[Any]]:
        answer = self._engine.query(query, "JSONCompactEachRow").bytes()
        return [orjson.loads(line) for line in answer.splitlines()]
