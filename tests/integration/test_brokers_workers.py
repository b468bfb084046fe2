"""Worker processes on both kinds of broker: stopping, sockets, takeover, missing topics."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import orjson
import pytest

from streams.app import group_name
from streams.partials import Watermark, decode_log_record
from streams.supervisor import read_status
from streams.topics import INTERACTIONS, PARTIALS
from tests.support.brokers import Broker, committed, make_topics, read_all, send
from tests.support.processes import Child, eventually, tidewatch

PARTITIONS = 4
BASE_MS = 1_790_000_000_000
SECTIONS = {
    "topics": {"partitions": PARTITIONS},
    "checkpoint": {"interval_secs": 0.5},
    "kafka": {"session_timeout_secs": 3.0},
}


def events(first: int, count: int) -> dict[int, list[bytes]]:
    """Numbered interactions, 100 a second of event time, round the partitions."""
    found: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
    for number in range(first, first + count):
        event = {"event_id": f"e{number}", "occurred_at": BASE_MS + number * 10, "model_requested": "m"}
        found[number % PARTITIONS].append(orjson.dumps(event))
    return found


def status(state_dir: Path, child: Child) -> dict[str, object]:
    return read_status(state_dir).get(("detect", child.pid), {})


def ready(state_dir: Path, child: Child) -> bool:
    assert child.running, child.output()
    return bool(status(state_dir, child).get("ready"))


class Socket(NamedTuple):
    """An IP socket of a process (Linux)."""

    state: str
    local: str
    remote: str


ESTABLISHED, LISTENING = "01", "0A"


def sockets_of(pid: int) -> list[Socket]:
    """Every IP socket of a process (Linux)."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                found.append(Socket(fields[3], _address(fields[1]), _address(fields[2])))
    return found


def _address(field: str) -> str:
    address, port = field.split(":")
    host = socket.inet_ntoa(bytes.fromhex(address)[::-1]) if len(address) == 8 else address
    return f"{host}:{int(port, 16)}"


def test_a_worker_only_talks_to_the_broker_and_stops_in_time(broker: Broker, tmp_path: Path) -> None:
    config = broker.config(tmp_path, **SECTIONS)
    path = broker.write_config(tmp_path / "t.toml", tmp_path, **SECTIONS)
    asyncio.run(make_topics(config))
    asyncio.run(send(config, INTERACTIONS, events(0, 8000)))
    with tidewatch("worker", "detect", "--config", str(path), log=tmp_path / "log", cwd=tmp_path) as child:
        eventually(lambda: ready(tmp_path, child), what="ready")
        eventually(lambda: status(tmp_path, child).get("records") == 8000, what="all records aggregated")
        sockets = sockets_of(child.pid)
        listening = [found.local for found in sockets if found.state == LISTENING]
        assert listening == [f"127.0.0.1:{status(tmp_path, child)['port']}"], (
            "only health checks, on loopback"
        )
        connections = [found for found in sockets if found.state != LISTENING]
        assert connections
        assert {found.state for found in connections} == {ESTABLISHED}
        assert {found.remote for found in connections} == {broker.bootstrap}
        told = subprocess.run(
            [sys.executable, "-m", "streams", "status", "--json", "--config", str(path)],
            capture_output=True,
            cwd=tmp_path,
            timeout=60,
            check=True,
        )
        shown = orjson.loads(told.stdout)
        assert (shown["role"], shown["pid"], shown["state"]) == ("detect", child.pid, "ready")
        metrics = urlopen(f"http://{listening[0]}/metrics").read().decode()
        assert 'tidewatch_records_total{topic="llm.interactions"} 8000.0' in metrics
        started = time.monotonic()
        child.send(signal.SIGTERM)
        assert child.wait(15) == 0, child.output()
        stopped_secs = time.monotonic() - started
    assert stopped_secs < 10
    assert child.output() == "", "silent while all is well"
    group = group_name(config, "detect")
    # 80 s of events: windows up to 60 s are sealed; the first needed record is that of second 60 or later.
    found = asyncio.run(committed(config, group, INTERACTIONS, PARTITIONS))
    assert all(offset is not None and 1400 <= offset <= 1550 for offset in found.values()), found
    end = len(asyncio.run(read_all(config, PARTIALS)))
    assert asyncio.run(committed(config, group, PARTIALS, 1))[0] == end
    assert not list((tmp_path / "status").glob("*.json"))
    assert sorted(p.name for p in tmp_path.iterdir() if "sqlite" not in p.name) == [
        "log",
        "state.key",
        "status",
        "t.toml",
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_second_worker_takes_over(broker: Broker, tmp_path: Path, number: signal.Signals) -> None:
    config = broker.config(tmp_path, **SECTIONS)
    path = broker.write_config(tmp_path / "t.toml", tmp_path, **SECTIONS)
    asyncio.run(make_topics(config))
    arguments = ("worker", "detect", "--config", str(path))
    with (
        tidewatch(*arguments, log=tmp_path / "one", cwd=tmp_path) as one,
        tidewatch(*arguments, log=tmp_path / "two", cwd=tmp_path) as two,
    ):
        asyncio.run(send(config, INTERACTIONS, events(0, 8000)))
        eventually(lambda: ready(tmp_path, one) and ready(tmp_path, two), what="both ready")
        one.send(number)
        assert one.wait(15) == (0 if number == signal.SIGTERM else -number)
        asyncio.run(send(config, INTERACTIONS, events(8000, 8000)))

        def sealed() -> dict[str, int]:
            records = (decode_log_record(r.value) for r in asyncio.run(read_all(config, PARTIALS)))
            marks = [r for r in records if isinstance(r, Watermark) and r.sealed_until_ms is not None]
            return {
                r.source: max(m.sealed_until_ms or 0 for m in marks if m.source == r.source) for r in marks
            }

        wanted = BASE_MS + 140_000
        eventually(
            lambda: sum(until >= wanted for until in sealed().values()) == PARTITIONS,
            what="every partition is sealed by the second worker",
        )
        assert two.running


def test_a_worker_without_topics_or_broker_says_what_to_do(tansu: Broker, tmp_path: Path) -> None:
    path = tansu.write_config(tmp_path / "t.toml", tmp_path)
    with tidewatch("worker", "detect", "--config", str(path), log=tmp_path / "log", cwd=tmp_path) as child:
        assert child.wait(60) == 1
    assert "run: tidewatch topics create" in child.output()
    nobody = Broker("127.0.0.1:1", real=False)
    path = nobody.write_config(tmp_path / "t.toml", tmp_path)
    with tidewatch("worker", "detect", "--config", str(path), log=tmp_path / "log2", cwd=tmp_path) as child:
        assert child.wait(60) == 1
    assert "no broker answers at 127.0.0.1:1" in child.output()
    assert "Traceback" not in child.output()
