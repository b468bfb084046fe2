"""DECIDE's checkpoint: one snapshot at one position of one log, sealed so that nobody can slip in another.

The envelope is MessagePack with an HMAC-SHA256 over everything else in it, checked before a byte of the snapshot
is decoded. The rule of the seal is the same in every version from 2 on, so that a program can tell the snapshot of
a newer one, which it must leave alone, from one that was changed, which it must not believe. From version 3 on the
snapshot in it is compressed: half of a fleet's is zeros of what was never judged.

Stores keep the last two snapshots: ``state_sqlite`` (one host) and ``state_topic`` (a cluster). Both refuse the
save of an owner that has been replaced. When the newest snapshot cannot be trusted, the one before it gives the
same results, because the log is read again from there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import zstandard

from streams.keys import KeyFileError, given_key, made_key

SCHEMA = 3
_COMPRESSED = 3
"""The first version that compresses the snapshot."""
_LEVEL = 1
"""Of zstd: higher ones take twice the time for a fifteenth less."""
KEY_BYTES = 32
KEY_ENVIRONMENT = "TIDEWATCH_STATE_KEY_FILE"
KEY_FILE = "state.key"
"""Its name in ``state_dir``."""
SLOTS = (0, 1)
"""Where a store keeps the last two snapshots, in turn."""


class StateError(Exception):
    """A checkpoint that cannot be read or written."""


class StateTampered(StateError):
    """The seal does not fit: the bytes, the fleet or the key are not those of the save."""


class StateNewer(StateError):
    """Sealed by us and written by a newer program: to be left as it is."""


class StateUnavailable(StateError):
    """The store cannot be read or written at present, because of a full disk for one; later it may."""


class OwnerReplaced(StateError):
    """Another process has taken the fleet over; this one must not write any more."""


class Checkpoint(NamedTuple):
    """One snapshot."""

    position: int
    """Offset of the partials log that the snapshot is at: everything below it is in the snapshot."""
    log_id: str
    """Which log: the cluster's id. With another one the position means nothing."""
    state: bytes
    mark: bytes = b""
    """``mark_of`` the record before the position, by which the log is recognised; empty if there is none."""


class Loaded(NamedTuple):
    """What a store holds."""

    checkpoint: Checkpoint | None
    """The newest that can be trusted."""
    refused: tuple[str, ...] = ()
    """One sentence for each newer one that cannot, and for a store that had to be set aside."""


class StateStore(Protocol):
    """Keeps the newest two checkpoints of a fleet. One owner writes; claiming replaces the owner before."""

    steps: int
    """Grows while ``claim`` and ``load`` get on; for the watchdog."""

    async def claim(self) -> None:
        """Become the owner. Later saves of the previous owner fail with ``OwnerReplaced``."""

    async def load(self) -> Loaded:
        """The newest checkpoint that can be trusted; after ``claim``.

        Raises:
            StateNewer: the newest is a newer program's.
            StateError: the store cannot be read at present.
        """

    async def save(self, checkpoint: Checkpoint) -> None:
        """Replace the older of the two; returns when it is durable.

        Raises:
            OwnerReplaced: another process has claimed the fleet.
            StateUnavailable: nothing is saved; what was saved before is still there.
        """

    async def close(self) -> None: ...


class _Head(msgspec.Struct, array_like=True):
    """What the snapshot is of; later versions may add fields at the end."""

    fleet: str
    position: int
    log_id: str
    mark: bytes
    key_id: bytes


