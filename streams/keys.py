"""Keys in files: made at the first start for their owner alone, or given by the user.

Two of them: the key that seals checkpoints (32 random bytes) and the master key of user pseudonyms (a line of
text). A key that is made is never replaced, and a given one is only read.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sinks.credentials import CredentialError, require_private


class KeyFileError(Exception):
    """A key cannot be used; says which file, what it is, what is expected and what to do."""


def made_key(path: Path, fresh: bytes) -> bytes:
    """The key in ``path``, which is made of ``fresh`` unless it is there.

    Raises:
        KeyFileError: it can be read by others than its owner, or not at all.
    """
    if not path.exists():
        _make(path, fresh)
    if (mode := _mode(path)) & 0o077:
        raise KeyFileError(
            f"key file {path}: got mode {mode:04o}, others can use it; expected 0600. Run: chmod 600 {path}; "
            "if somebody else can have read it, make a new key"
        )
    return given_key(path)


def given_key(path: Path) -> bytes:
    """The key in a file that the user named; a file of ours must be ours alone, as for other secrets.

    Raises:
        KeyFileError: it cannot be read, or others can read it.
    """
    try:
        require_private("key file", path)
        return path.read_bytes()
    except CredentialError as error:
        raise KeyFileError(str(error)) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> KeyFileError:
    return KeyFileError(
        f"key file {path}: got {error.strerror}; expected a file that this user can read. "
        "Check the path and its owner"
    )


def _make(path: Path, fresh: bytes) -> None:
    """Complete or not at all, and the first of several processes wins."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeyFileError(
            f"key file {path}: got {error.strerror} when it was made; expected a folder that this user can "
            "write to. Check state_dir"
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(fresh)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
