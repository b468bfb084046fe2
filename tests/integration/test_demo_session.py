"""The demo's session when things go wrong, and on a real terminal."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from streams.demo.concurrency import alongside
from streams.demo.display import PlainDisplay
from streams.demo.driver import DemoFailed
from streams.demo.session import run_session
from streams.demo.settings import Options

pytestmark = pytest.mark.broker


async def test_a_demo_that_gets_no_alert_says_what_it_saw_and_keeps_the_logs() -> None:
    lines = io.StringIO()
    options = Options(history_secs=300, rate_per_sec=50, quiet_secs=0.1, alert_deadline_secs=0.5)
    with pytest.raises(DemoFailed) as failed:
        await run_session(options, PlainDisplay(Console(file=lines, width=100)))
    text = str(failed.value)
    assert "no alert on provider=acme-ai, model=acme-chat-2 arrived within 0 s" in text
    for part in ("records; closed", "lag of detect", "refusal_ratio of provider=acme-ai", "0 alerts"):
        assert part in text
    folder = Path(text.rpartition(" are in ")[2])
    try:
        assert (folder / "up" / "detect-1.log").exists()
        assert not (folder / "up.json").exists(), "the stack is down"
    finally:
        shutil.rmtree(folder)


async def test_what_fails_beside_the_main_thing_ends_it_and_is_raised_as_it_is() -> None:
    ended = []

    async def main() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("main")

    async def fails() -> None:
        raise LookupError("the broker is gone")

    async def done() -> None:
        pass

    with pytest.raises(LookupError, match="the broker is gone"):
        await alongside(main(), done(), fails())
    assert ended == ["main"]


async def test_the_main_thing_ends_the_others() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("other")

    async def main() -> int:
        await asyncio.sleep(0)
        return 7

    assert await alongside(main(), forever()) == 7
    assert ended == ["other"]


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_gives_the_terminal_back(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:  # the child: a demo with a terminal of its own
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        os.execv(sys.executable, [sys.executable, "-m", "streams", "demo", "--keep", str(tmp_path / "state")])  # noqa: S606
    seen = b""
    try:
        deadline = time.monotonic() + 60
        typed = False
        while time.monotonic() < deadline:
            try:
                seen += os.read(terminal, 65_536)
            except OSError:  # the other end is closed
                break
            if not typed and b"back-filling" in seen:
                os.write(terminal, b"\x03")
                typed = True
        _, status = os.waitpid(pid, 0)
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)
    text = seen.decode(errors="replace")
    assert os.waitstatus_to_exitcode(status) == 130, text[-2000:]
    assert "Tidewatch demo" in text
    assert text.count("\x1b[?25h") >= 1, "the cursor is shown again"
    assert text.rstrip().endswith("nothing is left running")
