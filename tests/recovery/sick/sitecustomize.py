"""Makes a worker process fall ill on demand; Python runs this at its start when the folder is in PYTHONPATH.

The file that TIDEWATCH_TEST_ILLNESS names holds one of ``ILLNESSES``. The first worker that sees it removes
it and falls ill. Production code has nothing of this.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOR_EVER_SECS = 3600.0


def _end_coordinator(worker: Any) -> None:
    consumer = worker.app.chunk_consumer
    consumer.thread_loop.call_soon_threadsafe(
        consumer._thread._consumer._coordinator._coordination_task.cancel
    )


def _end_fetcher(worker: Any) -> None:
    consumer = worker.app.chunk_consumer
    consumer.thread_loop.call_soon_threadsafe(consumer._thread._consumer._fetcher._fetch_task.cancel)


def _end_sender(worker: Any) -> None:
    worker.app.exact_producer.client._sender.sender_task.cancel()


def _block_loop(_: Any) -> None:
    asyncio.get_running_loop().call_soon(time.sleep, FOR_EVER_SECS)


def _block_fetching(worker: Any) -> None:
    worker.app.chunk_consumer.thread_loop.call_soon_threadsafe(time.sleep, FOR_EVER_SECS)


def _block_agent(worker: Any) -> None:
    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    worker._aggregate.handle = never


ILLNESSES: dict[str, Callable[[Any], None]] = {
    "dead coordinator": _end_coordinator,
    "dead fetcher": _end_fetcher,
    "dead producer": _end_sender,
    "blocked event loop": _block_loop,
    "blocked fetching loop": _block_fetching,
    "blocked agent": _block_agent,
}
HUNG_RESTORE = "hung restore"
"""This one befalls a worker as it starts."""


def _taken(file: Path, wanted: Callable[[str], bool]) -> str | None:
    """The illness, if there is one that is wanted; only one process gets it."""
    try:
        name = file.read_text()
        if not wanted(name):
            return None
        file.unlink()
    except OSError:
        return None
    return name


def _infect(file: Path) -> None:
    from streams.state_sqlite import SqliteStateStore
    from streams.worker import Worker

    run, load = Worker.run, SqliteStateStore._load

    def hang(store: Any) -> Any:
        if _taken(file, lambda name: name == HUNG_RESTORE):
            time.sleep(FOR_EVER_SECS)
        return load(store)

    async def fall_ill(worker: Any) -> None:
        while (name := _taken(file, lambda name: name in ILLNESSES)) is None:  # noqa: ASYNC110 - a file is no event
            await asyncio.sleep(0.05)
        ILLNESSES[name](worker)

    async def run_and_fall_ill(worker: Any) -> int:
        illness = asyncio.create_task(fall_ill(worker))
        try:
            return await run(worker)
        finally:
            illness.cancel()

    SqliteStateStore._load = hang  # type: ignore[method-assign]
    Worker.run = run_and_fall_ill  # type: ignore[method-assign]


if "streams.child" in sys.orig_argv and "detect" in sys.orig_argv:
    _infect(Path(os.environ["TIDEWATCH_TEST_ILLNESS"]))
