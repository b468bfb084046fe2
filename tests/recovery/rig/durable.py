"""Whether the group's offset of the partials ever gets ahead of the checkpoint that is durable, sampled."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.app import group_name
from streams.client import open_admin
from streams.config import Config
from streams.state import decode, load_key
from streams.state_sqlite import STATE_FILE
from streams.topics import PARTIALS
from tests.recovery.rig.sampler import Sampler

_PARTITION = TopicPartition(PARTIALS, 0)


class Durable(Sampler):
    """Watches a fleet whose checkpoints are in SQLite; a context manager.

    The offset is read first and the checkpoint after it: checkpoints only move on, so an offset that is ahead of
    what is found is an offset that was committed too early.
    """

    def __init__(self, config: Config, every_secs: float = 0.25) -> None:
        self._config = config
        super().__init__("durable", every_secs)
        self.looks = 0
        self.ahead: list[str] = []

    def _watch(self) -> None:
        asyncio.run(self._look_until_over())

    async def _look_until_over(self) -> None:
        admin = await open_admin(self._config.kafka)
        try:
            while not self._over.is_set():
                with contextlib.suppress(KafkaError, OSError, TimeoutError, sqlite3.OperationalError):
                    await self._look(admin)
                await asyncio.sleep(self._every_secs)
        finally:
            await admin.close()

    async def _look(self, admin: AIOKafkaAdminClient) -> None:
        group = group_name(self._config, "detect")
        found = await admin.list_consumer_group_offsets(group, partitions=[_PARTITION])
        offset = found[_PARTITION].offset if _PARTITION in found else -1
        if offset <= 0:
            return
        position = self._saved()
        self.looks += 1
        if position is None or offset > position:
            self.ahead.append(f"offset {offset} of {PARTIALS} is committed; the checkpoint is at {position}")

    def _saved(self) -> int | None:
        path = self._config.state_dir / STATE_FILE
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            query = "SELECT sealed FROM checkpoints WHERE fleet = ? ORDER BY serial DESC LIMIT 1"
            row = connection.execute(query, (self._config.fleet,)).fetchone()
        if row is None:
            return None
        return decode(row[0], self._config.fleet, load_key(self._config.state_dir)).position

    def failures(self) -> tuple[str, ...]:
        if not self.looks:
            return ("nobody saw an offset of the partials",)
        return tuple(self.ahead[:3])
