"""What the drivers tell while they work: counts, delays, and which calls to others are still out.

The pure stages count for themselves and are read; what only a driver sees is told here. Everything is kept in plain
numbers on the event loop, and copied out by ``streams.operate.observer``.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

DELAY_BUCKETS_SECS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Wait(NamedTuple):
    """A call to a broker, a store or a disk that has not returned."""

    what: str
    restoring: bool
    """Whether a checkpoint is being loaded: its limit is another one, and the worker is not ready."""
    life: Callable[[], int]
    """A number that changes whenever the call gets on."""
    on_purpose: bool = False
    """A pause before the next try: it has no limit, and others stand still because of it."""


class Notice(NamedTuple):
    """Something that happened once and that a person should know."""

    subject: str
    """Short and from a bounded set: ``state_refused``."""
    text: str


class Delays:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(DELAY_BUCKETS_SECS) + 1)
        self.sum_secs = 0.0

    def add(self, secs: float) -> None:
        self.counts[bisect.bisect_left(DELAY_BUCKETS_SECS, secs)] += 1
        self.sum_secs += secs


def cpu_ticks(*names: str) -> int:
    """CPU time that threads have used whose names begin so; stands still while they sleep or hang (Linux)."""
    total = 0
    for thread in threading.enumerate():
        if thread.name.startswith(names) and thread.native_id is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
                total += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    return total


class Vitals:
    """One of a worker; every part of it may tell."""

    def __init__(self) -> None:
        self.counters: Counter[tuple[str, ...]] = Counter()
        """(name of the metric, values of its labels) -> count."""
        self.alert_delays = Delays()
        self.notices: list[Notice] = []
        """Not told yet."""
        self.away_since_secs: float | None = None
        """Since when (monotonic) the store cannot be written to."""
        self.held_up: tuple[str, float] | None = None
        """The partition that all windows wait for, and how many seconds it is behind; where DECIDE is."""
        self._numbers = itertools.count()
        self._waits: dict[int, Wait] = {}

    def count(self, metric: str, *labels: str, by: int = 1) -> None:
        """Add to a counter of ``streams.operate.table.METRICS``."""
        self.counters[metric, *labels] += by

    def notice(self, subject: str, text: str) -> None:
        """Something about the state that a person should know; becomes an alert of the condition ``state``."""
        self.notices.append(Notice(subject, text))

    @contextmanager
    def waiting(
        self,
        what: str,
        *,
        restoring: bool = False,
        life: Callable[[], int] = lambda: 0,
        on_purpose: bool = False,
    ) -> Iterator[None]:
        """Around a call to ``what``: while it is out, standing still is not ours, up to a limit."""
        number = next(self._numbers)
        self._waits[number] = Wait(what, restoring, life, on_purpose)
        try:
            yield
        finally:
            del self._waits[number]

    @property
    def waits(self) -> dict[int, Wait]:
        """The calls that are out, by a number of their own."""
        return self._waits
