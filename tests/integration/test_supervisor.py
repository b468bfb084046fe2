"""`tidewatch up`: records end up as rows, children are replaced, nothing is left behind however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.broker import free_port, is_free
from streams.config import Config, load_config
from streams.queryserver import ask
from streams.supervisor import read_status, running_stack, with_running_stack
from streams.topics import INTERACTIONS
from tests.support.brokers import send
from tests.support.processes import Child, children_of, eventually, tidewatch

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@contextmanager
def up(folder: Path, more: str = "") -> Iterator[Child]:
    """``more`` is appended to the configuration."""
    (folder / "tidewatch.toml").write_text(
        f'state_dir = "state"\n[topics]\npartitions = 2\n[kafka]\nbootstrap = "127.0.0.1:{free_port()}"\n{more}'
    )
    with tidewatch("up", "--json", log=folder / "up.log", cwd=folder) as child:
        yield child


def lines(child: Child) -> list[dict[str, Any]]:
    found = []
    for line in child.output().splitlines():
        with contextlib.suppress(orjson.JSONDecodeError):
            found.append(orjson.loads(line))
    return found


def await_ready(child: Child) -> dict[str, Any]:
    def ready() -> list[dict[str, Any]]:
        assert child.running, child.output()
        return [line for line in lines(child) if line["event"] == "ready"]

    eventually(ready, within_secs=60, what="the stack is ready")
    return ready()[0]


def await_gone(pids: set[int]) -> None:
    def running() -> set[int]:
        return {pid for pid in pids if Path(f"/proc/{pid}").exists() and not _is_zombie(pid)}

    eventually(lambda: not running(), within_secs=15, what=f"{pids} are gone")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def config_of(folder: Path) -> Config:
    config = load_config(folder / "tidewatch.toml")
    return with_running_stack(config.model_copy(update={"state_dir": folder / "state"}))


def test_records_become_rows_and_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    with up(tmp_path) as child:
        told = await_ready(child)
        stack = running_stack(tmp_path / "state")
        assert stack is not None
        assert stack.processes == told["pids"]
        config = config_of(tmp_path)
        assert config.kafka.bootstrap == told["bootstrap"]
        values = {p: [_event(p, n) for n in range(500)] for p in (0, 1)}
        asyncio.run(send(config, INTERACTIONS, values))

        def rows() -> int:
            answer = orjson.loads(ask(tmp_path / "state", "SELECT uniqExact(event_id) FROM interactions"))
            return int(answer["data"][0][0])

        eventually(lambda: rows() == 1000, what="all rows are stored")
        for name in ("detect-1", "record"):
            os.kill(told["pids"][name], signal.SIGKILL)

        def replaced() -> bool:
            now = running_stack(tmp_path / "state")
            assert now is not None
            names = ("detect-1", "record")
            if any(now.processes.get(name, told["pids"][name]) == told["pids"][name] for name in names):
                return False
            statuses = read_status(tmp_path / "state")
            return all(statuses.get((n.split("-")[0], now.processes[n]), {}).get("ready") for n in names)

        eventually(replaced, within_secs=60, what="both workers run again")
        asyncio.run(send(config, INTERACTIONS, {0: [_event(0, n) for n in range(500, 600)]}))
        eventually(lambda: rows() == 1100, what="the new worker goes on")
        pids = {child.pid, *children_of(child.pid)}
        assert len(pids) == 4
        child.send(signal.SIGINT)
        assert child.wait(20) == 0, child.output()
        await_gone(pids)
    assert running_stack(tmp_path / "state") is None


def _event(partition: int, number: int) -> bytes:
    at = 1_790_000_000_000 + number * 100
    return orjson.dumps({"event_id": f"{partition}-{number}", "occurred_at": at, "model_requested": "m"})


def test_kill_9_of_the_supervisor_leaves_nothing(tmp_path: Path) -> None:
    with up(tmp_path) as child:
        told = await_ready(child)
        pids = set(told["pids"].values())
        child.kill()
        await_gone(pids)
        assert is_free(int(told["bootstrap"].rsplit(":", 1)[1]))
    assert running_stack(tmp_path / "state") is None, "the left-over file is not believed"


@pytest.mark.parametrize("when", ["start", "broker", "workers", "ready"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_leaves_nothing(tmp_path: Path, when: str, number: signal.Signals) -> None:
    with up(tmp_path) as child:
        if when == "start":
            eventually(lambda: (tmp_path / "state" / "up.lock").exists(), what="the stack begins")
        elif when == "broker":
            eventually(lambda: list(children_of(child.pid)), what="the broker is started")
        elif when == "workers":
            eventually(lambda: len(list(children_of(child.pid))) == 3, what="the workers are started")
        else:
            await_ready(child)
        pids = set(children_of(child.pid))
        child.send(number)
        assert child.wait(25) == 0, child.output()
        await_gone(pids | set(children_of(child.pid)))
        assert "Traceback" not in child.output()


@pytest.mark.parametrize("when", ["workers", "ready"])
def test_impatience_leaves_nothing(tmp_path: Path, when: str) -> None:
    """Ctrl-C again and again, from the first until the very end of the process."""
    with up(tmp_path) as child:
        if when == "workers":
            eventually(lambda: len(list(children_of(child.pid))) == 3, what="the workers are started")
        else:
            await_ready(child)
        pids = set(children_of(child.pid))

        def pressed_until_the_end() -> bool:
            with contextlib.suppress(ProcessLookupError):
                child.send(signal.SIGINT)
            pids.update(children_of(child.pid))
            return not child.running

        eventually(pressed_until_the_end, within_secs=40, what="the stack is down")
        assert child.wait(1) == 0, child.output()
        await_gone(pids)
        assert "Traceback" not in child.output()
        assert "stopped" in child.output()


def test_a_second_stack_on_the_same_state_is_refused(tmp_path: Path) -> None:
    with up(tmp_path) as child:
        await_ready(child)
        second = subprocess.run(
            [sys.executable, "-m", "streams", "up"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 1
        assert "a stack runs already" in second.stderr
        assert child.running


def test_a_broker_that_ends_takes_its_log_and_the_stack_starts_again(tmp_path: Path) -> None:
    with up(tmp_path) as child:
        told = await_ready(child)
        os.kill(told["pids"]["broker"], signal.SIGKILL)

        def new_stack_ready() -> bool:
            now = running_stack(tmp_path / "state")
            statuses = read_status(tmp_path / "state")
            return (
                now is not None
                and now.processes["broker"] != told["pids"]["broker"]
                and statuses.get(("detect", now.processes.get("detect-1", 0)), {}).get("ready") is True
            )

        eventually(new_stack_ready, within_secs=60, what="broker and workers run again")
        assert any("its log is lost" in line.get("text", "") for line in lines(child))
