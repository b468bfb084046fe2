"""A dead ClickHouse delays no alert: RECORD waits for it, DETECT does not know it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.broker import free_port
from streams.operate.status import read_status
from streams.topics import ALERTS
from tests.recovery.rig.run import Run, offline, traffic
from tests.support.brokers import Broker
from tests.support.processes import eventually


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_alerts_come_while_the_store_is_dead(tansu: Broker, tmp_path: Path) -> None:
    events = traffic(24, 8.0)
    run = Run(tansu, tmp_path / "run", 2, clickhouse={"interface": "http", "port": free_port()})
    run.send(events)
    with ExitStack() as stack:
        record = run.worker(stack, role="record")

        def store_away() -> bool:
            status = read_status(run.config.state_dir).get(("record", record.pid), {})
            return status.get("store_away") is True

        eventually(store_away, within_secs=120, what=f"RECORD waits for the store: {run.last_words()}")
        run.worker(stack)
        run.await_end(events)
        assert store_away()
        assert record.running
        rows = offline(events).rows[ALERTS]
        assert rows
        assert run.results(events).rows[ALERTS] == rows
