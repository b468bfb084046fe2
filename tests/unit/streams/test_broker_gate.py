"""The gate of the embedded broker: who is passed on, who is turned away, and who is cut when that changes."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streams.broker import free_port
from streams.broker_gate import Gate


def request(name: str, body: bytes = b"") -> bytes:
    """The beginning of a Kafka request of a client, as far as the gate reads it."""
    encoded = name.encode()
    rest = struct.pack(">hhih", 3, 1, 7, len(encoded)) + encoded + body
    return struct.pack(">i", len(rest)) + rest


@asynccontextmanager
async def echo(prefix: bytes) -> AsyncIterator[int]:
    """A server that says ``prefix`` and repeats what it hears; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(prefix)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
        done.release()

    connections = 0
    done = asyncio.Semaphore(0)

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await serve(reader, writer)

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for _ in range(connections):
            await done.acquire()


@asynccontextmanager
async def gate() -> AsyncIterator[Gate]:
    found = Gate(free_port())
    await found.start()
    try:
        yield found
    finally:
        await found.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connected(cls, to: Gate) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", to.port))

    async def says(self, data: bytes, *, hears: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(20):
            assert await self.reader.readexactly(len(hears)) == hears

    async def is_cut(self) -> bool:
        async with asyncio.timeout(20):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def test_clients_are_passed_on_by_name() -> None:
    async with gate() as found, echo(b"a") as first, echo(b"b") as second:
        found.admit(first, {"worker": second})
        for name, prefix in (("anybody", b"a"), ("worker", b"b"), ("", b"a")):
            client = await Client.connected(found)
            await client.says(request(name), hears=prefix + request(name))
            await client.says(b"more", hears=b"more")
            await client.close()


async def test_a_head_in_pieces_is_put_together() -> None:
    async with gate() as found, echo(b"") as port:
        found.admit(None, {"worker": port})
        client = await Client.connected(found)
        whole = request("worker", b"body")
        for n in range(len(whole) - 1):
            client.writer.write(whole[n : n + 1])
            await client.writer.drain()
            await asyncio.sleep(0)
        await client.says(whole[-1:], hears=whole)
        await client.close()


async def test_who_may_not_pass_is_cut_and_others_stay() -> None:
    async with gate() as found, echo(b"") as port:
        found.admit(port)
        producer, worker = await Client.connected(found), await Client.connected(found)
        await producer.says(request("producer"), hears=request("producer"))
        await worker.says(request("worker"), hears=request("worker"))
        found.admit(None, {"worker": port})
        assert await producer.is_cut()
        await worker.says(b"still here", hears=b"still here")
        late = await Client.connected(found)
        late.writer.write(request("producer"))
        assert await late.is_cut()
        for client in (producer, worker, late):
            await client.close()


async def test_a_broker_that_is_gone_cuts_its_clients() -> None:
    async with gate() as found:
        found.admit(free_port())
        client = await Client.connected(found)
        client.writer.write(request("anybody"))
        assert await client.is_cut()
        await client.close()


async def test_a_slow_reader_holds_the_broker_back_and_loses_nothing() -> None:
    async with gate() as found, echo(b"") as port:
        found.admit(port)
        client = await Client.connected(found)
        sent = request("anybody", bytes(range(256)) * 40_000)
        writing = asyncio.create_task(_write(client, sent))
        async with asyncio.timeout(60):
            assert await client.reader.readexactly(len(sent)) == sent
        await writing
        await client.close()


async def _write(client: Client, data: bytes) -> None:
    client.writer.write(data)
    await client.writer.drain()


@pytest.mark.parametrize("length", [-1, 5000])
async def test_no_name_is_a_name(length: int) -> None:
    async with gate() as found, echo(b"") as port:
        found.admit(port)
        client = await Client.connected(found)
        head = struct.pack(">ihhih", 100, 3, 1, 7, length)
        await client.says(head, hears=head)
        await client.close()
