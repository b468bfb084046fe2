"""Abort points: each in the code once, off unless asked for, and deadly when reached."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streams.faultpoints import ENVIRONMENT, FAULTPOINTS, Countdown, UnknownFaultpoint, faultpoint

STREAMS = Path(__file__).resolve().parents[3] / "streams"


def test_every_point_is_in_the_code_once_and_every_one_in_the_code_is_in_the_table() -> None:
    used = [
        name
        for path in STREAMS.rglob("*.py")
        for name in re.findall(r'faultpoint\("([^"]+)"\)', path.read_text("utf-8"))
    ]
    assert sorted(used) == sorted(FAULTPOINTS)


def test_nothing_happens_without_the_variable() -> None:
    assert ENVIRONMENT not in os.environ
    for name in FAULTPOINTS:
        faultpoint(name)


@pytest.mark.parametrize(
    "text", ["", "decide.sent", "decide.sent:", "decide.sent:0", "decide.sent:x", "nowhere:1"]
)
def test_an_unknown_point_is_an_error(text: str) -> None:
    with pytest.raises(UnknownFaultpoint, match=ENVIRONMENT):
        Countdown.parse(text)


def test_the_process_ends_at_the_pass_that_was_asked_for() -> None:
    script = (
        "from streams.faultpoints import faultpoint\n"
        "for number in range(5):\n"
        "    faultpoint('decide.saved')\n"
        "    print(number, flush=True)\n"
        "    faultpoint('decide.sent')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {ENVIRONMENT: "decide.sent:3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL
    assert run.stdout.split() == ["0", "1", "2"]
