"""What the demo hears from the broker: summaries, incidents, alerts, and how far the consumer groups are.

Everything comes from public topics and committed offsets; any other program can see the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.app import group_name
from streams.client import client_settings, open_admin
from streams.config import Config
from streams.demo.model import AlertLine, DemoModel, IncidentLine
from streams.signals import SIGNALS
from streams.topics import ALERTS, INCIDENTS, INPUTS, RECORDED, SUMMARIES, TOPICS, partitions_of

READ_BY: Final = {"detect": INPUTS, "record": RECORDED}
"""The topics whose committed offsets tell how far a role is."""


def to_incident(value: dict[str, Any]) -> IncidentLine:
    """A record of the incidents topic as the view shows it."""
    dimensions, values = value["segment"]
    evidence = value["peak"]["evidence"]
    signal = value["signal"]
    return IncidentLine(
        incident_id=value["incident_id"],
        status=value["status"],
        severity=("info", "warning", "critical")[value["severity"]],
        segment=dict(zip(dimensions, values, strict=True)),
        signal=signal,
        unit=SIGNALS[signal].unit if signal in SIGNALS else "",
        observed=evidence["observed"],
        expected=evidence["expected"],
        started_at_ms=value["started_at_ms"],
    )


async def follow_results(config: Config, model: DemoModel, on_alert: Callable[[AlertLine], None]) -> None:
    """Read the three result topics from their beginning, into the model, until cancelled."""
    consumer = AIOKafkaConsumer(
        **client_settings(config.kafka),
        client_id="tidewatch-demo-view",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0) for topic in (SUMMARIES, INCIDENTS, ALERTS)])
        while True:
            fetched = await consumer.getmany(timeout_ms=200, max_records=200)
            received_ms = time.time_ns() // 1_000_000
            for partition, records in sorted(fetched.items()):
                for record in records:
                    _take(partition.topic, record, received_ms, model, on_alert)
                    await asyncio.sleep(0)
    finally:
        await consumer.stop()


def _take(
    topic: str, record: Any, received_ms: int, model: DemoModel, on_alert: Callable[[AlertLine], None]
) -> None:
    value = orjson.loads(record.value)
    if topic == SUMMARIES:
        model.add_summary(value)
    elif topic == INCIDENTS:
        incident = to_incident(value)
        model.incidents[incident.incident_id] = incident
    else:
        headers = {name: text.decode() for name, text in record.headers}
        alert = AlertLine(value, (record.key or b"").decode(), headers, received_ms)
        model.alerts.append(alert)
        on_alert(alert)


class Lag:
    """Records that a role's consumer group has not committed yet, from the broker's own figures."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._consumer: Any = None
        self._admin: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Lag:
        try:
            self._admin = await open_admin(self._config.kafka)
            self._consumer = AIOKafkaConsumer(**client_settings(self._config.kafka), group_id=None)
            await self._consumer.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
        if self._admin is not None:
            await self._admin.close()

    async def of(self, role: str) -> int:
        """Records between the committed offsets and the ends of the topics the role reads. Raises KafkaError."""
        assert self._admin is not None  # noqa: S101 - set on entry
        partitions = [
            TopicPartition(topic, partition)
            for topic in READ_BY[role]
            for partition in range(partitions_of(TOPICS[topic], self._config))
        ]
        ends: dict[Any, int] = await self._consumer.end_offsets(partitions)
        committed = await self._admin.list_consumer_group_offsets(
            group_name(self._config, role), partitions=partitions
        )
        done = {tp: max(0, meta.offset) for tp, meta in committed.items()}
        return sum(max(0, end - done.get(tp, 0)) for tp, end in ends.items())

    async def follow(self, model: DemoModel, every_secs: float = 1.0) -> None:
        """Keep the model's lag fresh until cancelled; a failed look is simply repeated."""
        while True:
            for role in READ_BY:
                try:
                    model.lag_records[role] = await self.of(role)
                except KafkaError:
                    continue
            await asyncio.sleep(every_secs)
