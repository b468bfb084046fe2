"""The seal of checkpoints, its key, and the SQLite store."""

from __future__ import annotations

import hmac
import os
import stat
from pathlib import Path

import msgspec
import pytest

from streams import state
from streams.state import (
    Checkpoint,
    Loaded,
    OwnerReplaced,
    StateError,
    StateNewer,
    StateTampered,
    decode,
    encode,
    load_key,
)
from streams.state_sqlite import SqliteStateStore

KEY = b"k" * 32
CHECKPOINT = Checkpoint(position=4711, log_id="cluster-1", state=bytes(range(256)) * 8, mark=b"m" * 16)


def test_a_sealed_checkpoint_opens_as_it_was() -> None:
    assert decode(encode(CHECKPOINT, "fleet", KEY), "fleet", KEY) == CHECKPOINT


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_change_of_any_byte_is_refused(flip: int) -> None:
    sealed = encode(CHECKPOINT._replace(state=b"state of little length"), "fleet", KEY)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= flip
        with pytest.raises(StateTampered):
            decode(bytes(changed), "fleet", KEY)


def test_any_truncation_or_addition_is_refused() -> None:
    sealed = encode(CHECKPOINT, "fleet", KEY)
    for length in [*range(100), *range(100, len(sealed), 97)]:
        with pytest.raises(StateTampered):
            decode(sealed[:length], "fleet", KEY)
    with pytest.raises(StateTampered):
        decode(sealed + b"\x00", "fleet", KEY)


@pytest.mark.parametrize(("fleet", "key"), [("other", KEY), ("fleet", b"K" + KEY[1:])])
def test_a_checkpoint_of_another_fleet_or_key_is_refused(fleet: str, key: bytes) -> None:
    with pytest.raises(StateTampered):
        decode(encode(CHECKPOINT, "fleet", KEY), fleet, key)


def test_parts_of_two_checkpoints_do_not_mix() -> None:
    """Neither the position nor the log of one sealed checkpoint fits the state of another."""
    fields = msgspec.msgpack.decode(encode(CHECKPOINT, "fleet", KEY))
    later = msgspec.msgpack.decode(encode(Checkpoint(9999, "cluster-2", b"later"), "fleet", KEY))
    for index in range(len(fields)):
        mixed = [*fields[:index], later[index], *fields[index + 1 :]]
        if mixed != fields:
            with pytest.raises(StateTampered):
                decode(msgspec.msgpack.encode(mixed), "fleet", KEY)


def test_a_newer_form_is_named_and_only_if_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SCHEMA", 4)
    sealed = encode(CHECKPOINT, "fleet", KEY)
    monkeypatch.undo()
    with pytest.raises(StateNewer, match=r"got form 4; expected 3 or lower.*use that version"):
        decode(sealed, "fleet", KEY)
    fields = msgspec.msgpack.decode(encode(CHECKPOINT, "fleet", KEY))
    with pytest.raises(StateTampered):  # nobody can stop us by claiming to be newer
        decode(msgspec.msgpack.encode([4, *fields[1:]]), "fleet", KEY)


def test_a_snapshot_that_is_not_compressed_is_read() -> None:
    """Form 2's."""
    _, head, _, _ = msgspec.msgpack.decode(encode(CHECKPOINT, "fleet", KEY))
    signed = msgspec.msgpack.encode((2, head, len(CHECKPOINT.state))) + CHECKPOINT.state
    seal = hmac.digest(KEY, signed, "sha256")
    older = msgspec.msgpack.encode([2, head, seal, CHECKPOINT.state])
    assert decode(older, "fleet", KEY) == CHECKPOINT


def test_zeros_take_no_room() -> None:
    large = CHECKPOINT._replace(state=bytes(1_000_000))
    sealed = encode(large, "fleet", KEY)
    assert len(sealed) < 10_000
    assert decode(sealed, "fleet", KEY) == large


def test_another_key_is_named_as_such() -> None:
    with pytest.raises(StateTampered, match=r"another key sealed it .*TIDEWATCH_STATE_KEY_FILE"):
        decode(encode(CHECKPOINT, "fleet", KEY), "fleet", b"K" * 32)


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(state.KEY_ENVIRONMENT, raising=False)
    key = load_key(tmp_path / "new")
    assert len(key) == 32
    assert load_key(tmp_path / "new") == key
    assert stat.S_IMODE(os.stat(tmp_path / "new" / "state.key").st_mode) == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state.key"]


def test_a_key_that_others_can_read_or_that_is_short_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(state.KEY_ENVIRONMENT, raising=False)
    load_key(tmp_path)
    (tmp_path / "state.key").chmod(0o640)
    with pytest.raises(StateError, match=r"got mode 0640.*expected 0600.*chmod 600"):
        load_key(tmp_path)
    short = tmp_path / "short"
    short.write_bytes(b"x" * 31)
    short.chmod(0o600)
    monkeypatch.setenv(state.KEY_ENVIRONMENT, str(short))
    with pytest.raises(StateError, match="got 31 bytes; expected 32"):
        load_key(tmp_path)
    monkeypatch.setenv(state.KEY_ENVIRONMENT, str(tmp_path / "nowhere"))
    with pytest.raises(StateError, match="No such file"):
        load_key(tmp_path)
    assert not (tmp_path / "nowhere").exists(), "a key that was named is not made up"
    short.write_bytes(b"x" * 32)
    monkeypatch.setenv(state.KEY_ENVIRONMENT, str(short))
    assert load_key(tmp_path) == b"x" * 32


async def test_the_newest_save_is_loaded_and_fleets_are_apart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.sqlite"
    one, two = SqliteStateStore(path, "one", KEY), SqliteStateStore(path, "two", KEY)
    await one.claim()
    await two.claim()
    assert await one.load() == Loaded(None)
    await one.save(CHECKPOINT)
    await one.save(CHECKPOINT._replace(position=5000, state=b"newer"))
    assert await two.load() == Loaded(None)
    await one.close()
    again = SqliteStateStore(path, "one", KEY)
    await again.claim()
    assert await again.load() == Loaded(CHECKPOINT._replace(position=5000, state=b"newer"))
    await again.close()
    await two.close()


async def test_an_owner_that_was_replaced_cannot_save(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    zombie, owner = SqliteStateStore(path, "fleet", KEY), SqliteStateStore(path, "fleet", KEY)
    await zombie.claim()
    await zombie.save(CHECKPOINT)
    await owner.claim()
    assert await owner.load() == Loaded(CHECKPOINT)
    with pytest.raises(OwnerReplaced):
        await zombie.save(CHECKPOINT._replace(position=1))
    assert await owner.load() == Loaded(CHECKPOINT)
    await owner.save(CHECKPOINT._replace(position=5000))
    with pytest.raises(OwnerReplaced):
        await zombie.save(CHECKPOINT._replace(position=2))
    found = (await owner.load()).checkpoint
    assert found is not None
    assert found.position == 5000
    await zombie.close()
    await owner.close()


async def test_a_save_without_a_claim_is_refused(tmp_path: Path) -> None:
    store = SqliteStateStore(tmp_path / "state.sqlite", "fleet", KEY)
    with pytest.raises(OwnerReplaced):
        await store.save(CHECKPOINT)
    await store.close()
