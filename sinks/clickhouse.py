"""Rows into ClickHouse: a server through clickhouse-connect, or chDB in this process, by configuration only.

Exactly what is in the tables after any number of repeats comes from three layers: ids are deterministic and the
tables are ReplacingMergeTree; every insert carries a token that is a hash of its contents; and this module
decides about retries itself. clickhouse-connect would send an insert again on its own when a connection breaks
after the body went out, so the body is handed over as a one-shot iterator, which it cannot repeat.

All calls run on one thread of their own, so a slow store never holds the event loop, and chDB sees one writer.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.base import Batch, Rejected, RetryLater, SinkClosed
from sinks.clickhouse_config import ClickHouseConfig
from sinks.clickhouse_errors import verdict
from sinks.clickhouse_refusal import refusal
from sinks.clickhouse_schema import create_missing
from sinks.columnar import encode, stream_bytes
from sinks.credentials import CredentialError
from sinks.embedded import Ownership
from sinks.tables import TABLES

__all__ = ["ClickHouseConfig", "ClickHouseSink", "connect"]

R_ = TypeVar("R_")

INSERT_SETTINGS: Final[dict[str, str | int]] = {
    "async_insert": 0,  # on by default in recent servers: returns before the rows are stored
    "wait_for_async_insert": 1,
    "input_format_null_as_default": 1,
    "max_partitions_per_insert_block": 0,  # a back-fill of years is one batch; the default refuses 100 months
}
DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
PURPOSE: Final = "tidewatch worker record"


def connect(config: ClickHouseConfig) -> Any:
    """A client of the configured store; for chDB the caller holds the ``Ownership`` first."""
    if config.embedded:
        config.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return clickhouse_connect.get_client(**config.client_options())


class ClickHouseSink:
    """See ``sinks.base.Sink``; additionally creates the tables that are missing before the first write."""

    def __init__(self, config: ClickHouseConfig, state_dir: Path) -> None:
        self._config = config.at(state_dir)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clickhouse")
        self._slots = asyncio.Semaphore(config.queue_batches)
        self._client: Any = None
        self._ownership: Ownership | None = None
        self._closed = False

    async def healthcheck(self) -> None:
        """Connect, create what is missing, and ask for one row.

        Raises:
            RetryLater: the store cannot be reached now.
            CredentialError: the server, or we, refuse the connection; or a file of the settings is unusable.
            StoreInUse: another process owns the embedded store.
            SchemaMismatch: the tables there are not those of this program.
        """
        await self._run(self._ping)

    async def write(self, batch: Batch) -> None:
        if batch.table not in TABLES:
            raise ValueError(f"unknown table {batch.table!r}")
        await self._run(lambda: self._write(batch))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=True)

    async def _run(self, job: Callable[[], R_]) -> R_:
        if self._closed:
            raise SinkClosed("the ClickHouse sink is closed")
        async with self._slots:
            return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    # What follows runs on the thread.

    def _connected(self) -> Any:
        if self._client is None:
            if self._config.embedded and self._ownership is None:
                self._ownership = Ownership(self._config.path, PURPOSE)
            client = connect(self._config)
            try:
                create_missing(client, self._config.database)
            except BaseException:
                client.close()
                raise
            self._client = client
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._ownership is not None:
            self._ownership.release()
            self._ownership = None

    def _ping(self) -> None:
        with self._errors_that_pass():
            self._connected().command("SELECT 1")

    def _write(self, batch: Batch) -> None:
        encoded = encode(TABLES[batch.table], batch)
        refused = dict(encoded.refused)
        if len(encoded.indices):
            with self._errors_that_pass():
                client = self._connected()
                for position, reason in self._insert(client, batch, encoded.table, 0):
                    refused[encoded.indices[position]] = reason
        if refused:
            indices = sorted(refused)
            raise Rejected(indices, refused[indices[0]])

    def _insert(self, client: Any, batch: Batch, rows: Any, first: int) -> list[tuple[int, str]]:
        """Insert an Arrow table; halves that are refused are halved again until the bad rows are alone."""
        name = batch.table
        settings = {
            **INSERT_SETTINGS,
            **self._config.insert_settings,
            "insert_deduplication_token": f"{batch.dedup_token}-{first}-{rows.num_rows}",
        }
        try:
            self._send(client, name, rows, settings)
        except ClickHouseError as error:
            if verdict(error) != "data":
                raise
            if rows.num_rows == 1:
                # Only the code: the server's message may quote the row.
                label = getattr(error, "name", None) or "data error"
                return [
                    (first, f"{name}: ClickHouse refuses the row: {label} ({getattr(error, 'code', None)})")
                ]
            half = rows.num_rows // 2
            return self._insert(client, batch, rows.slice(0, half), first) + self._insert(
                client, batch, rows.slice(half), first + half
            )
        return []

    def _send(self, client: Any, name: str, rows: Any, settings: dict[str, Any]) -> None:
        """One INSERT, sent once."""
        table = f"`{self._config.database}`.`{name}`"
        if not self._config.embedded:
            body = iter((stream_bytes(rows),))
            client.raw_insert(table, rows.column_names, body, settings=settings, fmt="ArrowStream")
            return
        # clickhouse-connect would hand the rows to chDB through the system's folder for temporary files, where
        # a killed process leaves them; this file is beside the store, private, and the next insert replaces it.
        spool = self._config.path.with_name(self._config.path.name + ".insert")
        descriptor = os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(stream_bytes(rows))
            columns = ", ".join(f"`{column}`" for column in rows.column_names)
            clause = ", ".join(f"{key} = {_literal(value)}" for key, value in settings.items())
            source = f"FROM INFILE {_literal(spool)} SETTINGS {clause} FORMAT ArrowStream"
            client.command(f"INSERT INTO {table} ({columns}) {source}")
        finally:
            spool.unlink()

    @contextmanager
    def _errors_that_pass(self) -> Iterator[None]:
        """``RetryLater`` for what passes, ``CredentialError`` for a refusal; the error itself for a defect."""
        try:
            yield
        except ClickHouseError as error:
            if (why := refusal(self._config, error)) is not None:
                raise CredentialError(why) from error
            if verdict(error) == "defect":
                raise
            raise self._retry_later(str(error)) from error
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise self._retry_later(f"{error.strerror}: free some on the file system of state_dir") from error

    def _retry_later(self, reason: str) -> RetryLater:
        return RetryLater(self._config.retry_after_secs, f"{self._config.address}: {reason}")


def _literal(value: object) -> str:
    """A setting or path as a string literal of SQL."""
    text = str(int(value) if isinstance(value, bool) else value)
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
