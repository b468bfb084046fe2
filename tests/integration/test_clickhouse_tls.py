"""ClickHouse over TLS: the real engine behind an HTTPS front; what is trusted works, what is not says why."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from sinks.credentials import CredentialError
from tests.support.clickhouse import Front, chdb_over_http
from tests.support.rows import sample_batch


@dataclass(frozen=True)
class Server:
    """A front that speaks TLS as ``localhost``."""

    front: Front
    authority: trustme.CA
    context: ssl.SSLContext
    folder: Path

    def config(self, **changed: Any) -> ClickHouseConfig:
        given: dict[str, Any] = {
            "interface": "https",
            "host": "localhost",
            "port": self.front.server_address[1],
            "ca_file": self.folder / "ca.pem",
            "retry_after_secs": 0.1,
        }
        return ClickHouseConfig.model_validate(given | changed)

    def refuses(self, config: ClickHouseConfig) -> str:
        """What the sink says; it must not be an outage, which would be waited out."""
        with pytest.raises(CredentialError) as caught:
            asyncio.run(used(config, self.folder))
        assert config.address in str(caught.value)
        return str(caught.value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clickhouse-tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with chdb_over_http(folder / "engine") as front:
        front.socket = context.wrap_socket(front.socket, server_side=True, do_handshake_on_connect=False)
        yield Server(front, authority, context, folder)


async def used(config: ClickHouseConfig, folder: Path, batch: Batch | None = None) -> None:
    sink = ClickHouseSink(config, folder)
    try:
        await sink.healthcheck()
        if batch is not None:
            await sink.write(batch)
    finally:
        await sink.close()


def test_a_trusted_server_stores_rows(server: Server) -> None:
    asyncio.run(used(server.config(), server.folder, sample_batch("alerts", 3)))
    answer = server.front.engine.query("SELECT count() FROM tidewatch.alerts FINAL", "TabSeparated")
    assert answer.bytes() == b"3\n"


def test_an_untrusted_server_is_refused(server: Server) -> None:
    for ca_file in (server.folder / "other-ca.pem", None):
        told = server.refuses(server.config(ca_file=ca_file))
        assert "certificate is not trusted" in told
        assert "set clickhouse.ca_file" in told


def test_a_server_of_another_name_is_refused(server: Server) -> None:
    told = server.refuses(server.config(host="127.0.0.1"))
    assert "for another name (IP address mismatch" in told
    assert "set clickhouse.host" in told


def test_a_client_certificate_is_shown_to_a_server_that_asks(server: Server) -> None:
    own = server.authority.issue_cert("tidewatch.example.org")
    files = {"cert_file": server.folder / "own.pem", "key_file": server.folder / "own.key"}
    files["key_file"].touch(mode=0o600)
    own.private_key_pem.write_to_path(files["key_file"])
    own.cert_chain_pems[0].write_to_path(files["cert_file"])
    server.authority.configure_trust(server.context)
    server.context.verify_mode = ssl.CERT_REQUIRED
    try:
        asyncio.run(used(server.config(**files), server.folder))
    finally:
        server.context.verify_mode = ssl.CERT_NONE


def test_https_to_an_http_port_is_named(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as plain:
        thread = threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            config = ClickHouseConfig(interface="https", port=plain.server_address[1])
            with pytest.raises(
                CredentialError, match=r"does not speak TLS on this port; set clickhouse\.port"
            ):
                asyncio.run(used(config, tmp_path))
        finally:
            plain.shutdown()
            thread.join()
