"""How long after a window closes its alerts are on the topic, under load, on a real Kafka.

Events are produced at real time with the present as their time. A window closes when event time passes its end
plus the allowed lateness; an alert's delay is the broker's append time of the alert minus that moment. Every
tenant has an error rule and fails in turn, so that windows with alerts are many.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaProducer

from streams.client import producer_settings
from streams.config import Config
from streams.topics import ALERTS, INTERACTIONS
from tests.benchmarks.load import SEGMENTATIONS, TEMPLATES, templates
from tests.support.brokers import Broker, delete_topics, make_topics, read_all
from tests.support.processes import Child, eventually, tidewatch

EVENTS_PER_SEC: Final = 20_000
TICK_SECS: Final = 0.05
PARTITIONS: Final = 4
TENANTS: Final = 200
FAIL_EVERY_SECS: Final = 0.5
"""A tenant begins to fail this often; it stays failing."""
LATENESS_SECS: Final = 2


def measure_delay(broker: Broker, folder: Path, seconds: int) -> dict[str, Any]:
    folder.mkdir(parents=True)
    sections: dict[str, Any] = {
        "topics": {"partitions": PARTITIONS},
        "segments": {"by": SEGMENTATIONS},
        "windows": {"allowed_lateness_secs": LATENESS_SECS},
        "fleet": "delay",
    }
    config = broker.config(folder / "state", **sections)
    path = broker.write_config(folder / "tidewatch.toml", folder / "state", **sections)
    with path.open("a") as file:
        file.write(
            '[[rules]]\nname = "tenant-errors"\nsignal = "error_ratio"\nwarning = 0.3\nspan_secs = 60\n'
            'min_events = 50\nsegments = [{ tenant = "*" }]\n'
        )
    asyncio.run(delete_topics(broker))
    asyncio.run(make_topics(config))
    before = len(asyncio.run(read_all(config, ALERTS)))
    with tidewatch(
        "worker", "detect", "--config", str(path), log=folder / "worker.log", cwd=folder
    ) as worker:
        status = folder / "state" / "status"
        eventually(lambda: _ready(status, worker), within_secs=60, what="the worker is ready")
        rate = asyncio.run(_produce(config, seconds))
        rss_mb = _rss_mb(worker.pid)
    alerts = asyncio.run(read_all(config, ALERTS))[before:]
    delays = sorted(_delay_secs(record) for record in alerts)
    if not delays:
        raise SystemExit("no alert was raised: " + worker.output()[-2000:])
    return {
        "events_per_sec": rate,
        "alerts": len(delays),
        "p50_secs": statistics.median(delays),
        "p99_secs": delays[min(len(delays) - 1, int(len(delays) * 0.99))],
        "max_secs": delays[-1],
        "rss_mb": rss_mb,
    }


def _delay_secs(record: Any) -> float:
    alert = orjson.loads(record.value)
    closed = _epoch_secs(alert["window_end"]) + LATENESS_SECS
    return float(record.timestamp / 1000 - closed)


def _epoch_secs(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _ready(status: Path, worker: Child) -> bool:
    assert worker.running, worker.output()[-2000:]
    return any(orjson.loads(file.read_bytes()).get("ready") for file in status.glob("detect-*.json"))


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return 0.0


async def _produce(config: Config, seconds: int) -> float:
    """Events at their own time, 20,000 a second; returns the rate that was reached."""
    bodies = [body.replace(b'"status":"ok"', b'"status":"%b"') for body in templates(seed=2)]
    producer = AIOKafkaProducer(**producer_settings(config.kafka), linger_ms=10)
    await producer.start()
    start = time.time()
    number = 0
    try:
        while (now := time.time()) < start + seconds:
            due = int((now - start) * EVENTS_PER_SEC)
            failing = int(max(0.0, now - start - 30) / FAIL_EVERY_SECS)
            at_ms = int(now * 1000)
            while number < due:
                body = bodies[number % TEMPLATES]
                tenant = number * 7919 % TENANTS
                body = body.replace(b'"tenant":"tenant-', b'"user_id":"u", "tenant":"t%03d-' % tenant, 1)
                status = b"error" if tenant < failing else b"ok"
                head = b'{"event_id":"d%d","occurred_at":%d,' % (number, at_ms)
                value = head + body.replace(b'"status":"%b"', b'"status":"%b"' % status, 1)
                await producer.send(INTERACTIONS, value, partition=number % PARTITIONS)
                number += 1
            await asyncio.sleep(TICK_SECS)
        await producer.flush()
        rate = number / (time.time() - start)
        await asyncio.sleep(LATENESS_SECS + 8)
    finally:
        await producer.stop()
    return rate
