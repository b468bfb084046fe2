"""The C library's allocator: memory that is not needed any more goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Parameters of glibc's mallopt(3)."""
MAPPED_BYTES: Final = 256 * 1024
"""Buffers from this size on are mapped one by one, and unmapped when they are free. Left to itself, glibc raises
the bound up to 32 MB as such buffers come and go, and keeps what they leave behind among smaller ones."""
ARENAS: Final = 2


def give_memory_back() -> None:
    """Call it before threads start; nothing happens where the C library is another one."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)
