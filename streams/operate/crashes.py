"""Which workers of this host ended without being asked to: their status files are still there.

A worker that stops in order removes its status file; one that was killed, or gave up, leaves it. The next worker
of the role that starts finds it and writes the end down.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

import orjson

from streams.operate.status import FOLDER, is_running, read_status, status_path

KEPT: Final = 100
"""Ends that are remembered."""


def note_crashes(state_dir: Path, role: str) -> None:
    """Write down the ends that status files of workers tell that are gone, and remove the files."""
    now_ms = time.time_ns() // 1_000_000
    found = []
    for (its_role, pid), status in read_status(state_dir).items():
        if its_role != role or (is_running(status) and pid != os.getpid()):
            continue
        with contextlib.suppress(FileNotFoundError):  # another worker that starts now was first
            status_path(state_dir, role, pid).unlink()
            found.append(now_ms)
    if found:
        path = _path(state_dir, role)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(orjson.dumps((crashes(state_dir, role) + found)[-KEPT:]))
        draft.replace(path)


def crashes(state_dir: Path, role: str) -> list[int]:
    """When workers of the role ended without being asked to, as far as it was noticed; epoch milliseconds."""
    with contextlib.suppress(OSError, ValueError):
        return [int(at_ms) for at_ms in orjson.loads(_path(state_dir, role).read_bytes())]
    return []


def _path(state_dir: Path, role: str) -> Path:
    return state_dir / FOLDER / f"{role}.crashes"
