"""`tidewatch demo` as a user runs it: its result, its manners on a pipe, nothing left behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="follows processes through /proc"),
]
SMALL = ("--history", "600", "--rate", "100")
"""A third of the default volume; the incident is as large."""


class Seen(NamedTuple):
    """A process as it was seen; the start time tells it from a later one with the same number."""

    pid: int
    started: str


def descendants(of: int) -> set[Seen]:
    """All processes below ``of``."""
    parents: dict[int, list[Seen]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(Seen(int(folder.name), fields[19]))
    found: set[Seen] = set()
    below = [of]
    while below:
        for seen in parents.get(below.pop(), []):
            found.add(seen)
            below.append(seen.pid)
    return found


def alive(seen: Seen) -> bool:
    try:
        fields = Path(f"/proc/{seen.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[19] == seen.started and fields[0] != "Z"


def _interruptible() -> None:
    """As a terminal starts programs: where the tests run in the background, an interrupt may be ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Demo:
    """A demo in a process group of its own, with every process it ever started, and its lines as they come."""

    def __init__(self, *arguments: str, keep: Path) -> None:
        command = (sys.executable, "-m", "streams", "demo", "--keep", str(keep), *arguments)
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if "--json" not in arguments else subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_interruptible,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.seen: set[Seen] = set()
        self.lines: list[str] = []
        self._threads = [threading.Thread(target=self._watch), threading.Thread(target=self._read)]
        for thread in self._threads:
            thread.start()

    def _watch(self) -> None:
        while self.process.poll() is None:
            self.seen |= descendants(self.process.pid)
            time.sleep(0.02)

    def _read(self) -> None:
        source = self.process.stderr or self.process.stdout
        assert source is not None
        self.lines.extend(line.decode().rstrip() for line in iter(source.readline, b""))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, condition: Callable[[], bool], secs: float) -> None:
        deadline = time.monotonic() + secs
        while not condition():
            assert time.monotonic() < deadline, f"not reached in {secs} s:\n{self.text}"
            assert self.process.poll() is None, f"ended early:\n{self.text}"
            time.sleep(0.01)

    def end(self, secs: float = 30) -> int:
        code = self.process.wait(secs)
        for thread in self._threads:
            thread.join(5)
        return code

    def left(self, secs: float) -> set[Seen]:
        """Processes that are still there after ``secs``."""
        deadline = time.monotonic() + secs
        while (left := {s for s in self.seen if alive(s)}) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.end()
        for seen in self.left(5):
            os.kill(seen.pid, signal.SIGKILL)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(*arguments: str) -> Demo:
        started.append(Demo(*SMALL, *arguments, keep=tmp_path / "state"))
        return started[-1]

    yield start
    for one in started:
        one.clean_up()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_notices_its_incident_and_answers_in_sql(demo: Callable[..., Demo]) -> None:
    run = demo("--json")
    assert run.process.stdout is not None
    output = run.process.stdout.read()
    assert run.end() == 0, run.text
    result = orjson.loads(output)  # stdout has nothing else

    assert result["ok"] is True
    assert 0 < result["delay_secs"] < 90
    assert result["alert"]["type"] == "tidewatch.alert.firing"
    # The provider has only this model: both names are of the same answers.
    named = result["alert"]["segment"]
    assert named
    assert named.items() <= {"provider": "acme-ai", "model": "acme-chat-2"}.items()
    assert result["alert"]["incident_type"] in {"refusal_surge", "model_drift"}
    assert result["alerts"]["elsewhere"] == 0
    assert result["alerts"]["before_onset"] == 0
    assert result["events_sent"] > 40_000

    told, minutes, tenants = (query["rows"] for query in result["queries"])
    assert ", ".join(f"{name}={value}" for name, value in named.items()) in {row["where"] for row in told}
    assert max(row["refused_percent"] for row in minutes) > 3 * min(row["refused_percent"] for row in minutes)
    assert len(tenants) == 5
    for row in tenants:
        assert row["refused_since"] > 5 * row["refused_before"]
        assert row["tokens_since"] < 0.6 * row["tokens_before"]

    assert "ALERT" in run.text
    assert "\x1b" not in run.text, "no terminal codes on a pipe"
    assert len(run.seen) >= 3
    assert run.left(0) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("importing", signal.SIGINT),
        ("first child", signal.SIGINT),
        ("starting", signal.SIGINT),
        ("back-filling", signal.SIGINT),
        ("live", signal.SIGINT),
        ("starting", signal.SIGHUP),
        ("back-filling", signal.SIGTERM),
    ],
)
def test_a_signal_at_any_moment_leaves_no_process(
    demo: Callable[..., Demo], moment: str, number: signal.Signals
) -> None:
    run = demo()
    if moment == "importing":
        time.sleep(0.3)
    elif moment == "first child":
        run.wait_for(lambda: bool(run.seen), 30)
    elif moment == "starting":
        run.wait_for(lambda: len(run.seen) >= 3, 30)
    else:
        run.wait_for(lambda: moment in run.text, 90)
    run.process.send_signal(number)
    code = run.end()
    assert run.left(0) == set()
    if moment != "importing":
        assert code == 130, run.text
        assert "nothing is left running" in run.text
        assert "Traceback" not in run.text
        assert "Unclosed" not in run.text


@pytest.mark.slow
def test_ctrl_c_twice_is_as_good_as_once(demo: Callable[..., Demo]) -> None:
    run = demo()
    run.wait_for(lambda: "back-filling" in run.text, 60)
    for _ in range(3):
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert run.end() == 130
    assert run.left(0) == set()


@pytest.mark.slow
def test_even_a_killed_demo_leaves_no_process(demo: Callable[..., Demo]) -> None:
    run = demo()
    run.wait_for(lambda: len(run.seen) >= 3 and "back-filling" in run.text, 60)
    run.process.kill()
    run.end()
    assert run.left(10) == set()
