"""The door of the embedded broker: clients connect here, and are passed on to the broker or turned away.

The broker itself cannot refuse records while others are served, and its log cannot be replaced under a client that
is connected to it. The gate can do both: it knows a client by the id that each of its requests carries.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import Final, cast

LONGEST_CLIENT_ID_BYTES: Final = 1024
_HEAD: Final = struct.Struct(">ihhih")
"""Size, api, its version, correlation id, length of the client id: the beginning of every Kafka request."""


class Gate:
    """Listens on ``port`` of loopback; ``admit`` says who is passed on to which port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._everybody: int | None = None
        self._some: dict[str, int] = {}
        self._open: set[_Client] = set()
        self._server: asyncio.Server | None = None

    def admit(self, everybody: int | None, some: Mapping[str, int] | None = None) -> None:
        """Pass clients named in ``some`` on to their port, all others to ``everybody``'s (None: turn them away).

        Connections that would now go elsewhere are cut.
        """
        self._everybody, self._some = everybody, dict(some or {})
        for client in list(self._open):
            if client.name is not None and self.port_of(client.name) != client.port:
                client.cut()

    def port_of(self, name: str) -> int | None:
        return self._some.get(name, self._everybody)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self, self._open), "127.0.0.1", self.port)

    async def close(self) -> None:
        """Stop listening and cut everybody; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for client in list(self._open):
            client.cut()


class _Client(asyncio.Protocol):
    """A client's connection, and ours to the broker for it."""

    def __init__(self, gate: Gate, all_open: set[_Client]) -> None:
        self._gate = gate
        self._all_open = all_open
        self._head = bytearray()
        self.name: str | None = None
        self.port: int | None = None
        self.transport: asyncio.Transport
        self._far: _Far | None = None
        self._reaching: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._all_open.add(self)

    def data_received(self, data: bytes) -> None:
        if self._far is not None:
            self._far.transport.write(data)
            return
        self._head += data
        if self._reaching is None and (name := _client_id(self._head)) is not None:
            self.name, self.port = name, self._gate.port_of(name)
            if self.port is None:
                self.cut()
                return
            self.transport.pause_reading()
            self._reaching = asyncio.create_task(self._reach(self.port))

    async def _reach(self, port: int) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, far = await loop.create_connection(lambda: _Far(self), "127.0.0.1", port)
        except OSError:
            self.cut()
            return
        self._far = far
        far.transport.write(bytes(self._head))
        self._head.clear()
        self.transport.resume_reading()

    def cut(self) -> None:
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._all_open.discard(self)
        if self._reaching is not None:
            self._reaching.cancel()
        if self._far is not None:
            self._far.transport.abort()

    def pause_writing(self) -> None:
        if self._far is not None:
            self._far.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._far is not None:
            self._far.transport.resume_reading()


class _Far(asyncio.Protocol):
    """Our connection to the broker."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._client.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.transport.close()  # after what the broker said last

    def pause_writing(self) -> None:
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        self._client.transport.resume_reading()


def _client_id(head: bytes | bytearray) -> str | None:
    """The client id of a connection's first request; None until it has arrived. Empty when there is none."""
    if len(head) < _HEAD.size:
        return None
    *_, length = _HEAD.unpack_from(head)
    if not 0 <= length <= LONGEST_CLIENT_ID_BYTES:
        return ""
    name = head[_HEAD.size : _HEAD.size + length]
    return name.decode("utf-8", "replace") if len(name) == length else None
