"""Looking at DECIDE's checkpoint without owning it: read-only, so that the worker that owns it never notices."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from streams.config import Config
from streams.state import KEY_ENVIRONMENT, KEY_FILE, Checkpoint, StateError, StateTampered, decode, load_key
from streams.state_sqlite import LOCKED_SECS, STATE_FILE
from streams.state_topic import TopicStateStore

_NEXT: Final = "Start `tidewatch up` or `tidewatch worker detect` and wait for its first checkpoint"


class NoCheckpoint(StateError):
    """There is none to look at; says where it was looked for, and what to do."""


def peek(config: Config, state: Path | None = None) -> Checkpoint:
    """The newest checkpoint of the fleet that can be trusted.

    ``state``: the file of checkpoints, or the folder that has it, instead of the configured store.

    Raises:
        NoCheckpoint: there is none.
        StateError: it cannot be read, or none that is there can be trusted.
    """
    if state is None and config.checkpoint.store == "topic":
        return _of_topic(config)
    path = config.state_dir / STATE_FILE if state is None else state
    path = path / STATE_FILE if path.is_dir() else path
    if not path.is_file():
        raise NoCheckpoint(
            f"checkpoint {path}: got no such file; expected DECIDE's state. {_NEXT}, or name it"
        )
    key = _key(path.parent)
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCKED_SECS)
        ) as db:
            return _newest(db, path, config.fleet, key)
    except sqlite3.Error as error:
        raise StateError(
            f"checkpoint {path}: got {error}; expected DECIDE's state in SQLite, of this version. {_NEXT}"
        ) from error


def _newest(db: sqlite3.Connection, path: Path, fleet: str, key: bytes) -> Checkpoint:
    query = (
        "SELECT CAST(sealed AS BLOB) FROM checkpoints WHERE fleet = ? ORDER BY CAST(serial AS INTEGER) DESC"
    )
    refused = []
    for (sealed,) in db.execute(query, (fleet,)):
        try:
            return decode(sealed, fleet, key)
        except StateTampered as error:
            refused.append(str(error))
    if refused:
        raise StateError("; ".join(refused))
    others = [name for (name,) in db.execute("SELECT DISTINCT fleet FROM checkpoints ORDER BY fleet")]
    got = f"those of {', '.join(others)}" if others else "none"
    raise NoCheckpoint(
        f"checkpoint {path}: got {got}; expected one of fleet {fleet!r}. {_NEXT}, or set `fleet`"
    )


def _of_topic(config: Config) -> Checkpoint:
    async def load() -> Checkpoint:
        # Reading needs no claim, which alone would replace the owner.
        loaded = await TopicStateStore(config.kafka, config.fleet, _key(config.state_dir)).load()
        if loaded.checkpoint is None:
            why = "; ".join(loaded.refused) or f"topic: got no checkpoint of fleet {config.fleet!r}"
            raise NoCheckpoint(f"{why}. {_NEXT}")
        return loaded.checkpoint

    return asyncio.run(load())


def _key(state_dir: Path) -> bytes:
    """The key of the seals, which is never made here."""
    if KEY_ENVIRONMENT not in os.environ and not (state_dir / KEY_FILE).exists():
        raise NoCheckpoint(
            f"key {state_dir / KEY_FILE}: got no such file; expected the key that sealed the checkpoint. Name the "
            f"folder that has both, or set {KEY_ENVIRONMENT}"
        )
    return load_key(state_dir)
