"""Whether aiokafka's background tasks are alive: it keeps their end to itself, and Faust does not ask.

Reads private attributes of aiokafka 0.14; tests/integration/test_watchdog_worker.py fails when they are renamed.
"""

from __future__ import annotations

import asyncio
from typing import Any


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
