"""Checkpoints in a SQLite file: for one host."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from streams.state import Checkpoint, OwnerReplaced, StateError, decode, encode

T = TypeVar("T")

_TABLES = """
CREATE TABLE IF NOT EXISTS owners (fleet TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoints (fleet TEXT PRIMARY KEY, position INTEGER NOT NULL, sealed BLOB NOT NULL);
"""


class SqliteStateStore:
    """The owner's epoch is raised at every claim and checked in the transaction that saves.

    SQLite runs in a thread of its own: a slow disk does not hold the event loop.
    """

    def __init__(self, path: Path, fleet: str, key: bytes) -> None:
        self._path = path
        self._fleet = fleet
        self._key = key
        self._epoch: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")

    async def claim(self) -> None:
        await self._run(self._claim)

    async def load(self) -> Checkpoint | None:
        return await self._run(self._load)

    async def save(self, checkpoint: Checkpoint) -> None:
        await self._run(lambda: self._save(checkpoint))

    async def close(self) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise StateError(f"{self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_TABLES)
            self._connection = connection
        return self._connection

    def _claim(self) -> None:
        (self._epoch,) = (
            self._open()
            .execute(
                "INSERT INTO owners VALUES (?, 1) ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
                (self._fleet,),
            )
            .fetchone()
        )

    def _load(self) -> Checkpoint | None:
        query = "SELECT sealed FROM checkpoints WHERE fleet = ?"
        row = self._open().execute(query, (self._fleet,)).fetchone()
        return None if row is None else decode(row[0], self._fleet, self._key)

    def _save(self, checkpoint: Checkpoint) -> None:
        sealed = encode(checkpoint, self._fleet, self._key)
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            row = connection.execute("SELECT epoch FROM owners WHERE fleet = ?", (self._fleet,)).fetchone()
            if row is None or row[0] != self._epoch:
                raise OwnerReplaced(f"another process has taken fleet {self._fleet!r} over")
            connection.execute(
                "INSERT INTO checkpoints VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET position = excluded.position, sealed = excluded.sealed",
                (self._fleet, checkpoint.position, sealed),
            )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
