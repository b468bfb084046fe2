"""Child processes of tests: ended by id, with everything they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from streams.broker import die_with_parent


class Child:
    """One process in a process group of its own; its output goes to ``log``."""

    def __init__(self, argv: list[str], log: Path, *, cwd: Path, env: dict[str, str] | None = None) -> None:
        self.argv = argv
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=os.environ | (env or {}),
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def catches(self, number: signal.Signals) -> bool:
        """Whether the program has set a handler of its own for a signal (Linux)."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
        return False

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)

    def wait(self, timeout_secs: float) -> int:
        """The exit code."""
        return self.process.wait(timeout_secs)

    def end(self) -> None:
        """Whatever state it is in: gone afterwards, with its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def tidewatch(*arguments: str, log: Path, cwd: Path, env: dict[str, str] | None = None) -> Child:
    """The `tidewatch` program of this checkout as a process."""
    return Child([sys.executable, "-m", "streams", *arguments], log, cwd=cwd, env=env)


def eventually(
    condition: Callable[[], object], *, within_secs: float = 30.0, what: str | Callable[[], str] = ""
) -> None:
    """Wait until ``condition`` is true; fail with ``what``, or what it says by then, if it is not in time."""
    deadline = time.monotonic() + within_secs
    while not condition():
        if time.monotonic() > deadline:
            said = what() if callable(what) else what
            raise AssertionError(f"not within {within_secs} s: {said or condition}")
        time.sleep(0.02)


def children_of(pid: int) -> Iterator[int]:
    """Ids of the direct and indirect children of a process (Linux)."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                yield child
                yield from children_of(child)
