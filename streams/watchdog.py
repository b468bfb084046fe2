"""Ends a worker that looks alive and does nothing.

Faust and aiokafka can stall silently: a recovery that timed out, a coordinator that waits for somebody to look at
its error, a dead fetcher. Liveness of the process tells nothing; progress does. A partition that has records, or
has not even begun, and stands still for ``stall_secs`` ends the worker; so do a dead background task and a blocked
event loop. The supervisor (or systemd, Kubernetes) starts it again, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from streams.transport import TP, ChunkConsumer

BLOCKED_EXIT_CODE = 70
log = structlog.get_logger()


class Stalled(Exception):
    """No progress although there is something to do."""


class Watchdog:
    """Watches one worker.

    ``progress`` gives, for every partition that is worked on, the next offset to be worked on (None: not begun).
    ``waiting`` tells that standing still is on purpose (a sink that is down).
    """

    def __init__(
        self,
        consumer: ChunkConsumer,
        progress: Callable[[], Mapping[TP, int | None]],
        fail: Callable[[BaseException], None],
        *,
        stall_secs: float = 60.0,
        tick_secs: float = 2.0,
        waiting: Callable[[], bool] = lambda: False,
    ) -> None:
        self._consumer = consumer
        self._progress = progress
        self._fail = fail
        self._stall_secs = stall_secs
        self._tick_secs = tick_secs
        self._waiting = waiting
        self._still_secs: dict[TP, float] = {}
        self._last: dict[TP, int | None] = {}

    async def run(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(self._tick_secs)
            now = time.monotonic()
            # A pause of the whole process is not a stall: no tick counts for more than two.
            elapsed_secs = min(now - before, 2 * self._tick_secs)
            before = now
            try:
                await self._look(elapsed_secs)
            except Stalled as stalled:
                self._fail(stalled)
                return

    async def _look(self, elapsed_secs: float) -> None:
        if (failure := self._consumer.failure()) is not None:
            raise Stalled(f"the consumer is dead: {failure!r}") from failure
        assigned = self._consumer.assignment()
        try:
            async with asyncio.timeout(self._stall_secs):
                standing = await self._consumer.standing(assigned)
        except Exception as error:
            # Without the broker nobody can tell whether there is anything to do; delivery has its own deadline.
            log.info("the watchdog cannot see the end of the partitions", reason=repr(error))
            return
        progress = self._progress()
        for tp in assigned:
            done = progress.get(tp)
            begun = tp in progress
            view = standing.get(tp)
            caught_up = begun and (
                view is None
                or (done is not None and done >= view.end)
                or (
                    done is None
                    and view.handed_over == 0
                    and view.position is not None
                    and view.position >= view.end
                )
            )
            moved = tp not in self._last or self._last[tp] != done
            if caught_up or moved or self._waiting():
                self._still_secs[tp] = 0.0
            else:
                self._still_secs[tp] = self._still_secs.get(tp, 0.0) + elapsed_secs
            self._last[tp] = done
            if self._still_secs[tp] >= self._stall_secs:
                end = view.end if view else None
                raise Stalled(
                    f"{tp.topic}-{tp.partition} stands at {done} of {end} for {self._still_secs[tp]:.0f} seconds"
                )
        for tp in self._last.keys() - assigned:
            del self._last[tp]
            self._still_secs.pop(tp, None)


class LoopGuard(threading.Thread):
    """Ends the process when the event loop has not turned for ``blocked_secs``: nothing inside it could."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, blocked_secs: float = 60.0, tick_secs: float = 1.0
    ) -> None:
        super().__init__(name="loop guard", daemon=True)
        self._loop = loop
        self._blocked_secs = blocked_secs
        self._tick_secs = tick_secs
        self._over = threading.Event()

    def run(self) -> None:
        still_secs = 0.0
        while not self._over.wait(self._tick_secs):
            turned = threading.Event()
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:  # closed
                return
            while not turned.wait(self._tick_secs):
                if self._over.is_set():
                    return
                # Ticks, not wall time: a pause of the whole process must not count.
                still_secs += self._tick_secs
                if still_secs >= self._blocked_secs:
                    sys.stderr.write(f"the event loop is blocked for {still_secs:.0f} seconds; ending\n")
                    sys.stderr.flush()
                    os._exit(BLOCKED_EXIT_CODE)
            still_secs = 0.0

    def stop(self) -> None:
        self._over.set()
