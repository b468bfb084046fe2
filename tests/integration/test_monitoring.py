"""Alerts about Tidewatch itself, from real workers on the embedded broker."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from detectors.records import Alert
from streams.broker import free_port
from streams.config import Config
from streams.operate.monitor import _last_alerts
from streams.operate.monitoring import FIRING, RESOLVED
from streams.operate.status import read_status
from streams.topics import INTERACTIONS
from tests.support.brokers import Broker, make_topics, send
from tests.support.processes import Child, eventually, tidewatch

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.faults]

SECTIONS: dict[str, Any] = {
    "topics": {"partitions": 2},
    "checkpoint": {"interval_secs": 0.5},
    "kafka": {"session_timeout_secs": 3.0, "chunk_records": 200},
    "windows": {"idle_secs": 2},
    "monitoring": {
        "every_secs": 0.5,
        "for_secs": 1.0,
        "lag_secs": 4.0,
        "silent_secs": 6.0,
        "sink_secs": 2.0,
        "restarts": 2,
    },
}


class Fleet:
    """A configuration on a broker, and what it says about itself."""

    def __init__(self, broker: Broker, folder: Path, **sections: Any) -> None:
        self.folder = folder
        self.config: Config = broker.config(folder, **SECTIONS | sections)
        self.path = broker.write_config(folder / "t.toml", folder, **SECTIONS | sections)
        self.sent = 0
        asyncio.run(make_topics(self.config))

    def worker(self, role: str) -> Child:
        log = self.folder / f"{role}.log"
        return tidewatch("worker", role, "--config", str(self.path), log=log, cwd=self.folder)

    def await_ready(self, child: Child, role: str) -> None:
        def ready() -> object:
            assert child.running, child.output()
            return read_status(self.folder).get((role, child.pid), {}).get("ready")

        eventually(ready, within_secs=60, what=f"{role} is ready")

    def feed(self, count: int = 40, bad: int = 0) -> None:
        """Records at one moment of event time; the first ``bad`` of them are no JSON."""
        values = []
        for n in range(self.sent, self.sent + count):
            event = {"event_id": f"e{n}", "occurred_at": 1_790_000_000_000 + n, "model_requested": "m"}
            values.append(b"{" if n - self.sent < bad else orjson.dumps(event))
        self.sent += count
        asyncio.run(send(self.config, INTERACTIONS, {0: values[::2], 1: values[1::2]}))

    def alerts(self, condition: str) -> list[Alert]:
        found = asyncio.run(_last_alerts(self.config.kafka))
        return [alert for alert in found if alert.signal == condition]

    def await_alert(self, condition: str, kind: str) -> Alert:
        def of_kind() -> list[Alert]:
            return [alert for alert in self.alerts(condition) if alert.type == kind]

        eventually(of_kind, within_secs=60, what=f"{condition}: {kind}")
        found = of_kind()
        assert len({alert.alert_id for alert in found}) == 1, "one alert, however often it is sent"
        return found[0]


def test_silence_and_dead_letters_are_told_and_end(tansu: Broker, tmp_path: Path) -> None:
    fleet = Fleet(tansu, tmp_path)
    with fleet.worker("detect") as worker:
        fleet.await_ready(worker, "detect")
        assert fleet.alerts("silent_producer") == []
        fleet.feed(100, bad=60)
        refused = fleet.await_alert("dead_letters", FIRING)
        assert refused.n >= 20
        assert 0.05 <= refused.observed <= 1
        silent = fleet.await_alert("silent_producer", FIRING)
        assert silent.summary.startswith("Tidewatch: no record arrived on llm.interactions for")
        fleet.feed(500)
        ended = fleet.await_alert("silent_producer", RESOLVED)
        assert ended.fingerprint == silent.fingerprint
        assert ended.started_at == silent.started_at
        fleet.await_alert("dead_letters", RESOLVED)
        assert fleet.alerts("lag") == []
        assert "e1" not in worker.output()


def test_lag_of_a_group_whose_other_worker_is_paused_and_restarts(tansu: Broker, tmp_path: Path) -> None:
    sections = {"kafka": {"session_timeout_secs": 8.0}}
    fleet = Fleet(tansu, tmp_path, **sections)
    with fleet.worker("detect") as one, fleet.worker("detect") as two:
        fleet.await_ready(one, "detect")
        fleet.await_ready(two, "detect")
        fleet.feed()
        leader, other = sorted(
            (one, two), key=lambda w: read_status(tmp_path)["detect", w.pid]["decide"] is None
        )
        os.kill(other.pid, signal.SIGSTOP)
        for _ in range(5):
            fleet.feed()
        lag = fleet.await_alert("lag", FIRING)
        assert lag.segment == {"subject": INTERACTIONS}
        os.kill(other.pid, signal.SIGCONT)
        fleet.await_alert("lag", RESOLVED)
        assert fleet.alerts("restart_loop") == []
        for victim in (leader, other):
            victim.kill()
    with fleet.worker("detect") as third:
        fleet.await_ready(third, "detect")
        loop = fleet.await_alert("restart_loop", FIRING)
        assert loop.observed == 2


def test_an_outage_of_the_store_is_told_and_ends(tansu: Broker, tmp_path: Path) -> None:
    port = free_port()
    clickhouse = {"interface": "http", "host": "127.0.0.1", "port": port}
    fleet = Fleet(tansu, tmp_path, clickhouse=clickhouse)
    with fleet.worker("record") as worker:
        fleet.feed()
        outage = fleet.await_alert("sink_outage", FIRING)
        assert outage.summary.startswith("Tidewatch: the store cannot be written to")
        status = read_status(tmp_path)["record", worker.pid]
        assert "the store cannot be written to" in status["reasons"]
        assert worker.running
