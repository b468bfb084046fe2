"""The laptop stack under one supervisor: embedded broker, detect workers, record worker.

Children are started in sessions of their own, so that Ctrl-C reaches only the supervisor, which stops them in
order; and the kernel kills them when the supervisor ends in any other way. A worker that ends is started again
with back-off. A broker that ends has lost its log: everything starts again, baselines stay (they are in the
checkpoint).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NamedTuple

import orjson

from streams.broker import EmbeddedBroker, die_with_parent, free_port, is_free
from streams.broker_gate import Gate
from streams.broker_memory import memory_spent
from streams.client import ADMIN_CLIENT, FROM_CLIENT, TO_CLIENT, WORKER_CLIENT, open_admin
from streams.config import Config
from streams.kafka_config import KafkaConfig
from streams.logs import Seldom
from streams.operate.status import read_status
from streams.reaching import REACH_CLIENT
from streams.topic_admin import create_topics

UP_FILE = "up.json"
STOP_SECS = 10.0
FIRST_BACK_OFF_SECS = 0.5
LONGEST_BACK_OFF_SECS = 15.0
STEADY_SECS = 60.0
"""A process that ran this long starts again without delay."""

LITTLE_RECORDS = 1000
"""What a worker may still have to do when the broker's log is replaced; it is carried over."""
SETUP_CLIENTS = (ADMIN_CLIENT, REACH_CLIENT)
WORKER_CLIENTS = (WORKER_CLIENT, *SETUP_CLIENTS)

State = Literal["starting", "running", "restarting", "stopped"]


class StackError(Exception):
    """The stack cannot run; says why and what to do."""


class RunningStack(NamedTuple):
    """What ``up.json`` says about a stack that runs."""

    pid: int
    bootstrap: str
    cluster_id: str
    processes: dict[str, int]
    """Name -> process id."""


@dataclass
class Process:
    """One child as views show it."""

    name: str
    pid: int | None = None
    state: State = "starting"
    restarts: int = 0


