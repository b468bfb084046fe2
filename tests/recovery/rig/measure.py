"""What a process uses and how long something stands still, sampled in the background (Linux)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.recovery.rig.sampler import Sampler

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def rss_mb(pid: int) -> float | None:
    """Resident memory of a process; None when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * _PAGE_BYTES / 2**20


def open_files(pid: int) -> int | None:
    """File descriptors of a process; None when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


class Usage(Sampler):
    """Samples memory and file descriptors of processes that come and go; a context manager."""

    def __init__(self, pids: Callable[[], Iterable[int]], every_secs: float = 0.5) -> None:
        super().__init__("usage", every_secs)
        self._pids = pids
        self.rss_mb: list[tuple[float, int, float]] = []
        """(monotonic seconds, process, MB)"""
        self.open_files: list[tuple[float, int, int]] = []

    def _watch(self) -> None:
        while not self._over.wait(self._every_secs):
            now = time.monotonic()
            for pid in list(self._pids()):
                if (rss := rss_mb(pid)) is not None:
                    self.rss_mb.append((now, pid, rss))
                if (files := open_files(pid)) is not None:
                    self.open_files.append((now, pid, files))

    @property
    def worst_rss_mb(self) -> float:
        return max((rss for _, _, rss in self.rss_mb), default=0.0)


class Stall(Sampler):
    """The longest time that a number (an offset, a count) stood still, sampled in the background.

    ``read`` may raise OSError or TimeoutError while nothing can be asked; that counts as standing still.
    """

    def __init__(self, read: Callable[[], int], every_secs: float = 0.25) -> None:
        super().__init__("stall", every_secs)
        self._read = read
        self.worst_secs = 0.0

    def _watch(self) -> None:
        last, since = None, time.monotonic()
        while not self._over.wait(self._every_secs):
            value = last
            with contextlib.suppress(OSError, TimeoutError):
                value = self._read()
            now = time.monotonic()
            if value != last:
                last, since = value, now
            self.worst_secs = max(self.worst_secs, now - since)
