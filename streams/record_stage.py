"""RECORD's step from records to durable rows: project, gather, write; the driver commits what ``flush`` covered.

The driver's loop::

    stage.add(records)
    if stage.due():
        letters = await stage.flush()      # RetryLater: stop fetching, wait, call flush() again
        ...                                # send the letters, await them, then commit the offsets of all added

A crash anywhere repeats records whose rows are there already; the rows are idempotent, so nothing doubles.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from sinks.base import Batch, Rejected, Sink
from sinks.batch import Batcher
from streams.deadletters import dead_letter, encode_dead_letter
from streams.diagnosis import BadRecord
from streams.events import Stream
from streams.faultpoints import faultpoint
from streams.messages import Message, Record
from streams.record import Recorder
from streams.topics import CHANGES, DEADLETTERS, INTERACTIONS

_LOG: Final = structlog.get_logger("streams.record")
_KINDS: Final[dict[str, tuple[str, Stream]]] = {
    "interactions": (INTERACTIONS, "interaction"),
    "changes": (CHANGES, "change"),
}
"""Tables whose rows are one record of users each: source topic, and what it was read as."""


class RecordStage:
    """Gathers rows and writes them to a sink; see the module for the loop around it."""

    def __init__(
        self,
        recorder: Recorder,
        sink: Sink,
        *,
        batch_rows: int = 20_000,
        batch_secs: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._recorder = recorder
        self._sink = sink
        self._batcher = Batcher(max_rows=batch_rows, max_age_secs=batch_secs)
        self._monotonic = monotonic
        self._wall = wall
        self._sources: list[Record] = []
        self._written: set[str] = set()
        self._letters: list[Message] = []
        self.rows_by_table: Counter[str] = Counter()
        """Rows that are durable."""
        self.rows_rejected = 0

    @property
    def rows_written(self) -> int:
        return self.rows_by_table.total()

    @property
    def pending_rows(self) -> int:
        """Rows that are gathered and not yet durable."""
        return self._batcher.rows

    def add(self, records: Sequence[Record]) -> None:
        """Gather the rows of these records. Raises ``BufferError`` when ``flush`` is due or failed before."""
        batches = self._recorder.rows(records, int(self._wall() * 1000))
        self._batcher.add(batches, self._monotonic())
        self._sources.extend(record for record in records if record.topic in _SOURCE_TOPICS)

    def due(self) -> bool:
        """Whether it is time to flush."""
        return self._batcher.due(self._monotonic())

    async def flush(self) -> list[Message]:
        """Make everything added durable; returns the dead letters of rows that the store refused for good.

        The letters must be durable before offsets are committed. After ``RetryLater`` call it again: what was
        written is not written twice, and what was gathered is kept.
        """
        for batch in self._batcher.batches():
            if batch.table in self._written:
                continue
            try:
                faultpoint("record.before-write")
                await self._sink.write(batch)
            except Rejected as rejected:
                self._letters += self._refused(batch, rejected)
            faultpoint("record.written")
            self._written.add(batch.table)
            self.rows_by_table[batch.table] += batch.rows
        letters, self._letters = self._letters, []
        self._batcher.clear()
        self._sources.clear()
        self._written.clear()
        return letters

    async def handle(self, records: Sequence[Record]) -> list[Message]:
        """``add`` and ``flush`` in one: returns when the rows of these records are durable."""
        self.add(records)
        return await self.flush()

    def _refused(self, batch: Batch, rejected: Rejected) -> list[Message]:
        self.rows_rejected += len(rejected.indices)
        self.rows_by_table[batch.table] -= len(rejected.indices)
        if batch.table not in _KINDS:
            # Our own record, not a user's: nobody could correct it, so it is reported where operators look.
            _LOG.error("rows refused", table=batch.table, rows=len(rejected.indices), reason=rejected.reason)
            return []
        topic, kind = _KINDS[batch.table]
        places = {(record.topic, record.partition, record.offset): record for record in self._sources}
        letters = []
        for index in rejected.indices:
            row = batch.row(index)
            record = places[topic, row["source_partition"], row["source_offset"]]
            bad = BadRecord("out_of_range", "$", f"the store refuses it: {rejected.reason}")
            letters.append(Message(DEADLETTERS, None, encode_dead_letter(dead_letter(record, bad, kind))))
        return letters


_SOURCE_TOPICS: Final = frozenset(topic for topic, _ in _KINDS.values())
