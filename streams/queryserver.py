"""SQL over the embedded store while the record worker owns it: a Unix socket only this user can open.

One request a connection. Request: one line of JSON, ``{"query": "SELECT …"}``. Answer: one line of JSON with
``ok``, and either ``error`` and ``kind`` or ``size_bytes``, followed by that many bytes of JSONCompact.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import orjson
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse_config import ClickHouseConfig
from sinks.reader import StoreReader
from sinks.sql_guard import MAX_QUERY_BYTES, QueryRefused

SOCKET_NAME: Final = "sql.sock"
REQUEST_BYTES: Final = 6 * MAX_QUERY_BYTES + 64
"""A query of control characters, each escaped as six bytes, still fits."""
REQUEST_SECS: Final = 5.0
SEND_SECS: Final = 30.0
CANCEL_SECS: Final = 0.2
MAX_CONNECTIONS: Final = 8
_MAX_SOCKET_PATH_BYTES: Final = 100


class QueryFailed(Exception):
    """The server's answer is an error; ``kind`` is refused, failed or busy."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class QueryServer:
    """Serves queries from its own read-only connection, one at a time on its own thread."""

    def __init__(self, config: ClickHouseConfig, state_dir: Path) -> None:
        self._config = config.at(state_dir)
        self._path = state_dir / SOCKET_NAME
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sql")
        self._reader: StoreReader | None = None
        self._server: asyncio.Server | None = None
        self._reading: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the store and listen. Raises what ``StoreReader`` raises; the database must exist."""
        loop = asyncio.get_running_loop()
        self._reader = await loop.run_in_executor(self._thread, StoreReader, self._config)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=_listen(self._path), limit=REQUEST_BYTES
        )

    async def close(self) -> None:
        """Stop listening, end what runs, and close the connection; takes well under a second."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        reader, self._reader = self._reader, None
        for task in self._reading:
            task.cancel()
        if reader is not None:
            while self._serving:
                await asyncio.to_thread(reader.cancel)
                if self._serving:  # they may have ended meanwhile
                    await asyncio.wait(set(self._serving), timeout=CANCEL_SECS)
            await asyncio.get_running_loop().run_in_executor(self._thread, reader.close)
        self._thread.shutdown(wait=True)

    async def _serve(self, requests: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this as a task
        self._serving.add(task)
        try:
            header, body = await self._answer(requests, task)
            answers.write(orjson.dumps(header) + b"\n" + body)
            async with asyncio.timeout(SEND_SECS):
                await answers.drain()
        except (ConnectionError, TimeoutError):
            pass  # the client went away or does not read
        finally:
            self._serving.discard(task)
            answers.close()
            with contextlib.suppress(ConnectionError):
                await answers.wait_closed()

    async def _answer(
        self, requests: asyncio.StreamReader, task: asyncio.Task[None]
    ) -> tuple[dict[str, Any], bytes]:
        if len(self._serving) > MAX_CONNECTIONS:
            return _error("busy", f"{MAX_CONNECTIONS} queries are waiting already; try again"), b""
        self._reading.add(task)
        try:
            async with asyncio.timeout(REQUEST_SECS):
                query = orjson.loads(await requests.readuntil(b"\n"))["query"]
        except (
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ValueError,
            KeyError,
            TypeError,
        ):
            return _error(
                "refused", f"expected one line of JSON with a query of up to {MAX_QUERY_BYTES} bytes"
            ), b""
        finally:
            self._reading.discard(task)
        reader = self._reader
        if not isinstance(query, str) or reader is None:
            return _error("refused", "expected a query as text"), b""
        try:
            body = await asyncio.get_running_loop().run_in_executor(self._thread, reader.query, query)
        except QueryRefused as error:
            return _error("refused", str(error)), b""
        except ClickHouseError as error:
            return _error("failed", str(error)), b""
        return {"ok": True, "size_bytes": len(body)}, body


def ask(state_dir: Path, query: str, timeout_secs: float = 60.0) -> bytes:
    """Send a query to the worker that owns the store in ``state_dir``; the answer is JSONCompact.

    Raises:
        QueryFailed: the worker's answer is an error.
        FileNotFoundError, ConnectionRefusedError: no worker serves there.
        TimeoutError: no answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_secs)
        with _short_path(state_dir / SOCKET_NAME) as path:
            connection.connect(path)
        connection.sendall(orjson.dumps({"query": query}) + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
            if not line.endswith(b"\n"):
                raise QueryFailed("failed", "the worker ended before it answered")
            header = orjson.loads(line)
            if not header["ok"]:
                raise QueryFailed(header["kind"], header["error"])
            body = answers.read(header["size_bytes"])
    if len(body) != header["size_bytes"]:
        raise QueryFailed("failed", "the worker ended before it answered")
    return body


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"ok": False, "kind": kind, "error": message}


def _listen(path: Path) -> socket.socket:
    """A listening socket with mode 0600. A left-over file is replaced: its owner is gone, we own the store."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            with _short_path(path) as short:
                listener.bind(short)
        finally:
            os.umask(before)
        listener.listen(MAX_CONNECTIONS)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """The path, or an alias of it where the kernel's limit of 107 bytes for socket names would be exceeded."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        yield str(path)
        return
    if not Path("/proc/self/fd").exists():
        raise OSError(f"{path}: the name is too long for a socket; choose a shorter state_dir")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
