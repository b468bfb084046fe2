"""A TCP proxy on loopback that breaks connections on demand.

It runs in a thread of its own; every method may be called from any thread and takes effect at once, also on the
connections that are open. ``restore`` ends all faults. Toxiproxy does as much but is a Go program; that a proxy
understands Kafka well enough to refuse a produce (``kafka_proxy``) is in neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Due = tuple[float, bytes]
"""When (the loop's time) to pass on what; nothing means that the sender has hung up."""
_READ_BYTES = 64 * 1024
_QUEUED_READS = 64
"""In a delayed or hung direction: what is read ahead before the sender feels the back-pressure."""

_TURNS_TO_CLOSE = 3
"""Turns of the loop in which asyncio closes the socket of a connection that was aborted."""

SERVICE_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndown"
)


class Proxy:
    """Listens on ``port`` and forwards to ``target`` on loopback. Use as a context manager."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.connections = 0
        """Accepted since the start."""
        self.hits = 0
        """Connections or requests that a fault has met."""
        self.rtt_secs = 0.0
        self.request_bytes_left: int | None = None
        self.answers_lost = False
        self.canned: bytes | None = None
        self.flowing = asyncio.Event()
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._accepting = False
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=f"proxy {self.port}", daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def slow(self, rtt_secs: float) -> None:
        """Half of ``rtt_secs`` on each way; throughput is not limited."""
        self._set(rtt_secs=rtt_secs)

    def hang(self) -> None:
        """Accept connections and bytes, and pass nothing on."""
        self._call(self.flowing.clear)

    def refuse(self) -> None:
        """Cut everything and refuse connections, as when the program behind has ended; the port stays ours."""
        self._call(self._refuse)

    def cut(self) -> int:
        """Cut the open connections now; returns how many."""
        return self._call(self._cut)

    def cut_after(self, request_bytes: int) -> None:
        """Cut whichever connection passes on the last of the next ``request_bytes`` towards the target."""
        self._set(request_bytes_left=request_bytes)

    def lose_answers(self) -> None:
        """Pass requests on in full; cut the connection when its answer begins."""
        self._set(answers_lost=True)

    def answer(self, reply: bytes) -> None:
        """Read each HTTP request in full and send ``reply`` instead of asking the target."""
        self._set(canned=reply)
        self.cut()

    def restore(self) -> None:
        """No more faults."""
        self._call(self._restore)

    def _set(self, **fields: Any) -> None:
        self._call(lambda: self.__dict__.update(fields))

    def _call(self, work: Callable[[], T]) -> T:
        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _stop_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _refuse(self) -> None:
        if self._accepting:
            self._stop_accepting()
            self._cut()
            # Bound and not listening: refused, and nobody else gets the port meanwhile.
            self._socket = _bound(self.port)

    def _cut(self) -> int:
        count = len(self._open)
        self.hits += count
        for connection in list(self._open):
            connection.abort()
        return count

    def _restore(self) -> None:
        self.rtt_secs = 0.0
        self.request_bytes_left = None
        self.answers_lost = False
        self.canned = None
        self.flowing.set()
        self._listen()

    def _listen(self) -> None:
        if not self._accepting:
            self._accepting = True
            self._socket.setblocking(False)
            self._socket.listen()
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        """What asyncio's own server has accepted is lost when the server is closed in the same turn."""
        try:
            accepted, _ = self._socket.accept()
        except OSError:  # the client has hung up again
            return
        task = self._loop.create_task(self._serve(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        near = await asyncio.open_connection(sock=accepted)
        self.connections += 1
        try:
            if self.canned is not None:
                await self._answer(near, self.canned)
            else:
                await self._forward(near)
        except asyncio.CancelledError:
            near[1].transport.abort()
            raise
        finally:
            near[1].close()

    async def _answer(self, near: Stream, reply: bytes) -> None:
        with contextlib.suppress(OSError, EOFError):
            await _read_http_request(near[0])
            self.hits += 1
            near[1].write(reply)
            await near[1].drain()

    async def _forward(self, near: Stream) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            near[1].transport.abort()
            return
        connection = self.new_connection(near, far)
        if not self._accepting:  # refused while it was on its way
            connection.abort()
            return
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)

    def new_connection(self, near: Stream, far: Stream) -> Connection:
        return Connection(self, near, far)

    def __enter__(self) -> Self:
        self._thread.start()
        self.flowing.set()
        self._call(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def end() -> None:
            self._stop_accepting()
            await asyncio.sleep(0)  # each connection's task has begun, so it ends its own connection
            self._cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for _ in range(_TURNS_TO_CLOSE):
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._socket.close()


class Connection:
    """Two pumps; what goes each way may be changed by a subclass."""

    def __init__(self, proxy: Proxy, near: Stream, far: Stream) -> None:
        self.proxy = proxy
        self.near_reader, self.near_writer = near
        self.far_reader, self.far_writer = far
        self.to_near: asyncio.Queue[_Due] = asyncio.Queue(_QUEUED_READS)
        self.to_far: asyncio.Queue[_Due] = asyncio.Queue(_QUEUED_READS)

    def requests(self, data: bytes) -> bytes:
        """What goes to the target for ``data`` from the client."""
        return data

    def answers(self, data: bytes) -> bytes:
        """What goes to the client for ``data`` from the target."""
        return data

    def abort(self) -> None:
        for writer in (self.near_writer, self.far_writer):
            writer.transport.abort()

    async def run(self) -> None:
        """Until either end hangs up, or a fault ends it."""
        readers = [
            asyncio.create_task(self._read(self.near_reader, self.requests, self.to_far)),
            asyncio.create_task(self._read(self.far_reader, self.answers, self.to_near)),
        ]
        writers = [
            asyncio.create_task(self._write(self.to_far, self.far_writer, requests=True)),
            asyncio.create_task(self._write(self.to_near, self.near_writer, requests=False)),
        ]
        try:
            await asyncio.wait(writers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*readers, *writers):
                task.cancel()
            await asyncio.gather(*readers, *writers, return_exceptions=True)
            for writer in (self.near_writer, self.far_writer):
                writer.close()

    async def _read(
        self, reader: asyncio.StreamReader, change: Callable[[bytes], bytes], queue: asyncio.Queue[_Due]
    ) -> None:
        try:
            while data := await reader.read(_READ_BYTES):
                if changed := change(data):
                    await queue.put(self.due(changed))
        finally:
            with contextlib.suppress(OSError):
                await queue.put(self.due(b""))

    def due(self, data: bytes) -> _Due:
        return asyncio.get_running_loop().time() + self.proxy.rtt_secs / 2, data

    async def _write(
        self, queue: asyncio.Queue[_Due], writer: asyncio.StreamWriter, *, requests: bool
    ) -> None:
        proxy = self.proxy
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await proxy.flowing.wait()
            if not data:
                return
            if proxy.answers_lost and not requests:
                proxy.hits += 1
                return
            left = proxy.request_bytes_left
            if requests and left is not None:
                data = data[:left]
                proxy.request_bytes_left = left = left - len(data)
            writer.write(data)
            await writer.drain()
            if requests and left == 0:
                proxy.request_bytes_left = None
                proxy.hits += 1
                return


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


async def _read_http_request(reader: asyncio.StreamReader) -> None:
    """Head and body, so that the reply is not lost to a reset."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"expect: 100-continue" in head:
        return
    if b"transfer-encoding: chunked" in head:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
        return
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
