"""Rows gathered per table until a batch is worth writing, by count or by age, within a bound."""

from __future__ import annotations

from collections.abc import Iterable

from sinks.base import Batch


class Batcher:
    """Gathers batches of the same table into larger ones.

    Where a batch ends is not deterministic and need not be: rows are idempotent one by one. What is gathered
    stays gathered until ``clear``, so a write that failed is repeated with the same batches and the same tokens.
    Ages are seconds of any monotonic clock, handed in by the caller.
    """

    def __init__(self, *, max_rows: int, max_age_secs: float) -> None:
        self._max_rows = max_rows
        self._max_age_secs = max_age_secs
        self._parts: dict[str, list[Batch]] = {}
        self._sealed: list[Batch] | None = None
        self._since_secs: float | None = None
        self.rows = 0

    def add(self, batches: Iterable[Batch], now_secs: float) -> None:
        """Gather all or none.

        Raises:
            BufferError: a write is pending, or more than twice the bound would wait: flush first. What comes
                while nothing waits is always taken, whatever its size.
        """
        if self._sealed is not None:
            raise BufferError("a write is pending: finish it with clear() before more rows are added")
        added = [batch for batch in batches if batch.rows]
        rows = self.rows + sum(batch.rows for batch in added)
        if self.rows and rows > 2 * self._max_rows:
            raise BufferError(f"{rows} rows would wait, at most {2 * self._max_rows} may: flush first")
        for batch in added:
            self._parts.setdefault(batch.table, []).append(batch)
        self.rows = rows
        if added and self._since_secs is None:
            self._since_secs = now_secs

    def due(self, now_secs: float) -> bool:
        """Whether it is time to write: enough rows, or rows that have waited long enough."""
        if self._since_secs is None:
            return False
        return self.rows >= self._max_rows or now_secs - self._since_secs >= self._max_age_secs

    def batches(self) -> list[Batch]:
        """What is gathered, one batch per table; the same objects until ``clear``."""
        if self._sealed is None:
            self._sealed = []
            for table in list(self._parts):  # what is joined is not kept twice
                self._sealed.append(_join(self._parts.pop(table)))
        return self._sealed

    def clear(self) -> None:
        """Everything gathered is durable."""
        self._parts, self._sealed, self._since_secs, self.rows = {}, None, None, 0


def _join(parts: list[Batch]) -> Batch:
    first = parts[0]
    if len(parts) == 1:
        return first
    if any(part.columns != first.columns for part in parts):
        raise ValueError(f"{first.table}: batches with different columns cannot be joined")
    data = tuple([value for part in parts for value in part.data[i]] for i in range(len(first.columns)))
    return Batch(first.table, first.columns, data)