class LocalStack:
    """Use as an async context manager from the main thread; ``config`` is then the one with the broker's address.

    ``tell`` is called with one line for each thing that a person may want to know.
    """

    def __init__(
        self,
        config: Config,
        *,
        detect_workers: int = 1,
        record: bool = True,
        tell: Callable[[str], None] = print,
    ) -> None:
        self._base_config = config
        self.config = config
        self._tell = tell
        self._folder = config.state_dir / "up"
        self._roles = [("detect", f"detect-{n + 1}") for n in range(detect_workers)]
        self._roles += [("record", "record")] if record else []
        self._processes = {"broker": Process("broker")} | {name: Process(name) for _, name in self._roles}
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._gate = Gate(_wanted_port(config))
        self._broker: EmbeddedBroker | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock: IO[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return self.config.kafka.bootstrap

    def processes(self) -> list[Process]:
        return list(self._processes.values())

    async def __aenter__(self) -> LocalStack:
        self._take_lock()
        try:
            await self._gate.start()
            await self._start_broker()
            self._task = asyncio.create_task(self._supervise())
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def ended(self) -> None:
        """Wait for the supervision to end; it does only by an error, which is raised here."""
        assert self._task is not None  # noqa: S101 - within the context
        await asyncio.shield(self._task)

    async def ready(self, timeout_secs: float = 60.0) -> None:
        """Wait until every worker has its partitions.

        Raises:
            StackError: they do not get there in time.
        """
        deadline = time.monotonic() + timeout_secs
        while not all(self._is_ready(role, self._processes[name].pid) for role, name in self._roles):
            if self._task is not None and self._task.done():
                self._task.result()
            if time.monotonic() > deadline:
                raise StackError(f"the workers are not ready after {timeout_secs:.0f} s; see {self._folder}")
            await asyncio.sleep(0.1)

    def _is_ready(self, role: str, pid: int | None) -> bool:
        status = read_status(self.config.state_dir).get((role, pid or 0))
        return status is not None and bool(status.get("ready"))

    async def _supervise(self) -> None:
        while True:
            assert self._broker is not None  # noqa: S101 - started before
            async with asyncio.TaskGroup() as group:
                workers = [group.create_task(self._keep(role, name)) for role, name in self._roles]
                broker_ended = group.create_task(self._broker_ended())
                full = group.create_task(self._broker_full(self._broker))
                await asyncio.wait([broker_ended, full], return_when=asyncio.FIRST_COMPLETED)
                for task in (*workers, broker_ended, full):
                    task.cancel()
            await self._stop_children()
            self._processes["broker"].restarts += 1
            if self._broker.returncode is None:
                await self._renew(self._broker)
            else:
                self._tell("the broker ended; its log is lost: starting again")
                await self._start_broker()

    async def _broker_ended(self) -> None:
        assert self._broker is not None  # noqa: S101 - started before
        while self._broker.returncode is None:  # noqa: ASYNC110 - a process is no event
            await asyncio.sleep(0.2)

    async def _broker_full(self, broker: EmbeddedBroker) -> None:
        """Return when the broker's log has to be replaced: it is full, and the workers are through with it."""
        ceiling_mb = self.config.up.broker_memory_mb
        await memory_spent(lambda: broker.pid, ceiling_mb, self._tell)
        self._gate.admit(None, dict.fromkeys(WORKER_CLIENTS, broker.port))
        self._tell(f"the broker's log is full ({ceiling_mb} MB): producers wait")
        since_ms, again = time.time_ns() // 1_000_000, Seldom()
        again()
        while behind := self._behind(since_ms):
            if again():
                self._tell(f"producers wait still, for {', '.join(behind)}")
            await asyncio.sleep(0.1)

    def _behind(self, since_ms: int) -> list[str]:
        """Workers that have not said since then that little is left for them to do."""
        behind = []
        for role, name in self._roles:
            status = read_status(self.config.state_dir).get((role, self._processes[name].pid or 0), {})
            lag = status.get("lag") if status.get("at_ms", 0) > since_ms else None
            if lag is None or lag > LITTLE_RECORDS:
                behind.append(name if lag is None else f"{name}, {lag:,} records behind")
        return behind

    async def _renew(self, old: EmbeddedBroker) -> None:
        """Go on with an empty log; the workers have stopped."""
        from streams.renewal import End, move  # all of a worker, for what most runs never need

        new = self._new_broker()
        new_clients = dict.fromkeys((TO_CLIENT, *SETUP_CLIENTS), new.port)
        self._gate.admit(None, {FROM_CLIENT: old.port} | new_clients)
        try:
            await self._set_up(new)
            ends = (End(self._kafka_of(broker), broker.cluster_id) for broker in (old, new))
            moved = await move(self.config, *ends)
        except BaseException:
            await new.stop()
            raise
        self._broker = new
        self._gate.admit(new.port)
        self._mark("broker", new.pid, "running")
        await old.stop()
        self._tell(
            f"the broker goes on with an empty log; {moved:,} records that were still needed went along"
        )

    def _kafka_of(self, broker: EmbeddedBroker) -> KafkaConfig:
        return self.config.kafka.on_this_computer(broker.bootstrap)

    def _new_broker(self) -> EmbeddedBroker:
        return EmbeddedBroker(log=self._folder / "broker.log", advertised_port=self._gate.port)

    async def _start_broker(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._broker = self._new_broker()
        self._gate.admit(self._broker.port)
        kafka = self._base_config.kafka.on_this_computer(f"127.0.0.1:{self._gate.port}")
        checkpoint = self._base_config.checkpoint.model_copy(update={"store": "sqlite"})
        self.config = self._base_config.model_copy(
            update={
                "kafka": kafka,
                "checkpoint": checkpoint,
                "state_dir": self._base_config.state_dir.resolve(),
            }
        )
        _write_private(self._folder / "config.json", self.config.model_dump_json())
        await self._set_up(self._broker)
        self._mark("broker", self._broker.pid, "running")

    async def _set_up(self, broker: EmbeddedBroker) -> None:
        await broker.start()
        admin = await open_admin(self._kafka_of(broker))
        try:
            await create_topics(admin, self.config)
        finally:
            await admin.close()

    async def _keep(self, role: str, name: str) -> None:
        """Run one worker, again and again."""
        pause = FIRST_BACK_OFF_SECS
        while True:
            started = time.monotonic()
            code = await self._run_once(role, name)
            if time.monotonic() - started > STEADY_SECS:
                pause = FIRST_BACK_OFF_SECS
            self._tell(
                f"{name} ended with code {code}; starting again in {pause:g} s (log: {self._log(name)})"
            )
            self._processes[name].restarts += 1
            self._mark(name, None, "restarting")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_BACK_OFF_SECS)

    async def _run_once(self, role: str, name: str) -> int:
        with self._log(name).open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "streams.child", role, str(self._folder / "config.json")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self._children[name] = child
        self._mark(name, child.pid, "running")
        return await child.wait()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _mark(self, name: str, pid: int | None, state: State) -> None:
        process = self._processes[name]
        process.pid, process.state = pid, state
        known = {p.name: p.pid for p in self._processes.values() if p.pid is not None}
        assert self._broker is not None  # noqa: S101 - started before anything is marked
        running = RunningStack(os.getpid(), self.bootstrap, self._broker.cluster_id, known)
        draft = self.config.state_dir / f"{UP_FILE}.new"
        try:
            draft.write_bytes(orjson.dumps(running._asdict()))
            draft.replace(self.config.state_dir / UP_FILE)
        except OSError as error:  # a full disk: the stack goes on, and other commands see the state of before
            self._tell(f"{UP_FILE} cannot be written: {error.strerror}")

    async def _stop(self) -> None:
        """Workers first, then the broker; nothing is left."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(BaseException):
                await self._task
        await self._stop_children()
        if self._broker is not None:
            await self._broker.stop()
        await self._gate.close()
        (self.config.state_dir / UP_FILE).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _stop_children(self) -> None:
        running = [child for child in self._children.values() if child.returncode is None]
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        ends = [asyncio.create_task(child.wait()) for child in running]
        if ends:
            await asyncio.wait(ends, timeout=STOP_SECS)
        for child in running:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
        await asyncio.gather(*ends)
        self._children.clear()

    def _take_lock(self) -> None:
        state_dir = self._base_config.state_dir
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state_dir / "up.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StackError(
                f"a stack runs already with state_dir {state_dir}; stop it, or choose another state_dir"
            ) from None
        self._lock = lock


def _write_private(path: Path, text: str) -> None:
    """Replace the file by one that only its owner can read: it says where secrets are."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _wanted_port(config: Config) -> int:
    """The port that the configuration names, if it is on this host and free; else (or for port 0) any."""
    host, _, port = config.kafka.bootstrap.split(",")[0].strip().rpartition(":")
    if port.isdigit() and int(port) and host in ("127.0.0.1", "localhost") and is_free(int(port)):
        return int(port)
    return free_port()


def running_stack(state_dir: Path) -> RunningStack | None:
    """The stack that runs with this ``state_dir``, if one does."""
    try:
        found = RunningStack(**orjson.loads((state_dir / UP_FILE).read_bytes()))
        os.kill(found.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return found


def with_running_stack(config: Config) -> Config:
    """The configuration, with the broker of the stack that runs on its ``state_dir``, if one does."""
    found = running_stack(config.state_dir)
    if found is None:
        return config
    return config.model_copy(update={"kafka": config.kafka.on_this_computer(found.bootstrap)})


__all__ = [
    "LocalStack",
    "Process",
    "RunningStack",
    "StackError",
    "read_status",
    "running_stack",
    "with_running_stack",
]
