"""Records that stand for no row: RECORD commits past them, else they would be lag for ever."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.app import group_name
from streams.topics import INTERACTIONS
from tests.recovery.rig.run import Run
from tests.support.brokers import Broker, committed, send
from tests.support.processes import eventually


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_unreadable_records_alone_are_committed(tansu: Broker, tmp_path: Path) -> None:
    run = Run(tansu, tmp_path / "run", 1)
    asyncio.run(send(run.config, INTERACTIONS, {0: [b"{"] * 50}))
    group = group_name(run.config, "record")
    with ExitStack() as stack:
        run.worker(stack, role="record")
        eventually(
            lambda: asyncio.run(committed(run.config, group, INTERACTIONS, 1)) == {0: 50},
            within_secs=120,
            what=f"all are committed: {run.last_words()}",
        )
