"""What a worker lets go of when a partition is taken away: nothing waits for the collector, which seldom comes."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from streams import aggregating, deciding
from streams.transport import TP, Begin

BEGIN = Begin(TP("tidewatch.partials", 0), 1, 0, "")


class State:
    """Megabytes, in a worker."""


def of_decide() -> Any:
    return deciding._Run(BEGIN)


def of_aggregate() -> Any:
    nothing: Any = None
    return aggregating._Run(BEGIN, nothing, nothing, nothing)


@pytest.mark.parametrize("make", [of_decide, of_aggregate])
def test_the_state_of_a_revoked_run_is_freed_at_once(make: Callable[[], Any]) -> None:
    async def work(run: Any) -> None:
        state = State()
        kept.append(weakref.ref(state))
        while True:
            await run.inbox.get()

    async def revoke() -> None:
        run = make()
        run.task = asyncio.create_task(work(run))
        await asyncio.sleep(0)
        run.forget()
        del run
        for _ in range(3):
            await asyncio.sleep(0)

    kept: list[weakref.ref[State]] = []
    gc.disable()
    try:
        asyncio.run(revoke())
        assert [found() for found in kept] == [None]
    finally:
        gc.enable()
