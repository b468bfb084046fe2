"""What aiokafka knows and keeps to itself: whether its tasks are alive, how far a whole group is.

Reads private attributes of aiokafka 0.14; tests/integration/test_watchdog_worker.py fails when they are renamed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, NamedTuple

from aiokafka.structs import TopicPartition
from faust.types import TP


def consumer_failure(consumer: Any) -> BaseException | None:
    """What ended the coordinator's or the fetcher's task, while the consumer is open."""
    if consumer is None or consumer._closed:
        return None
    coordinator = getattr(consumer._coordinator, "_coordination_task", None)
    return _end_of(coordinator, "the group coordinator") or _end_of(
        consumer._fetcher._fetch_task, "the fetcher"
    )


def producer_failure(producer: Any) -> BaseException | None:
    """What ended the sender's task, while the producer is open: what it was handed would wait for ever."""
    if producer is None or producer._closed:
        return None
    return _end_of(producer._sender.sender_task, "the producer's sender")


def has_joined(consumer: Any) -> bool:
    """Whether the group has told us which partitions are ours, be it none."""
    subscription = None if consumer is None else consumer._subscription.subscription
    return subscription is not None and subscription.assignment is not None


def _end_of(task: asyncio.Task[Any] | None, what: str) -> BaseException | None:
    if task is None or not task.done():
        return None
    # A cancelled one has ended as well: nobody but the open client itself may cancel it.
    reason = None if task.cancelled() else task.exception()
    return reason or RuntimeError(f"{what} ended")


class GroupOffsets(NamedTuple):
    """Where topics end and what the group has committed; partitions without a commit are left out of the latter."""

    ends: dict[TP, int]
    committed: dict[TP, int]


async def group_offsets(thread: Any, topics: Collection[str], others: Collection[TP]) -> GroupOffsets:
    """Of all partitions of subscribed ``topics``, whoever has them, and the ends of ``others``.

    ``thread`` is Faust's consumer thread. Raises KafkaError.
    """
    found: GroupOffsets = await thread.call_thread(_offsets, thread._ensure_consumer(), topics, others)
    return found


async def _offsets(consumer: Any, topics: Collection[str], others: Collection[TP]) -> GroupOffsets:
    cluster = consumer._client.cluster
    tps = [
        TopicPartition(topic, number)
        for topic in topics
        for number in sorted(cluster.partitions_for_topic(topic) or ())
    ]
    wanted = [*tps, *(TopicPartition(tp.topic, tp.partition) for tp in others)]
    ends = await consumer.end_offsets(wanted)
    committed = await consumer._coordinator.fetch_committed_offsets(tps)
    return GroupOffsets(
        {TP(tp.topic, tp.partition): end for tp, end in ends.items()},
        {TP(tp.topic, tp.partition): at.offset for tp, at in committed.items() if at.offset >= 0},
    )
