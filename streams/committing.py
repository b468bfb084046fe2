"""Commits of many partitions in few requests.

Every partition commits after every chunk. One request after the other, that would be a round trip for each; so
what is asked for while a request is out goes into the next one together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aiokafka.errors import (
    IllegalGenerationError,
    KafkaError,
    KafkaTimeoutError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.types import TP

from streams.chunks import Superseded

RETRY_SECS = 0.1


class _Asked(NamedTuple):
    wanted: Mapping[TopicPartition, OffsetAndMetadata]
    epochs: Mapping[TP, int]
    deadline: float
    done: asyncio.Future[None]


class Committer:
    """On the consumer's event loop.

    ``refusal`` says why partitions in these epochs cannot be committed now, or None: it is asked right before the
    request is built, and nothing is awaited in between.
    """

    def __init__(
        self, coordinator: Callable[[], Any], refusal: Callable[[Mapping[TP, int]], str | None]
    ) -> None:
        self._coordinator = coordinator
        self._refusal = refusal
        self._asked: list[_Asked] = []
        self._task: asyncio.Task[None] | None = None

    async def commit(
        self,
        wanted: Mapping[TopicPartition, OffsetAndMetadata],
        epochs: Mapping[TP, int],
        timeout_secs: float,
    ) -> None:
        """Returns when the broker has the offsets.

        Raises:
            Superseded: a partition is no longer in its epoch, or the group has gone on without us.
            KafkaError: the broker did not take them in time.
        """
        loop = asyncio.get_running_loop()
        asked = _Asked(wanted, epochs, time.monotonic() + timeout_secs, loop.create_future())
        self._asked.append(asked)
        if self._task is None or self._task.done():
            # A task of its own: whoever asked first may be cancelled, the others still want an answer.
            self._task = loop.create_task(self._work())
        try:
            async with asyncio.timeout(timeout_secs):
                await asked.done
        except TimeoutError as error:
            raise KafkaTimeoutError("the broker has not confirmed a commit in time") from error

    async def _work(self) -> None:
        while together := [asked for asked in self._asked if not asked.done.done()]:
            self._asked = []
            try:
                await self._commit(together)
            except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
                self._fail(together, Superseded(f"the broker refused the commit: {error!r}"))
            except KafkaError as error:
                now = time.monotonic()
                again = [asked for asked in together if error.retriable and now < asked.deadline]
                self._fail([asked for asked in together if asked not in again], error)
                self._asked = again + self._asked
                await asyncio.sleep(RETRY_SECS)
            except Exception as error:
                self._fail(together, error)
        self._asked = []

    async def _commit(self, together: list[_Asked]) -> None:
        coordinator = self._coordinator()
        await coordinator.ensure_coordinator_known()
        async with coordinator._commit_lock:
            wanted: dict[TopicPartition, OffsetAndMetadata] = {}
            for asked in together:
                if (reason := self._refusal(asked.epochs)) is not None:
                    self._fail([asked], Superseded(reason))
                elif not asked.done.done():
                    wanted |= asked.wanted
            await coordinator._do_commit_offsets(None, wanted)
        for asked in together:
            if not asked.done.done():
                asked.done.set_result(None)

    @staticmethod
    def _fail(together: list[_Asked], error: Exception) -> None:
        for asked in together:
            if not asked.done.done():
                asked.done.set_exception(error)
