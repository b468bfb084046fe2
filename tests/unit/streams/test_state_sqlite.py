"""The SQLite store under damage: what is not what was saved is refused, and the snapshot before is taken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import random
import sqlite3
import threading
from pathlib import Path

import pytest

from streams import state_sqlite
from streams.state import Checkpoint, Loaded, OwnerReplaced, StateError, StateNewer, encode
from streams.state_sqlite import SqliteStateStore

KEY = b"k" * 32
FIRST = Checkpoint(4000, "cluster-1", random.Random(1).randbytes(15_000), b"1" * 16)
SECOND = Checkpoint(5000, "cluster-1", random.Random(2).randbytes(15_000), b"2" * 16)


class _Bomb:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


async def reopened(path: Path) -> Loaded:
    """What the next owner finds; it can save."""
    store = SqliteStateStore(path, "fleet", KEY)
    try:
        await store.claim()
        found = await store.load()
        await store.save(SECOND._replace(position=6000))
        assert (await store.load()).checkpoint == SECOND._replace(position=6000)
        return found
    finally:
        await store.close()


async def saved(path: Path) -> Path:
    """A file with two snapshots."""
    store = SqliteStateStore(path, "fleet", KEY)
    await store.claim()
    await store.save(FIRST)
    await store.save(SECOND)
    await store.close()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def change_in(connection: sqlite3.Connection, statement: str) -> None:
    assert connection.execute(statement).rowcount > 0


async def test_the_snapshot_before_is_taken_when_the_newest_was_changed(tmp_path: Path) -> None:
    path = await saved(tmp_path / "state.sqlite")
    for statement in (
        "UPDATE checkpoints SET sealed = zeroblob(1000) WHERE slot = 1",
        "UPDATE checkpoints SET sealed = 'no blob' WHERE slot = 1",
        "UPDATE checkpoints SET sealed = substr(sealed, 1, 5000) WHERE slot = 1",
        "UPDATE checkpoints SET sealed = CAST(sealed || x'00' AS BLOB) WHERE slot = 1",
    ):
        copy = tmp_path / "copy.sqlite"
        copy.write_bytes(path.read_bytes())
        change(copy, statement)
        found = await reopened(copy)
        assert found.checkpoint == FIRST, statement
        assert len(found.refused) == 1


async def test_both_changed_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    path = await saved(tmp_path / "state.sqlite")
    bomb = pickle.dumps(_Bomb(tmp_path / "ran"))
    change(path, "UPDATE checkpoints SET sealed = ?", bomb)
    found = await reopened(path)
    assert found.checkpoint is None
    assert len(found.refused) == 2
    assert "ran" not in os.listdir(tmp_path)


async def test_rows_that_no_store_wrote_do_no_harm(tmp_path: Path) -> None:
    path = await saved(tmp_path / "state.sqlite")
    change(path, "INSERT INTO checkpoints VALUES ('fleet', 7, 99, x'00')")
    change(path, "UPDATE checkpoints SET serial = 'many' WHERE slot = 0")
    change(path, "UPDATE owners SET epoch = 'me'")
    assert await reopened(path) == Loaded(SECOND)


@pytest.mark.parametrize("where", ["middle of the pages", "first page", "length"])
async def test_a_torn_file_is_set_aside_and_another_begun(tmp_path: Path, where: str) -> None:
    path = await saved(tmp_path / "state.sqlite")
    data = bytearray(path.read_bytes())
    if where == "length":
        data = data[: len(data) // 2]
    else:
        at = 0 if where == "first page" else 4096
        data[at : at + 4096] = random.Random(1).randbytes(4096)
    path.write_bytes(data)
    found = await reopened(path)
    assert found.checkpoint is None
    assert "was damaged" in found.refused[0]
    (aside,) = (name for name in os.listdir(tmp_path) if ".damaged-" in name)
    assert (tmp_path / aside).read_bytes()[:100] == bytes(data[:100])
    assert (await reopened(path)).checkpoint == SECOND._replace(position=6000)


async def test_a_file_with_other_tables_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    change(path, "CREATE TABLE checkpoints (anything)")
    found = await reopened(path)
    assert found.checkpoint is None
    assert "its tables are not those" in found.refused[0]


async def test_a_torn_write_ahead_log_gives_an_older_whole_snapshot(tmp_path: Path) -> None:
    """A crash can leave any beginning of the log; what is in the file is one of the saves, or none."""
    path = tmp_path / "live" / "state.sqlite"
    store = SqliteStateStore(path, "fleet", KEY)
    await store.claim()
    await store.save(FIRST)
    await store.save(SECOND)
    main, wal = path.read_bytes(), path.with_name("state.sqlite-wal").read_bytes()
    await store.close()
    outcomes = set()
    for number, length in enumerate(sorted({0, 31, len(wal), *range(500, len(wal), len(wal) // 12)})):
        copy = tmp_path / f"{number}.sqlite"
        copy.write_bytes(main)
        copy.with_name(copy.name + "-wal").write_bytes(wal[:length])
        found = await reopened(copy)
        assert found.checkpoint in (None, FIRST, SECOND)
        assert found.refused == ()
        outcomes.add(found.checkpoint)
    assert outcomes == {None, FIRST, SECOND}


async def test_flipped_bits_anywhere_in_the_file_never_pass_for_a_snapshot(tmp_path: Path) -> None:
    data = (await saved(tmp_path / "state.sqlite")).read_bytes()
    rng = random.Random(5)
    for number in range(120):
        changed = bytearray(data)
        changed[rng.randrange(len(data)) if number > 100 else number] ^= 1 << rng.randrange(8)
        copy = tmp_path / f"{number}" / "state.sqlite"
        copy.parent.mkdir()
        copy.write_bytes(changed)
        assert (await reopened(copy)).checkpoint in (None, FIRST, SECOND)


async def test_the_file_of_version_1_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    change(path, "CREATE TABLE owners (fleet TEXT PRIMARY KEY, epoch INTEGER NOT NULL)")
    change(
        path,
        "CREATE TABLE checkpoints (fleet TEXT PRIMARY KEY, position INTEGER NOT NULL, sealed BLOB NOT NULL)",
    )
    change(path, "INSERT INTO checkpoints VALUES ('fleet', 5000, ?)", encode(SECOND, "fleet", KEY))
    assert await reopened(path) == Loaded(SECOND)


async def test_a_newer_programs_snapshot_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await saved(tmp_path / "state.sqlite")
    monkeypatch.setattr("streams.state.SCHEMA", 4)
    newer = encode(SECOND._replace(position=7000), "fleet", KEY)
    monkeypatch.undo()
    change(path, "UPDATE checkpoints SET sealed = ?, serial = 9 WHERE slot = 0", newer)
    store = SqliteStateStore(path, "fleet", KEY)
    await store.claim()
    with pytest.raises(StateNewer, match="use that version"):
        await store.load()
    await store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT sealed FROM checkpoints WHERE slot = 0").fetchone() == (newer,)
    connection.close()


async def test_a_damage_that_only_a_save_meets_ends_with_a_new_file(tmp_path: Path) -> None:
    path = await saved(tmp_path / "state.sqlite")
    store = SqliteStateStore(path, "fleet", KEY)
    await store.claim()
    await store.load()
    connection = store._connection
    assert connection is not None
    await store._run(lambda: connection.execute("PRAGMA writable_schema = ON"))
    await store._run(
        lambda: connection.execute("UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'owners'")
    )
    await store._run(lambda: connection.execute("PRAGMA writable_schema = RESET"))
    with pytest.raises(StateError, match="was damaged"):
        await store.save(SECOND)
    await store.close()
    assert await reopened(path) == Loaded(None)


@pytest.mark.parametrize("saves_anew", [True, False])
async def test_an_owner_that_is_paused_in_a_save_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves_anew: bool
) -> None:
    """Its save ends when another has taken over: it is told so, and what it saved is not there."""
    path = await saved(tmp_path / "state.sqlite")
    paused, go_on = threading.Event(), threading.Event()

    def pause(name: str) -> None:
        if name == "sqlite.in-transaction" and not paused.is_set():
            paused.set()
            go_on.wait(30)

    monkeypatch.setattr(state_sqlite, "faultpoint", pause)
    monkeypatch.setattr(state_sqlite, "LOCKED_SECS", 0.3)
    zombie, owner = (SqliteStateStore(path, "fleet", KEY) for _ in range(2))
    await zombie.claim()
    saving = asyncio.create_task(zombie.save(SECOND._replace(position=5500)))
    await asyncio.to_thread(paused.wait, 30)
    await owner.claim()
    assert (await owner.load()).checkpoint == SECOND
    if saves_anew:
        await owner.save(SECOND._replace(position=7000))
    go_on.set()
    with pytest.raises(OwnerReplaced):
        await saving
    with pytest.raises(OwnerReplaced):
        await zombie.save(SECOND._replace(position=5600))
    await zombie.close()
    # The end of the zombie has not touched what is the owner's.
    await owner.save(SECOND._replace(position=8000))
    await owner.close()
    found = await reopened(path)
    assert found == Loaded(SECOND._replace(position=8000), ())
    assert names(tmp_path) == ["state.sqlite"]


async def test_another_fleet_in_the_same_file_goes_on_in_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sqlite, "LOCKED_SECS", 0.3)
    path = tmp_path / "state.sqlite"
    other, owner = SqliteStateStore(path, "other", KEY), SqliteStateStore(path, "fleet", KEY)
    await other.claim()
    await other.save(FIRST)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        await owner.claim()
    await owner.save(SECOND)
    await other.save(SECOND)
    for store, fleet in ((other, "other"), (owner, "fleet")):
        await store.close()
        again = SqliteStateStore(path, fleet, KEY)
        await again.claim()
        assert (await again.load()).checkpoint == SECOND
        await again.close()


async def test_a_file_that_cannot_even_be_read_is_left_to_whoever_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of one that is paused while its connection ends, when SQLite locks readers out, too."""
    monkeypatch.setattr(state_sqlite, "LOCKED_SECS", 0.3)
    path = await saved(tmp_path / "state.sqlite")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        change_in(holder, "UPDATE checkpoints SET serial = serial + 10")
        reader = sqlite3.connect(path, timeout=0.1)
        with contextlib.closing(reader), pytest.raises(sqlite3.OperationalError, match="locked"):
            reader.execute("SELECT * FROM owners")
        store = SqliteStateStore(path, "fleet", KEY)
        await store.claim()
        assert await store.load() == Loaded(SECOND, ())
    await store.save(SECOND._replace(position=6000))
    await store.close()
    assert (await reopened(path)).checkpoint == SECOND._replace(position=6000)


async def test_who_was_paused_in_a_claim_is_not_taken_for_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sqlite, "LOCKED_SECS", 0.3)
    path = await saved(tmp_path / "state.sqlite")
    zombie, owner = (SqliteStateStore(path, "fleet", KEY) for _ in range(2))
    await zombie.claim()
    # As if the claim had not reached the file yet.
    change(path, "UPDATE owners SET epoch = epoch - 1")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        await owner.claim()
    with pytest.raises(OwnerReplaced):
        await zombie.save(FIRST)
    await owner.save(SECOND)
    for store in (zombie, owner):
        await store.close()
