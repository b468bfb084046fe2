"""What is said again and again is said seldom; a log that cannot be written ends nobody."""

from __future__ import annotations

import errno
import io
from typing import cast

import pytest
import structlog

from streams import logs


def test_what_goes_on_is_said_at_once_and_then_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    seldom = logs.Seldom(60)
    assert not seldom.over(), "nothing was said"
    assert seldom()
    now += 59
    assert not seldom()
    now += 1
    assert seldom()
    assert seldom.over()
    assert not seldom.over()
    assert seldom(), "another trouble"


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_raises_nothing() -> None:
    stream = cast("io.TextIOWrapper", logs._Lenient(FullDisk()))
    structlog.PrintLogger(stream).msg("text")
