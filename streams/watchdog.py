"""Ends a worker that looks alive and does nothing.

Faust and aiokafka can stall silently: a recovery that timed out, a coordinator that waits for somebody to look at
its error, a dead fetcher. Liveness of the process tells nothing; progress does. What tells a hang from slowness:

* a dead background task of a client can never recover: the worker ends at once;
* a partition with records that stands still, while no call to others is out, is a hang: nobody works on it;
* while a call to the broker or the store is out, standing still is theirs, up to the (much longer) limit of a call;
* a partition that is not fetched because it is ahead of others stands still on purpose;
* loading a checkpoint must get on: it may take long, but not without a step;
* without an answer of the broker nobody can tell whether there is anything to do: no time counts.

The supervisor (or systemd, Kubernetes) starts the worker again, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from streams.chunks import Standing
from streams.operate.config import WatchdogConfig
from streams.operate.vitals import Vitals, Wait
from streams.transport import TP

BLOCKED_EXIT_CODE: Final = 70
STUCK_EXIT_CODE: Final = 71
LONG_CALL_SECS: Final = 1.5
"""A call that is out for so long holds up what is queued behind it; shorter ones are everyday life."""

log = structlog.get_logger()


class Stalled(Exception):
    """No progress although there is something to do."""


class Watchdog:
    """Judges one worker's progress, whenever ``look`` is called.

    ``begin_secs`` is how long an assigned partition may take until it is begun, a rebalance included.
    """

    def __init__(self, limits: WatchdogConfig, vitals: Vitals, *, begin_secs: float) -> None:
        self._limits = limits
        self._vitals = vitals
        self._begin_secs = begin_secs
        self._still_secs: dict[TP, float] = {}
        self._last: dict[TP, int | None] = {}
        self._ends: dict[TP, int] = {}
        self._call_secs: dict[int, float] = {}
        self._call_life: dict[int, int] = {}
        self._held_up_secs = 0.0
        self._unasked_secs = 0.0
        self._outside_secs = 0.0

    def look(
        self,
        assigned: set[TP] | None,
        standing: Mapping[TP, Standing] | None,
        progress: Mapping[TP, int | None],
        elapsed_secs: float,
    ) -> None:
        """Judge what happened in ``elapsed_secs``.

        ``assigned`` is None while the worker is in no group, ``standing`` while the broker does not answer;
        ``progress`` has, for every partition that is worked on, the next offset to be worked on (None: not begun).

        Raises:
            Stalled: there is something to do, and nothing happens.
        """
        if standing is None:
            self._unasked_secs += elapsed_secs
            return
        self._unasked_secs = 0.0
        held_up = self._look_at_calls(elapsed_secs)
        self._look_at_group(assigned, elapsed_secs)
        for tp in assigned or ():
            done = progress.get(tp)
            begun = tp in progress
            moved = tp not in self._last or self._last[tp] != done
            if moved or (begun and _caught_up(done, standing.get(tp))):
                self._still_secs[tp] = 0.0
            elif not held_up and not _is_held(standing.get(tp)):
                self._still_secs[tp] = self._still_secs.get(tp, 0.0) + elapsed_secs
            self._last[tp] = done
            if (view := standing.get(tp)) is not None:
                self._ends[tp] = view.end
            if self._still_secs[tp] >= (self._limits.stall_secs if begun else self._begin_secs):
                raise Stalled(self._stands(tp))
        for tp in self._last.keys() - (assigned or set()):
            del self._last[tp]
            self._still_secs.pop(tp, None)

    def reasons(self) -> list[str]:
        """Why the worker is not ready."""
        unready_secs = self._limits.unready_secs
        found = [self._stands(tp) for tp, secs in self._still_secs.items() if secs >= unready_secs]
        if self._unasked_secs >= unready_secs:
            found.append(f"the broker has not answered for {self._unasked_secs:.0f} s")
        for number, wait in self._vitals.waits.items():
            secs = self._call_secs.get(number, 0.0)
            if wait.restoring or secs >= unready_secs:
                found.append(f"waits for {wait.what} for {secs:.0f} s")
        return found

    def _look_at_calls(self, elapsed_secs: float) -> bool:
        """Whether a call is out for so long that what is behind it cannot go on."""
        self._held_up_secs = max(0.0, self._held_up_secs - elapsed_secs)
        before, self._call_secs = self._call_secs, {}
        lives, self._call_life = self._call_life, {}
        for number, wait in self._vitals.waits.items():
            life = self._call_life[number] = wait.life()
            alive = number not in before or lives[number] != life
            secs = self._call_secs[number] = 0.0 if alive else before[number] + elapsed_secs
            if secs >= self._limit_of(wait) and not wait.on_purpose:
                raise Stalled(f"{wait.what} has not got on for {secs:.0f} seconds")
            if wait.restoring or wait.on_purpose or secs >= LONG_CALL_SECS:
                # A little longer than the call: the next one may follow, and is young at first.
                self._held_up_secs = 2 * LONG_CALL_SECS
        return self._held_up_secs > 0

    def _limit_of(self, wait: Wait) -> float:
        return self._limits.restore_secs if wait.restoring else self._limits.call_secs

    def _look_at_group(self, assigned: set[TP] | None, elapsed_secs: float) -> None:
        self._outside_secs = self._outside_secs + elapsed_secs if assigned is None else 0.0
        if self._outside_secs >= 2 * self._begin_secs:
            raise Stalled(f"the consumer group has not taken us for {self._outside_secs:.0f} seconds")

    def _stands(self, tp: TP) -> str:
        still_secs = self._still_secs[tp]
        end = self._ends.get(tp, "?")
        return f"{tp.topic}-{tp.partition} stands at {self._last[tp]} of {end} for {still_secs:.0f} s"


def _is_held(view: Standing | None) -> bool:
    return view is not None and view.held


def _caught_up(done: int | None, view: Standing | None) -> bool:
    if view is None:
        return True
    if done is not None:
        return done >= view.end
    return view.handed_over == 0 and view.position is not None and view.position >= view.end


class LoopGuard(threading.Thread):
    """Ends the process when an event loop has not turned for ``blocked_secs``: nothing inside it could."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        blocked_secs: float,
        tick_secs: float = 0.5,
        what: str = "the event loop",
    ) -> None:
        super().__init__(name=f"guard of {what}", daemon=True)
        self._loop = loop
        self._blocked_secs = blocked_secs
        self._tick_secs = tick_secs
        self._what = what
        self._over = threading.Event()
        self.still_secs = 0.0
        """How long the loop has not turned."""

    def run(self) -> None:
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
                self.still_secs += self._tick_secs
                if self.still_secs >= self._blocked_secs:
                    log.error("blocked; the worker ends", what=self._what, still_secs=self.still_secs)
                    os._exit(BLOCKED_EXIT_CODE)
            self.still_secs = 0.0

    def stop(self) -> None:
        self._over.set()


def end_within(secs: float, code: int = STUCK_EXIT_CODE) -> Callable[[], None]:
    """End the process in any case after ``secs``, whatever hangs; the result calls it off."""
    timer = threading.Timer(secs, os._exit, (code,))
    timer.daemon = True
    timer.start()
    return timer.cancel
