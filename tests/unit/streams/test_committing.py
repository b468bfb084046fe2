"""Commits that are asked for together go out together, and each caller gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    IllegalGenerationError,
    KafkaError,
    KafkaTimeoutError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.types import TP

from streams.chunks import Superseded
from streams.committing import Committer

A, B, C = (TP("t", number) for number in range(3))


def to(tp: TP, offset: int) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(*tp): OffsetAndMetadata(offset, "")}


class Coordinator:
    """Takes commits one at a time, as aiokafka's does; ``errors`` are raised first, in order."""

    def __init__(self, *errors: KafkaError) -> None:
        self._commit_lock = asyncio.Lock()
        self.errors = list(errors)
        self.requests: list[dict[tuple[str, int], int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def ensure_coordinator_known(self) -> None:
        await asyncio.sleep(0)

    async def _do_commit_offsets(self, _assignment: Any, offsets: Mapping[Any, Any]) -> None:
        await self.open.wait()
        self.requests.append({(tp.topic, tp.partition): found.offset for tp, found in offsets.items()})
        if self.errors:
            raise self.errors.pop(0)


def committer(coordinator: Coordinator, epochs: Mapping[TP, int] | None = None) -> Committer:
    current = {A: 1, B: 1, C: 1} if epochs is None else epochs

    def refusal(wanted: Mapping[TP, int]) -> str | None:
        return next((f"{tp} began again" for tp, epoch in wanted.items() if current.get(tp) != epoch), None)

    return Committer(lambda: coordinator, refusal)


async def test_what_is_asked_for_meanwhile_goes_together() -> None:
    coordinator = Coordinator()
    coordinator.open.clear()
    commits = committer(coordinator)
    first = asyncio.create_task(commits.commit(to(A, 1), {A: 1}, 5.0))
    while not coordinator._commit_lock.locked():  # noqa: ASYNC110 - the lock tells nobody
        await asyncio.sleep(0)
    others = [asyncio.create_task(commits.commit(to(tp, 2), {tp: 1}, 5.0)) for tp in (B, C)]
    await asyncio.sleep(0)
    coordinator.open.set()
    await asyncio.gather(first, *others)
    assert coordinator.requests == [{("t", 0): 1}, {("t", 1): 2, ("t", 2): 2}]


async def test_a_stale_partition_does_not_hold_up_the_others() -> None:
    coordinator = Coordinator()
    commits = committer(coordinator)
    answers = await asyncio.gather(
        commits.commit(to(A, 1), {A: 1}, 5.0), commits.commit(to(B, 1), {B: 7}, 5.0), return_exceptions=True
    )
    assert answers[0] is None
    assert isinstance(answers[1], Superseded)
    assert {place: offset for request in coordinator.requests for place, offset in request.items()} == {
        ("t", 0): 1
    }


async def test_an_error_that_passes_is_tried_again() -> None:
    coordinator = Coordinator(GroupCoordinatorNotAvailableError())
    await committer(coordinator).commit(to(A, 1), {A: 1}, 5.0)
    assert coordinator.requests == [{("t", 0): 1}] * 2


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (IllegalGenerationError(), Superseded),
        (GroupAuthorizationFailedError(), GroupAuthorizationFailedError),
    ],
)
async def test_an_error_that_stays_is_everybodys(error: KafkaError, raised: type[Exception]) -> None:
    commits = committer(Coordinator(error))
    with pytest.raises(raised):
        await commits.commit(to(A, 1), {A: 1}, 5.0)
    await commits.commit(to(A, 2), {A: 1}, 5.0)


async def test_a_broker_that_does_not_answer_in_time() -> None:
    coordinator = Coordinator()
    coordinator.open.clear()
    commits = committer(coordinator)
    with pytest.raises(KafkaTimeoutError):
        await commits.commit(to(A, 1), {A: 1}, 0.01)
    coordinator.open.set()
    await commits.commit(to(A, 2), {A: 1}, 5.0)
    assert coordinator.requests[-1] == {("t", 0): 2}


async def test_whoever_is_cancelled_takes_nobody_along() -> None:
    coordinator = Coordinator()
    coordinator.open.clear()
    commits = committer(coordinator)
    first = asyncio.create_task(commits.commit(to(A, 1), {A: 1}, 5.0))
    second = asyncio.create_task(commits.commit(to(B, 1), {B: 1}, 5.0))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    coordinator.open.set()
    await second
    assert coordinator.requests[-1][("t", 1)] == 1
