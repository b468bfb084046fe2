"""A replay's events and results into the configured store, through the same projection as a live run's."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from sinks.base import RetryLater
from sinks.clickhouse import ClickHouseSink
from streams.config import Config
from streams.events import Stream
from streams.messages import LocalRecord, Message, Record
from streams.pseudonyms import Pseudonyms, load_key
from streams.record import Recorder
from streams.record_stage import RecordStage
from streams.topics import RECORDED, TOPIC_OF_STREAM

BATCH_RECORDS = 2000
ATTEMPTS = 5


class StoreOutput:
    """Writes in batches; raises ``sinks.base.SinkError`` when the store does not take one after a few attempts."""

    def __init__(self, config: Config) -> None:
        self._runner = asyncio.Runner()
        self._sink = ClickHouseSink(config.clickhouse, config.state_dir)
        recorder = Recorder(
            fleet=config.fleet,
            pseudonyms=Pseudonyms(load_key(config.state_dir)),
            store_text=config.record.store_text,
        )
        self._stage = RecordStage(recorder, self._sink, batch_rows=config.record.batch_rows)
        self._waiting: list[Record] = []
        self._offset = itertools.count()

    def __call__(self, message: Message) -> None:
        self._add(LocalRecord(message.topic, 0, next(self._offset), message.value, message.key))

    def add_input(self, stream: Stream, value: bytes) -> None:
        """A record of the input; what is not recorded live (feedback) is left out here too."""
        topic = TOPIC_OF_STREAM[stream]
        if topic in RECORDED:
            self._add(LocalRecord(topic, 0, next(self._offset), value))

    def _add(self, record: Record) -> None:
        self._waiting.append(record)
        if len(self._waiting) >= BATCH_RECORDS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        self._stage.add(self._waiting)
        self._waiting = []
        for attempt in itertools.count(1):
            try:
                letters = self._runner.run(self._stage.flush())
            except RetryLater as later:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(later.after_secs)
            else:
                break
        self._write_letters(letters)

    def _write_letters(self, letters: Iterable[Message]) -> None:
        """Rows that the store refused, as dead letters."""
        for letter in letters:
            self._waiting.append(LocalRecord(letter.topic, 0, next(self._offset), letter.value))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                while self._waiting:
                    self._flush()
        finally:
            self._runner.run(self._sink.close())
            self._runner.close()
