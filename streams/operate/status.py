"""What the workers of this host last said about themselves: one file each in ``state_dir/status``."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import orjson

FOLDER = "status"


def status_path(state_dir: Path, role: str, pid: int | None = None) -> Path:
    """The file of a worker, of this process unless ``pid`` says otherwise."""
    return state_dir / FOLDER / f"{role}-{os.getpid() if pid is None else pid}.json"


def write_status(state_dir: Path, role: str, status: dict[str, Any]) -> None:
    """Replace this process's file, complete or not at all."""
    path = status_path(state_dir, role)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {
        "role": role,
        "pid": os.getpid(),
        "birth": birth_of(os.getpid()),
        "at_ms": time.time_ns() // 1_000_000,
    }
    draft = path.with_suffix(".new")
    draft.write_bytes(orjson.dumps(own | status))
    draft.replace(path)


def read_status(state_dir: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """By (role, process id); files of processes that are gone included."""
    found = {}
    for path in sorted((state_dir / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            status = orjson.loads(path.read_bytes())
            found[status["role"], status["pid"]] = status
    return found


def is_running(status: dict[str, Any]) -> bool:
    """Whether the process that wrote the status is still the one with its id."""
    birth = birth_of(status["pid"])
    return birth is not None and birth == status.get("birth")


def birth_of(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None when it is gone (or not to be told here)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
