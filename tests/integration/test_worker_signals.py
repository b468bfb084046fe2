"""A worker that is asked to stop before it has begun."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.processes import eventually, tidewatch


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("role", ["detect", "record"])
def test_a_worker_that_is_asked_to_stop_while_it_loads_ends_well(
    tmp_path: Path, role: str, number: signal.Signals
) -> None:
    config = tmp_path / "tidewatch.toml"
    os.mkfifo(config)  # nobody writes: loading lasts
    with tidewatch(
        "worker", role, "--config", str(config), log=tmp_path / "worker.log", cwd=tmp_path
    ) as worker:
        eventually(lambda: worker.catches(signal.SIGTERM), what="the worker sets its handlers")
        worker.send(number)
        assert worker.wait(10) == 0
        assert worker.output() == ""
