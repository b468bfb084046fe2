"""The owner of an embedded ClickHouse store: one process at a time, by name.

chDB allows one process on a data directory and says "Cannot lock file" to the second. This lock says who holds
it. It is a kernel lock on a file beside the directory, so a killed owner leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Final

_GUARD: Final = threading.Lock()
_HELD: Final[dict[Path, tuple[IO[str], int]]] = {}
"""Locks of this process with their number of users: sink and reader share one engine."""


class StoreInUse(Exception):
    """Another process owns the store."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(
            f"the embedded store {path} is in use by {owner}; only one process can open it: "
            "stop that process, or query through it with `tidewatch sql`"
        )
        self.path = path
        self.owner = owner


class Ownership:
    """The right of this process to open the store at ``path``; counted, so several clients may hold it."""

    def __init__(self, path: Path, purpose: str) -> None:
        """Take it, or raise ``StoreInUse`` naming the owner; ``purpose`` is what others will be told."""
        self._path = path.resolve()
        self._released = False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _GUARD:
            if self._path in _HELD:
                file, users = _HELD[self._path]
                _HELD[self._path] = (file, users + 1)
                return
            _HELD[self._path] = (_take(self._path, purpose), 1)

    def release(self) -> None:
        with _GUARD:
            if self._released:
                return
            self._released = True
            file, users = _HELD[self._path]
            if users > 1:
                _HELD[self._path] = (file, users - 1)
                return
            del _HELD[self._path]
            file.close()

    def __enter__(self) -> Ownership:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_path(path: Path) -> Path:
    """The lock file of the store at ``path``."""
    return path.with_name(path.name + ".owner")


def _take(path: Path, purpose: str) -> IO[str]:
    descriptor = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _named(file.read())
        file.close()
        raise StoreInUse(path, owner) from None
    file.truncate(0)
    with contextlib.suppress(OSError):  # on a full disk the lock holds, and is without a name
        os.write(descriptor, json.dumps({"pid": os.getpid(), "purpose": purpose}).encode())
    return file


def _named(content: str) -> str:
    try:
        owner = json.loads(content)
        return f"process {int(owner['pid'])} ({owner['purpose']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
