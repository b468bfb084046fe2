"""Users as cells of a hash: how AGGREGATE tells them apart without keeping a name or a pseudonym.

The cell of a user is the CRC-32 of the id, with that of the tenant added (one id of two tenants is two users),
mixed by the finaliser of MurmurHash3, so that consecutive ids fall anywhere. A cell is one of 1,024: who knows an
id can work out its cell, but not what it alone cost where a cell has several users. Cells are in partials and, for
ten minutes, in checkpoints; nothing that is told or stored in tables has them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.sketches.layout import Spread

COST_BY_USER: Final = Spread("user_cost_usd", "cost_usd", 1024)
NOBODY: Final = -1


def checksums(users: Sequence[str | None]) -> NDArray[np.int64]:
    """The checksum of each user's id, ``NOBODY`` for None."""
    if None not in users:
        return np.fromiter(map(zlib.crc32, map(str.encode, users)), np.int64, len(users))  # type: ignore[arg-type]
    found = (NOBODY if user is None else zlib.crc32(user.encode()) for user in users)
    return np.fromiter(found, np.int64, len(users))


def cells(users: NDArray[np.int64], tenant: NDArray[np.int32], tenants: Sequence[str]) -> NDArray[np.int32]:
    """The cell of each record's user, ``NOBODY`` where there is none.

    ``users``: checksums; ``tenant``: 0 for no tenant, else 1 + index into ``tenants``.
    """
    salts = _mixed(np.array([0, *(zlib.crc32(name.encode()) for name in tenants)], np.uint32))
    # Not crossed: checksums differ as their texts do, and user 1 of tenant a would be user 2 of tenant b.
    mixed = _mixed(users.astype(np.uint32) + salts[tenant])
    return np.where(users == NOBODY, NOBODY, (mixed % np.uint32(COST_BY_USER.cells)).astype(np.int32))


def _mixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The finaliser of MurmurHash3: every bit of the result depends on every bit of the value."""
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values
