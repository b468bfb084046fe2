"""Running one thing while others run beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


async def alongside(main: Coroutine[Any, Any, _Result], *others: Coroutine[Any, Any, None]) -> _Result:
    """The result of ``main`` while ``others`` run; whatever fails first ends all and is raised as it is."""
    task = asyncio.create_task(main)
    running: set[asyncio.Task[Any]] = {task, *(asyncio.create_task(other) for other in others)}
    try:
        while not task.done():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        return task.result()
    finally:
        for left in running:
            left.cancel()
        await asyncio.gather(*running, return_exceptions=True)
