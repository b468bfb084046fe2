"""The C library's allocator: memory that is not needed any more goes back to the system, but for some megabytes."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Parameters of glibc's mallopt(3)."""
MAPPED_BYTES: Final = 768 * 1024
"""Buffers from this size on are mapped one by one, and unmapped when they are free. Left to itself, glibc raises
the bound up to 32 MB as such buffers come and go, and keeps what they leave behind among smaller ones. A full
partial is larger; the arrays of a fleet of 100,000 monitors are not: mapped, an update takes a quarter longer."""
KEPT_BYTES: Final = 4 * 1024 * 1024
"""Of what is free at the end of the heap. Left at glibc's 128 KB, the arrays of every window are given back and
faulted in again: an update of a monitor takes half as long again (``tests.benchmarks.monitors``)."""
TRIM_EVERY_SECS: Final = 30.0
ARENAS: Final = 2


def give_memory_back() -> None:
    """Call it before threads start; nothing happens where the C library is another one."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Give back what is free anywhere in the heap, every ``TRIM_EVERY_SECS``.

    Catching up after a rebalance leaves holes: without this each one made a worker some twenty megabytes larger
    (experiment ``soak``).
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
