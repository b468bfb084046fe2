"""Processes of a pool do not outlive the program that began them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.processes import eventually

PROGRAM = """
import sys
from pathlib import Path
from streams.pools import pool_of
from tests.unit.streams.test_pools import hang

if __name__ == "__main__":
    with pool_of(2) as pool:
        list(pool.map(hang, [Path(name) for name in sys.argv[1:]]))
"""


def hang(said: Path) -> None:
    """Say who this is, and work for longer than anybody waits."""
    said.write_text(f"{os.getpid()}\n")
    while True:
        time.sleep(60)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_program_leaves_no_workers(tmp_path: Path) -> None:
    program, said = tmp_path / "program.py", [tmp_path / "one", tmp_path / "two"]
    program.write_text(PROGRAM)
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, program, *said], env=os.environ | {"PYTHONPATH": str(root)}, cwd=root
    )
    try:
        eventually(lambda: all(path.exists() and path.read_text().endswith("\n") for path in said))
        workers = [int(path.read_text()) for path in said]
        assert all(map(runs, workers))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    eventually(lambda: not any(map(runs, workers)))
