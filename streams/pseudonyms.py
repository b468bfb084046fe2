"""User ids as keyed pseudonyms: the same user of a tenant stays recognisable, the id itself is never stored.

A pseudonym is the first 128 bits of HMAC-SHA256 of the user id under the tenant's key, in hex. The tenant's key
is HMAC-SHA256 of the tenant's name under the master key, so pseudonyms of different tenants cannot be joined,
and without the master key ids cannot be found by trying them out, as with a plain hash. All record workers of a
cluster need the same master key.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from streams.keys import KeyFileError, given_key, made_key

KEY_VARIABLE: Final = "TIDEWATCH_PSEUDONYM_KEY"
KEY_FILE_VARIABLE: Final = "TIDEWATCH_PSEUDONYM_KEY_FILE"
KEY_FILE: Final = "pseudonym.key"
MIN_KEY_BYTES: Final = 16
MAX_REMEMBERED: Final = 100_000
"""Pseudonyms kept in memory; users beyond that are computed again, about 2 µs each."""


class PseudonymKeyError(Exception):
    """The master key cannot be used."""


class Pseudonyms:
    """Maps (tenant, user id) to a pseudonym."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) < MIN_KEY_BYTES:
            raise PseudonymKeyError(
                f"the pseudonym key has {len(master_key)} bytes; expected {MIN_KEY_BYTES} or more"
            )
        self._master_key = master_key
        self._known: dict[tuple[str | None, str], str] = {}

    def __repr__(self) -> str:
        return "Pseudonyms(<key>)"

    def __call__(self, tenant: str | None, user_id: str) -> str:
        known = self._known.get((tenant, user_id))
        if known is not None:
            return known
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        tenant_key = hmac.digest(
            self._master_key, b"tidewatch.tenant\x00" + (tenant or "").encode(), "sha256"
        )
        pseudonym = hmac.digest(tenant_key, user_id.encode(), "sha256")[:16].hex()
        self._known[tenant, user_id] = pseudonym
        return pseudonym


def load_key(state_dir: Path) -> bytes:
    """The master key: in the environment, in the file that it names, else in ``state_dir``.

    The latter is made at the first start, readable by its owner only.

    Raises:
        PseudonymKeyError: it is too short, or the file cannot be used.
    """
    if (text := os.environ.get(KEY_VARIABLE)) is not None:
        source, key = KEY_VARIABLE, text.encode()
    else:
        named = os.environ.get(KEY_FILE_VARIABLE)
        path = Path(named) if named else state_dir / KEY_FILE
        source = f"key file {path}"
        try:
            key = given_key(path) if named else made_key(path, secrets.token_hex(32).encode() + b"\n")
        except KeyFileError as error:
            raise PseudonymKeyError(str(error)) from error
    key = key.strip()
    if len(key) < MIN_KEY_BYTES:
        raise PseudonymKeyError(
            f"{source}: got {len(key)} bytes; expected {MIN_KEY_BYTES} or more. "
            "Restore the key: with another one the same user has another pseudonym"
        )
    return key
