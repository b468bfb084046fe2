"""Alerts as plain lines for a person; other tables are not shown.

Text from records is printed without control and format characters: an alert must not write on the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from sinks.base import Batch, SinkClosed

REMEMBERED: Final = 10_000
"""Alerts whose id is kept to print a repeated one once."""


class ConsoleSink:
    """See ``sinks.base.Sink``. A repeated alert is printed once, within the last 10,000 of this process."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._shown: dict[str, None] = {}
        self._closed = False

    async def healthcheck(self) -> None:
        self._refuse_closed()

    async def write(self, batch: Batch) -> None:
        self._refuse_closed()
        if batch.table != "alerts":
            return
        stream = self._stream or sys.stdout
        for row in map(batch.row, range(batch.rows)):
            if row["alert_id"] in self._shown:
                continue
            print(alert_line(row), file=stream)
            self._shown[row["alert_id"]] = None
            if len(self._shown) > REMEMBERED:
                del self._shown[next(iter(self._shown))]
        stream.flush()

    async def close(self) -> None:
        self._closed = True

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SinkClosed("the console sink is closed")


def alert_line(row: Mapping[str, Any]) -> str:
    """One row of ``alerts`` as a line: when, how urgent, what; then numbers and whom it hits."""
    state = "RESOLVED" if row["type"] == "tidewatch.alert.resolved" else row["severity"].upper()
    at_ms = row["resolved_at"] if row["resolved_at"] is not None else row["detected_at"]
    text = (
        f"{_clock(at_ms)} {state:<8} {row['summary']} "
        f"[{row['signal']} {row['observed']:.4g} {row['unit']}, expected {row['expected']:.4g}, n={row['n']}, "
        f"since {_clock(row['started_at'])}, segment {row['segment']}]"
    )
    return "".join(char if char.isprintable() else " " for char in text)


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