class _Envelope(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    schema: int
    head: bytes
    seal: bytes
    state: bytes


class _Envelope1(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Version 0.1.0's."""

    schema: int
    fleet: str
    position: int
    log_id: str
    seal: bytes
    state: bytes


def mark_of(value: bytes | None) -> bytes:
    """A short hash of a record's value."""
    return hashlib.blake2b(value or b"", digest_size=16).digest()


def encode(checkpoint: Checkpoint, fleet: str, key: bytes) -> bytes:
    """Seal a checkpoint."""
    position, log_id, state, mark = checkpoint
    head = msgspec.msgpack.encode(_Head(fleet, position, log_id, mark, _key_id(key)))
    packed = zstandard.compress(state, _LEVEL)
    seal = _seal(key, SCHEMA, head, packed)
    return msgspec.msgpack.encode(_Envelope(SCHEMA, head, seal, packed))


def decode(data: bytes, fleet: str, key: bytes) -> Checkpoint:
    """Open a sealed checkpoint.

    Raises:
        StateTampered: the seal does not fit.
        StateNewer: it fits, and the form is a newer one.
    """
    try:
        found = msgspec.msgpack.decode(data, type=_Envelope)
        head = msgspec.msgpack.decode(found.head, type=_Head)
    except (msgspec.MsgspecError, ValueError):
        return _decode_1(data, fleet, key)
    if not hmac.compare_digest(_seal(key, found.schema, found.head, found.state), found.seal):
        if head.key_id != _key_id(key):
            raise StateTampered(
                f"the checkpoint of fleet {fleet!r} says that another key sealed it ({head.key_id.hex()}; ours is "
                f"{_key_id(key).hex()}). All detect workers of a fleet need one key, also over restarts: see "
                f"{KEY_ENVIRONMENT}"
            )
        raise StateTampered(f"the checkpoint of fleet {fleet!r} does not carry our seal: it was changed")
    if found.schema > SCHEMA:
        raise StateNewer(
            f"the checkpoint of fleet {fleet!r}: got form {found.schema}; expected {SCHEMA} or lower. A newer "
            "Tidewatch wrote it: use that version"
        )
    if head.fleet != fleet:
        raise StateTampered(f"the checkpoint of fleet {fleet!r} is that of fleet {head.fleet!r}")
    state = found.state if found.schema < _COMPRESSED else zstandard.decompress(found.state)
    return Checkpoint(head.position, head.log_id, state, head.mark)


def _seal(key: bytes, schema: int, head: bytes, state: bytes) -> bytes:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    mac.update(msgspec.msgpack.encode((schema, head, len(state))))
    mac.update(state)
    return mac.digest()


def _key_id(key: bytes) -> bytes:
    """Tells keys apart without telling anything about them."""
    return hmac.digest(key, b"tidewatch.state.key-id", "sha256")[:4]


def _decode_1(data: bytes, fleet: str, key: bytes) -> Checkpoint:
    try:
        found = msgspec.msgpack.decode(data, type=_Envelope1)
    except (msgspec.MsgspecError, ValueError) as error:
        raise StateTampered(f"the checkpoint of fleet {fleet!r} is no checkpoint: {error}") from None
    mac = hmac.new(key, digestmod=hashlib.sha256)
    mac.update(msgspec.msgpack.encode((found.schema, fleet, found.position, found.log_id, len(found.state))))
    mac.update(found.state)
    if found.schema != 1 or found.fleet != fleet or not hmac.compare_digest(mac.digest(), found.seal):
        raise StateTampered(
            f"the checkpoint of fleet {fleet!r} does not carry our seal: it was changed, or another key sealed it"
        )
    return Checkpoint(found.position, found.log_id, found.state)


def load_key(state_dir: Path) -> bytes:
    """The key of the seals: the file named by TIDEWATCH_STATE_KEY_FILE, else ``state.key`` in ``state_dir``.

    The latter is made at the first start, readable by its owner only.

    Raises:
        StateError: the file is missing (if named), too short, or readable by others.
    """
    named = os.environ.get(KEY_ENVIRONMENT)
    path = Path(named) if named else state_dir / KEY_FILE
    try:
        key = given_key(path) if named else made_key(path, secrets.token_bytes(KEY_BYTES))
    except KeyFileError as error:
        raise StateError(str(error)) from error
    if len(key) < KEY_BYTES:
        raise StateError(
            f"key file {path}: got {len(key)} bytes; expected {KEY_BYTES} or more. Restore the key, or remove the "
            "file: checkpoints are then refused once, and the state is rebuilt from the log"
        )
    return key
