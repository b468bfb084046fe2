"""How each input partition moves: committed offsets against the ends of the log, sampled in the background."""

from __future__ import annotations

import asyncio
import contextlib
import time

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.app import group_name
from streams.client import client_settings, open_admin
from streams.config import Config
from tests.recovery.rig.sampler import Sampler
from tests.support.processes import eventually


class Offsets(Sampler):
    """Watches one topic of a group; a context manager.

    A partition *stands still* while it has records that are not committed and its committed offset does not move.
    """

    def __init__(
        self, config: Config, topic: str, partitions: int, *, role: str = "detect", every_secs: float = 0.5
    ) -> None:
        self._config = config
        self._tps = [TopicPartition(topic, number) for number in range(partitions)]
        self._group = group_name(config, role)
        super().__init__("offsets", every_secs)
        self._still: dict[TopicPartition, tuple[int, float]] = {}
        self.worst_stall_secs: dict[int, float] = dict.fromkeys(range(partitions), 0.0)
        """Longest time that each partition stood still."""
        self.lag: list[tuple[float, int]] = []
        """(monotonic seconds, records of the topic that are not committed)"""

    @property
    def worst_secs(self) -> float:
        return max(self.worst_stall_secs.values())

    def await_done(self, *, within_secs: float = 150.0) -> None:
        """Wait until every record of the topic is committed."""
        eventually(
            lambda: self.lag and self.lag[-1][1] == 0,
            within_secs=within_secs,
            what="all that was sent is committed",
        )

    def _watch(self) -> None:
        asyncio.run(self._look_until_over())

    async def _look_until_over(self) -> None:
        admin = await open_admin(self._config.kafka)
        reader = AIOKafkaConsumer(**client_settings(self._config.kafka), enable_auto_commit=False)
        await reader.start()
        try:
            while not self._over.is_set():
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    await self._look(admin, reader)
                await asyncio.sleep(self._every_secs)
        finally:
            await reader.stop()
            await admin.close()

    async def _look(self, admin: AIOKafkaAdminClient, reader: AIOKafkaConsumer) -> None:
        committed = await admin.list_consumer_group_offsets(self._group, partitions=self._tps)
        ends = await reader.end_offsets(self._tps)
        now = time.monotonic()
        behind = 0
        for tp in self._tps:
            done = max(0, committed[tp].offset) if tp in committed else 0
            behind += ends[tp] - done
            at, since = self._still.get(tp, (-1, now))
            if at != done or done == ends[tp]:
                self._still[tp] = (done, now)
            else:
                stall_secs = max(self.worst_stall_secs[tp.partition], now - since)
                self.worst_stall_secs[tp.partition] = stall_secs
        self.lag.append((now, behind))
