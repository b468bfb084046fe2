"""Checkpoints in a SQLite file: for one host.

An owner that is paused in the middle of a save holds SQLite's lock for as long as the pause lasts, and would keep
everybody from taking over. Whoever claims the fleet then goes on in a copy of the file, which takes its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from streams.faultpoints import faultpoint
from streams.state import (
    SLOTS,
    Checkpoint,
    Loaded,
    OwnerReplaced,
    StateError,
    StateTampered,
    StateUnavailable,
)
from streams.state import decode as open_seal
from streams.state import encode as seal

T = TypeVar("T")

STATE_FILE: Final = "state.sqlite"
"""Its name in ``state_dir``."""
_COLUMNS: Final = ("fleet", "slot", "serial", "sealed")
"""Of the table of checkpoints, in every version from 2 on: the version of a snapshot is told under its seal."""
_COLUMNS_1: Final = ("fleet", "position", "sealed")
_OWNER_COLUMNS: Final = ("fleet", "epoch")
_OWNERS: Final = "CREATE TABLE IF NOT EXISTS owners (fleet TEXT PRIMARY KEY, epoch INTEGER NOT NULL)"
_CHECKPOINTS: Final = (
    "CREATE TABLE checkpoints (fleet TEXT NOT NULL, slot INTEGER NOT NULL, serial INTEGER NOT NULL, "
    "sealed BLOB NOT NULL, PRIMARY KEY (fleet, slot))"
)
_FROM_1: Final = (
    "ALTER TABLE checkpoints RENAME TO checkpoints_1",
    _CHECKPOINTS,
    "INSERT INTO checkpoints SELECT fleet, 0, 1, sealed FROM checkpoints_1",
    "DROP TABLE checkpoints_1",
)


LOCKED_SECS: Final = 3.0
"""How long a lock is waited for; a save holds it for milliseconds."""
_LOG_HEAD_BYTES: Final = 32

_PASSES: Final = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
    }
)
"""Result codes of a store that cannot be used at present."""


class _Damaged(Exception):
    """The file is no database, or a torn one."""


class SqliteStateStore:
    """The owner's epoch is raised at every claim and checked in the transaction that saves.

    A file that is damaged is set aside under another name and a new one begun. SQLite runs in a thread of its own:
    a slow disk does not hold the event loop.
    """

    def __init__(self, path: Path, fleet: str, key: bytes) -> None:
        self._path = path
        self._fleet = fleet
        self._key = key
        self._epoch: int | None = None
        self._slot = SLOTS[0]
        """Where the next save goes."""
        self._serial = 0
        self._set_aside: list[str] = []
        self._connection: sqlite3.Connection | None = None
        self._file = 0
        """The inode of the file that the connection is to."""
        self.steps = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")

    async def claim(self) -> None:
        await self._run(self._claim)

    async def load(self) -> Loaded:
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
            kind = StateUnavailable if _code_of(error) in _PASSES else StateError
            raise kind(f"{self._path}: {error}") from error
        except OSError as error:
            raise StateUnavailable(f"{self._path}: {error.strerror}") from error

    def _claim(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            try:
                self._open_and_claim()
            except sqlite3.OperationalError as error:
                if _code_of(error) != sqlite3.SQLITE_BUSY:
                    raise
                self._go_on_in_a_copy()
                self._open_and_claim()
        except _Damaged as damage:
            self._put_aside(damage)
            self._open_and_claim()

    def _open_and_claim(self) -> None:
        try:
            connection = self._open()
            # Not just one more than before: who is paused in a claim may believe in that one later.
            (self._epoch,) = connection.execute(
                "INSERT INTO owners VALUES (?1, ?2) "
                "ON CONFLICT DO UPDATE SET epoch = max(epoch + 1, ?2) RETURNING epoch",
                (self._fleet, time.time_ns()),
            ).fetchone()
        except UnicodeDecodeError as error:  # Python cannot read what SQLite quotes from the file
            raise _Damaged("its tables cannot be read") from error
        except sqlite3.DatabaseError as error:
            if self._is_damage(error):
                raise _Damaged(str(error)) from error
            raise

    def _open(self) -> sqlite3.Connection:
        """A connection to the file that has the name now."""
        if self._connection is not None and self._file != self._inode():
            self._close()
        if self._connection is None:
            before = self._inode()  # a file that is replaced from here on is opened again
            connection = sqlite3.connect(self._path, timeout=LOCKED_SECS, isolation_level=None)
            self._connection = connection
            self._file = before or self._inode()
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise _Damaged(found)
            self._make_tables(connection)
        return self._connection

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        """Make what is missing, and take over version 1's."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(_OWNERS)
            columns = _columns_of(connection, "checkpoints")
            if (
                columns not in ((), _COLUMNS, _COLUMNS_1)
                or _columns_of(connection, "owners") != _OWNER_COLUMNS
            ):
                raise _Damaged("its tables are not those of checkpoints")
            if columns != _COLUMNS:
                for statement in _FROM_1 if columns else (_CHECKPOINTS,):
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _is_damage(self, error: sqlite3.DatabaseError) -> bool:
        """Whether the file is at fault: nothing but a changed byte of it refuses what every owner does first."""
        code = _code_of(error)
        if code == sqlite3.SQLITE_READONLY:  # the head of the file can say so, too
            return os.access(self._path, os.W_OK)
        return code not in _PASSES

    def _inode(self) -> int:
        """Of the file that has the name; 0 if none has."""
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return 0

    def _go_on_in_a_copy(self) -> None:
        """Leave the file to whoever holds its lock, and may hold it for ever.

        What its holder still saves is not seen any more; it finds that when it looks at the name, and the log of
        partials has the rest. If we end on the way, the file is whole, or is refused as damaged.
        """
        self._close()
        copy = self._path.with_name(f"{self._path.name}.copy")
        try:
            self._copy_bytes(copy)
            with contextlib.closing(sqlite3.connect(copy, timeout=LOCKED_SECS)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # its log becomes part of it
        except sqlite3.DatabaseError as error:
            if self._is_damage(error):
                raise _Damaged(str(error)) from error
            raise
        _sync(copy)
        _remove_log(self._path)  # first: it would be applied to the copy
        copy.replace(self._path)
        _sync(self._path.parent)

    def _copy_bytes(self, copy: Path) -> None:
        """The file and its log, past the locks: even reading may be locked, at the end of a connection.

        Pages that move from the log to the file on the way are in both. It is begun again if the log is: then
        some may be in neither.
        """
        log = _log_of(self._path)
        while True:
            _remove_log(copy)
            before = _head_of(log)
            shutil.copyfile(self._path, copy)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(log, _log_of(copy))
            if _head_of(log) == before:
                return

    def _put_aside(self, damage: Exception) -> None:
        """The file under another name; its log and shared memory are of no use without it."""
        self._close()
        moved = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        self._path.rename(moved)
        _remove_log(self._path)
        self._set_aside.append(f"{self._path} was damaged ({damage}) and is now {moved.name}")

    def _load(self) -> Loaded:
        try:
            return self._read()
        except sqlite3.DatabaseError as error:  # the check at the opening does not see everything
            if not self._is_damage(error):
                raise
            self._put_aside(error)
            self._open_and_claim()
            return Loaded(None, tuple(self._set_aside))

    def _read(self) -> Loaded:
        connection = self._open()
        query = (
            "SELECT slot, CAST(serial AS INTEGER) FROM checkpoints "
            "WHERE fleet = ? AND slot IN (0, 1) ORDER BY 2 DESC"
        )
        found = connection.execute(query, (self._fleet,)).fetchall()
        self._serial = max((serial for _, serial in found), default=0)
        refused = list(self._set_aside)
        for slot, _ in found:
            query = "SELECT CAST(sealed AS BLOB) FROM checkpoints WHERE fleet = ? AND slot = ?"
            (sealed,) = connection.execute(query, (self._fleet, slot)).fetchone()
            self.steps += 1
            try:
                checkpoint = open_seal(sealed, self._fleet, self._key)
            except StateTampered as error:
                refused.append(str(error))
                continue
            self._slot = next(other for other in SLOTS if other != slot)
            return Loaded(checkpoint, tuple(refused))
        return Loaded(None, tuple(refused))

    def _save(self, checkpoint: Checkpoint) -> None:
        try:
            self._write(checkpoint)
        except sqlite3.DatabaseError as error:
            if not self._is_damage(error):
                raise
            # Whoever starts next begins a new file: nobody can save in this one.
            self._put_aside(error)
            raise StateError(self._set_aside[-1]) from error

    def _write(self, checkpoint: Checkpoint) -> None:
        sealed = seal(checkpoint, self._fleet, self._key)
        while True:
            self._insert(self._open(), sealed)
            if self._file == self._inode():
                break
            # Replaced meanwhile: nobody will find it there. The new file says whose the fleet is.
        self._serial += 1
        self._slot = next(other for other in SLOTS if other != self._slot)

    def _insert(self, connection: sqlite3.Connection, sealed: bytes) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            row = connection.execute("SELECT epoch FROM owners WHERE fleet = ?", (self._fleet,)).fetchone()
            if row is None or row[0] != self._epoch:
                raise OwnerReplaced(f"another process has taken fleet {self._fleet!r} over")
            connection.execute(
                "INSERT INTO checkpoints VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET serial = excluded.serial, sealed = excluded.sealed",
                (self._fleet, self._slot, self._serial + 1, sealed),
            )
            faultpoint("sqlite.in-transaction")
            connection.execute("COMMIT")
            faultpoint("sqlite.committed")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _log_of(path: Path) -> Path:
    """SQLite's write-ahead log of a file."""
    return path.with_name(f"{path.name}-wal")


def _head_of(log: Path) -> bytes:
    """Differs whenever the log begins anew; empty if there is none."""
    try:
        with log.open("rb") as file:
            return file.read(_LOG_HEAD_BYTES)
    except FileNotFoundError:
        return b""


def _remove_log(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Return when what is written of a file, or the names of a folder, would outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _columns_of(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))


def _code_of(error: sqlite3.Error) -> int:
    """The primary result code."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
