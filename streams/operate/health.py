"""`/livez`, `/readyz` and `/metrics` of a worker, answered from a thread of its own.

A server on the worker's event loop would share the fate of what it reports: a blocked loop could not say that it
is blocked. So the loop publishes a report twice a second, and this thread answers from the last one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import orjson
from aiohttp import web

from streams.operate.metrics import CONTENT_TYPE, Exposition, Sample

STALE_SECS: Final = 5.0
"""Reports come twice a second; without one for so long the worker is not ready."""
START_SECS: Final = 10.0


class CannotListen(Exception):
    """The address is taken or not ours; says which, and what to do."""


class Report(NamedTuple):
    """What the event loop last said about the worker."""

    reasons: tuple[str, ...] = ("starting",)
    """Why the worker is not ready; empty when it is."""
    sample: Sample = Sample()


class HealthServer:
    """Answers from the last report.

    ``blocked_secs`` tells how long the event loop has not turned; it is dead after ``limit_secs`` of that.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        blocked_secs: Callable[[], float] = lambda: 0.0,
        limit_secs: float = 60.0,
    ) -> None:
        self._host = host
        self._port = port
        self._blocked_secs = blocked_secs
        self._limit_secs = limit_secs
        self._report = Report()
        self._reported_secs = time.monotonic()
        self._exposition = Exposition(lambda: self._report.sample)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._problem: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self.port = port
        """The port that it listens on, after ``start``."""

    def start(self) -> None:
        """Listen. Raises CannotListen."""
        self._thread.start()
        if not self._started.wait(START_SECS):
            raise CannotListen(f"no health server at {self._host}:{self._port} within {START_SECS:g} s")
        if self._problem is not None:
            raise CannotListen(
                f"cannot answer health checks at {self._host}:{self._port} ({self._problem.strerror}); "
                "choose another operate.port, or 0 for any"
            )

    def publish(self, report: Report) -> None:
        """Replace the report; from any thread."""
        self._report, self._reported_secs = report, time.monotonic()

    def stop(self) -> None:
        """Stop listening; stopping twice is harmless."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(2.0)

    def reasons(self) -> list[str]:
        """Why the worker is not ready, as of now."""
        if (blocked_secs := self._blocked_secs()) >= STALE_SECS:
            return [f"the event loop is blocked for {blocked_secs:.0f} s", *self._report.reasons]
        if (silent_secs := time.monotonic() - self._reported_secs) >= STALE_SECS:
            return [f"no report for {silent_secs:.0f} s", *self._report.reasons]
        return list(self._report.reasons)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner: web.AppRunner | None = None
        try:
            runner = self._loop.run_until_complete(self._listen())
            self._started.set()
            self._loop.run_forever()
        except OSError as error:
            self._problem = error
            self._started.set()
        finally:
            if runner is not None:
                self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    async def _listen(self) -> web.AppRunner:
        app = web.Application(client_max_size=1024)
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self.port = runner.addresses[0][1]
        return runner

    async def _livez(self, _: web.Request) -> web.Response:
        blocked_secs = self._blocked_secs()
        dead = blocked_secs >= self._limit_secs
        return _answer([f"the event loop is blocked for {blocked_secs:.0f} s"] if dead else [])

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self.reasons())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._exposition.text(), headers={"Content-Type": CONTENT_TYPE})


def _answer(reasons: list[str]) -> web.Response:
    body = orjson.dumps({"ok": not reasons, "reasons": reasons})
    return web.Response(status=503 if reasons else 200, body=body, content_type="application/json")
