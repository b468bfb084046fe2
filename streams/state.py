"""DECIDE's checkpoint: one snapshot at one position of one log, sealed so that nobody can slip in another.

The envelope is versioned MessagePack with an HMAC-SHA256 over everything else in it, checked before a byte of the
snapshot is decoded. Stores: ``state_sqlite`` (one host) and ``state_topic`` (a cluster); both refuse the save of an
owner that has been replaced.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

SCHEMA = 1
KEY_BYTES = 32
KEY_ENVIRONMENT = "TIDEWATCH_STATE_KEY_FILE"


class StateError(Exception):
    """A checkpoint that cannot be trusted, read or written."""


class StateTampered(StateError):
    """The seal does not fit: the bytes, the fleet or the key are not those of the save."""


class OwnerReplaced(StateError):
    """Another process has taken the fleet over; this one must not write any more."""


class Checkpoint(NamedTuple):
    """One snapshot."""

    position: int
    """Offset of the partials log that the snapshot is at: everything below it is in the snapshot."""
    log_id: str
    """Which log: the cluster's id. With another one the position means nothing."""
    state: bytes


class StateStore(Protocol):
    """Keeps the newest checkpoint of a fleet. One owner writes; claiming replaces the owner before."""

    async def claim(self) -> None:
        """Become the owner. Later saves of the previous owner fail with ``OwnerReplaced``."""

    async def load(self) -> Checkpoint | None:
        """The newest complete checkpoint, or None where there is none; after ``claim``.

        Raises:
            StateTampered: it is not what was saved.
        """

    async def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; returns when it is durable.

        Raises:
            OwnerReplaced: another process has claimed the fleet.
        """

    async def close(self) -> None: ...


class _Envelope(msgspec.Struct, array_like=True):
    schema: int
    fleet: str
    position: int
    log_id: str
    seal: bytes
    state: bytes


_DECODER = msgspec.msgpack.Decoder(_Envelope)


def encode(checkpoint: Checkpoint, fleet: str, key: bytes) -> bytes:
    """Seal a checkpoint."""
    seal = _seal(key, SCHEMA, fleet, checkpoint)
    return msgspec.msgpack.encode(
        _Envelope(SCHEMA, fleet, checkpoint.position, checkpoint.log_id, seal, checkpoint.state)
    )


def decode(data: bytes, fleet: str, key: bytes) -> Checkpoint:
    """Open a sealed checkpoint.

    Raises:
        StateTampered: the seal does not fit.
        StateError: a newer schema.
    """
    try:
        found = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise StateTampered(f"the checkpoint of fleet {fleet!r} is no checkpoint: {error}") from None
    checkpoint = Checkpoint(found.position, found.log_id, found.state)
    if found.fleet != fleet or not hmac.compare_digest(
        _seal(key, found.schema, fleet, checkpoint), found.seal
    ):
        raise StateTampered(
            f"the checkpoint of fleet {fleet!r} does not carry our seal; if the key was replaced on purpose, "
            "remove the checkpoint: baselines are then learnt again"
        )
    if found.schema != SCHEMA:
        raise StateError(f"the checkpoint has schema {found.schema}; this version reads {SCHEMA}")
    return checkpoint


def _seal(key: bytes, schema: int, fleet: str, checkpoint: Checkpoint) -> bytes:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    head = (schema, fleet, checkpoint.position, checkpoint.log_id, len(checkpoint.state))
    mac.update(msgspec.msgpack.encode(head))
    mac.update(checkpoint.state)
    return mac.digest()


def load_key(state_dir: Path) -> bytes:
    """The key of the seals: the file named by TIDEWATCH_STATE_KEY_FILE, else ``state.key`` in ``state_dir``.

    The latter is made at the first start, readable by its owner only.

    Raises:
        StateError: the file is missing (if named), too short, or readable by others.
    """
    named = os.environ.get(KEY_ENVIRONMENT)
    path = Path(named) if named else state_dir / "state.key"
    if not named:
        _make_key(path)
    try:
        key = path.read_bytes()
        readable = path.stat().st_mode & 0o077
    except OSError as error:
        raise StateError(f"cannot read the key file {path}: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise StateError(f"the key file {path} has {len(key)} bytes; at least {KEY_BYTES} are needed")
    if readable and not named:
        raise StateError(f"the key file {path} can be read by others; run: chmod 600 {path}")
    return key


def _make_key(path: Path) -> None:
    """Make the key file unless there is one; complete or not at all, and the first of several processes wins."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
