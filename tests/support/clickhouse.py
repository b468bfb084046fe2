"""ClickHouse over HTTP: a real server where Docker runs, and chDB behind a small HTTP front anywhere.

The front speaks as much of ClickHouse's HTTP interface as clickhouse-connect uses, with the real engine behind
it, and can fail on inserts the way networks and servers do.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from sinks.clickhouse_config import ClickHouseConfig

IMAGE = "clickhouse/clickhouse-server:25.8"
Fault = Literal[
    "cut_before", "cut_after", "hang", "hang_after", "busy", "too_many_requests", "too_many_parts"
]


class NoClickHouse(Exception):
    """Why there is no server."""


@contextlib.contextmanager
def clickhouse_server() -> Iterator[ClickHouseConfig]:
    """A ClickHouse server in a container. Raises ``NoClickHouse`` where Docker does not run."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        raise NoClickHouse("no Docker: there is no /var/run/docker.sock and DOCKER_HOST is not set")
    import docker
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    try:
        docker.from_env().close()
    except docker.errors.DockerException as error:
        raise NoClickHouse(f"Docker does not run here: {str(error)[:80]}") from None
    container = (
        DockerContainer(IMAGE)
        .with_exposed_ports(8123)
        .with_env("CLICKHOUSE_USER", "tidewatch")
        .with_env("CLICKHOUSE_PASSWORD", "tidewatch")
    )
    with container as running, tempfile.NamedTemporaryFile("w") as password:
        wait_for_logs(running, "Ready for connections", timeout=60)
        password.write("tidewatch")
        password.flush()
        yield ClickHouseConfig(
            interface="http",
            host=running.get_container_host_ip(),
            port=int(running.get_exposed_port(8123)),
            username="tidewatch",
            password_file=Path(password.name),
            allow_plaintext=True,
        )


class Front(http.server.ThreadingHTTPServer):
    """chDB as an HTTP server on a free port of loopback."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        import chdb

        self.engine: Any = chdb.connect(str(path))
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.fault: Fault | None = None
        """What happens to the next inserts."""
        self.inserts = 0
        """Inserts that arrived, failed ones included."""
        self.settings: list[dict[str, str]] = []
        """Settings of each insert."""
        self.released = threading.Event()
        """Ends hanging requests."""

    @property
    def config(self) -> ClickHouseConfig:
        return ClickHouseConfig(
            interface="http", port=self.server_address[1], retry_after_secs=0.1, read_timeout_secs=1
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


@contextlib.contextmanager
def chdb_over_http(path: Path) -> Iterator[Front]:
    front = Front(path)
    thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield front
    finally:
        front.released.set()
        front.shutdown()
        front.server_close()
        thread.join()
        front.engine.close()


_ERROR_CODE = re.compile(r"Code: (\d+)")
_NOT_SETTINGS = frozenset({"query", "database", "wait_end_of_query", "client_protocol_version", "query_id"})


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(200, b"Ok.\n")

    def do_POST(self) -> None:
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self._body()
        statement = given.get("query", "")
        inserting = statement.startswith("INSERT") and "ArrowStream" in statement
        if inserting:
            self.server.inserts += 1
            self.server.settings.append(given)
            if self._fails_before():
                return
        try:
            answer = self._run(statement, given, body, inserting)
        except RuntimeError as error:
            code = _ERROR_CODE.search(str(error))
            self._answer(500, str(error).encode(), code=code[1] if code else "1")
            return
        if inserting and self.server.fault in ("cut_after", "hang_after"):
            if self.server.fault == "hang_after":
                self.server.released.wait(20)
            self._cut()
            return
        self._answer(200, answer)

    def _run(self, statement: str, given: dict[str, str], body: bytes, inserting: bool) -> bytes:
        parameters = {k.removeprefix("param_"): v for k, v in given.items() if k.startswith("param_")}
        settings = {k: v for k, v in given.items() if k not in _NOT_SETTINGS and not k.startswith("param_")}
        with self.server.lock, tempfile.NamedTemporaryFile() as file:
            if inserting:
                file.write(body)
                file.flush()
                head, _, form = statement.rpartition("FORMAT")
                clause = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
                statement = f"{head} FROM INFILE '{file.name}' SETTINGS {clause} FORMAT {form}"
            elif not statement:
                statement = body.decode()
            if given.get("database"):
                self.server.engine.query(f"USE {given['database']}")
            answer: bytes = self.server.engine.query(statement, "TabSeparated", params=parameters).bytes()
            return answer

    def _fails_before(self) -> bool:
        match self.server.fault:
            case "cut_before":
                self._cut()
            case "hang":
                self.server.released.wait(20)
                self._cut()
            case "busy":
                self._answer(503, b"busy")
            case "too_many_requests":
                self._answer(429, b"slow down")
            case "too_many_parts":
                self._answer(500, b"Code: 252. DB::Exception: Too many parts (TOO_MANY_PARTS)", code="252")
            case _:
                return False
        return True

    def _cut(self) -> None:
        """Reset the connection without an answer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, body: bytes, code: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-ClickHouse-Timezone", "UTC")
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.end_headers()
        self.wfile.write(body)
