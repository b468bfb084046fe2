"""What every sink promises, and the batch it is handed.

A sink delivers rows of a known table (``sinks.tables``) somewhere. ``write`` returns only when the rows are
durable, and writing the same batch twice stores it once, so a caller that does not know whether a write
succeeded simply writes again. Two errors are expected and part of the contract; anything else is a defect and
ends the worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import msgspec


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of one table, column by column (all columns equally long, in the order of ``columns``)."""

    table: str
    columns: tuple[str, ...]
    data: tuple[Sequence[Any], ...] = field(repr=False)
    """Not shown by ``repr``: rows may hold what must not reach a log."""

    def __post_init__(self) -> None:
        if len(self.columns) != len(self.data):
            raise ValueError(f"{self.table}: {len(self.columns)} columns named, {len(self.data)} given")
        if len({len(column) for column in self.data}) > 1:
            raise ValueError(f"{self.table}: columns differ in length: {[len(c) for c in self.data]}")

    @classmethod
    def of_rows(cls, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Batch:
        """A batch from rows (each in the order of ``columns``)."""
        data = tuple(zip(*rows, strict=True)) if rows else tuple(() for _ in columns)
        return cls(table, tuple(columns), data)

    @property
    def rows(self) -> int:
        return len(self.data[0]) if self.data else 0

    @cached_property
    def dedup_token(self) -> str:
        """A stable hash of table, columns and contents: equal batches have equal tokens in every process."""
        content = (self.table, self.columns, self.data)
        try:
            encoded = msgspec.msgpack.encode(content, enc_hook=repr)
        except (UnicodeEncodeError, OverflowError):
            encoded = repr(content).encode("utf-8", "backslashreplace")
        return hashlib.blake2b(encoded, digest_size=16).hexdigest()

    def row(self, index: int) -> dict[str, Any]:
        """One row by column name."""
        return {name: column[index] for name, column in zip(self.columns, self.data, strict=True)}

    def take(self, indices: Iterable[int]) -> Batch:
        """The batch of the rows at ``indices``."""
        chosen = list(indices)
        return Batch(self.table, self.columns, tuple([column[i] for i in chosen] for column in self.data))


class SinkError(Exception):
    """Base of what a sink raises on purpose."""


class RetryLater(SinkError):
    """The destination cannot take the batch now: write the same batch again after ``after_secs``."""

    def __init__(self, after_secs: float, reason: str) -> None:
        super().__init__(f"{reason} (retry in {after_secs:g} s)")
        self.after_secs = after_secs
        self.reason = reason


class Rejected(SinkError):
    """These rows can never be stored. All other rows of the batch *are* stored: do not write it again."""

    def __init__(self, indices: Sequence[int], reason: str) -> None:
        super().__init__(f"{len(indices)} row(s) refused, first at index {indices[0]}: {reason}")
        self.indices = tuple(indices)
        self.reason = reason


class SinkClosed(SinkError):
    """The sink was used after ``close``: a defect of the caller."""


class Sink(Protocol):
    """A destination of rows."""

    async def healthcheck(self) -> None:
        """Return when the destination can be written to; raise ``RetryLater`` when it cannot now."""

    async def write(self, batch: Batch) -> None:
        """Store the batch; returns only when it is durable. Same batch twice = stored once.

        Raises:
            RetryLater: nothing or a part is stored; write the same batch again.
            Rejected: the rows at ``indices`` can never be stored; all others are.
        """

    async def close(self) -> None:
        """Finish what is being written and release everything; closing twice is harmless."""
