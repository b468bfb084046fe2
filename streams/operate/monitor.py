"""Looks at Tidewatch itself every few seconds and sends what ``streams.operate.monitoring`` makes of it.

What is true of a whole group is watched by one of its workers: the one that has a certain partition. When that
worker changes, the new one goes on with the alerts that the topic shows as firing. Restarts are counted by host.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from detectors.records import Alert
from sinks.alerts_topic import alert_message
from streams.client import WORKER_CLIENT, client_settings
from streams.config import Config
from streams.delivery import Delivery, DeliveryFailed
from streams.kafka_config import KafkaConfig
from streams.messages import Message
from streams.operate.clients import group_offsets
from streams.operate.crashes import crashes
from streams.operate.facts import GroupFacts
from streams.operate.metrics import Value
from streams.operate.monitoring import ConditionName, Monitoring, Reading
from streams.operate.vitals import Vitals
from streams.topics import ALERTS, DEADLETTERS, INPUTS
from streams.transport import TP, ChunkConsumer

ASK_SECS: Final = 10.0
REREAD_RECORDS: Final = 2000
"""How far back alerts that are still firing are looked for."""
LETTERS: Final = TP(DEADLETTERS, 0)

log = structlog.get_logger()


class Beat(NamedTuple):
    """What a role watches."""

    leads_with: TP
    """Who has this partition watches what is true of the group."""
    topics: tuple[str, ...]
    """Whose lag is watched."""
    conditions: frozenset[ConditionName]
    """What the leader watches."""


class Monitor:
    """Of one worker."""

    def __init__(
        self,
        config: Config,
        role: str,
        beat: Beat,
        consumer: ChunkConsumer,
        delivery: Delivery,
        vitals: Vitals,
    ) -> None:
        self._config = config
        self._role = role
        self._beat = beat
        self._consumer = consumer
        self._delivery = delivery
        self._vitals = vitals
        self._monitoring = Monitoring(config.fleet, config.monitoring)
        self._facts: GroupFacts | None = None
        """While this worker leads and the broker answers."""
        self._adopted: set[ConditionName] = set()
        self._unsent: list[Alert] = []

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._config.monitoring.every_secs)
            restarts = self._restarts()
            if restarts.value:
                await self._adopt(frozenset({"restart_loop"}))
            readings = [restarts, *await self._of_the_group()]
            self._unsent += self._monitoring.observe(readings, time.time_ns() // 1_000_000)
            await self._send()

    def measure(self) -> Iterator[Value]:
        """For metrics."""
        for condition, _ in self._monitoring.firing:
            yield Value("tidewatch_monitoring_firing", (condition,), 1)

    async def _of_the_group(self) -> list[Reading]:
        beat = self._beat
        if beat.leads_with not in self._consumer.assignment():
            self._facts = None
            self._monitoring.forget(beat.conditions)
            self._adopted -= beat.conditions
            return []
        await self._adopt(beat.conditions)
        try:
            async with asyncio.timeout(ASK_SECS):
                offsets = await group_offsets(self._consumer._thread, beat.topics, [LETTERS])
        except (KafkaError, TimeoutError, OSError) as error:
            # Silence counts only while the broker answers.
            log.info("the group's offsets are not known now", reason=repr(error))
            self._facts = None
            return self._of_this_worker()
        monitoring = self._config.monitoring
        if self._facts is None:
            self._facts = GroupFacts(frozenset(monitoring.silent_topics), max(monitoring.for_secs, 1.0))
        now_secs = time.monotonic()
        letters = offsets.ends.pop(LETTERS, 0)
        readings = [*self._facts.lags(now_secs, offsets.ends, offsets.committed), *self._of_this_worker()]
        if "dead_letters" in beat.conditions:
            inputs = {tp: end for tp, end in offsets.ends.items() if tp.topic in INPUTS}
            readings += self._facts.silence(now_secs, inputs)
            readings.append(self._facts.dead_letters(now_secs, letters, inputs))
        return readings

    def _of_this_worker(self) -> list[Reading]:
        """What only the leader knows of itself: its store, its state."""
        readings = []
        if "sink_outage" in self._beat.conditions:
            since_secs = self._vitals.away_since_secs
            away_secs = 0.0 if since_secs is None else time.monotonic() - since_secs
            readings.append(Reading("sink_outage", "the store", away_secs))
        notices, self._vitals.notices = self._vitals.notices, []
        told = {notice.subject for notice in notices}
        readings += [Reading("state", notice.subject, 1.0, 1, notice.text) for notice in notices]
        if "held_up" in self._beat.conditions and self._vitals.held_up is not None:
            readings.append(Reading("held_up", *self._vitals.held_up))
            told.add(self._vitals.held_up[0])
        firing = [f for f in self._monitoring.firing if f[0] in ("state", "held_up")]
        return readings + [Reading(*found, 0.0) for found in firing if found[1] not in told]

    def _restarts(self) -> Reading:
        now_ms = time.time_ns() // 1_000_000
        span_ms = int(self._config.monitoring.restarts_secs * 1000)
        recent = [at for at in crashes(self._config.state_dir, self._role) if at > now_ms - span_ms]
        subject = f"{self._role} workers of {platform.node()}"
        return Reading("restart_loop", subject, len(recent), len(recent), since_ms=min(recent, default=None))

    async def _adopt(self, conditions: frozenset[ConditionName]) -> None:
        missing = conditions - self._adopted
        if not missing:
            return
        try:
            async with asyncio.timeout(ASK_SECS):
                self._monitoring.adopt(await _last_alerts(self._config.kafka), missing)
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("cannot read which alerts are firing", error=repr(error))
        self._adopted |= missing

    async def _send(self) -> None:
        if not self._unsent:
            return
        source = f"tidewatch/{self._config.fleet}"
        messages = [Message(ALERTS, *alert_message(alert, source)) for alert in self._unsent]
        try:
            await self._delivery.send_until_durable(messages)
        except DeliveryFailed as error:
            log.warning("alerts about Tidewatch are not delivered yet", error=str(error))
            return
        for alert in self._unsent:
            self._vitals.count("tidewatch_alerts_total", alert.type)
        self._unsent = []


async def _last_alerts(kafka: KafkaConfig) -> list[Alert]:
    """The last alerts of the topic, in the order of the log."""
    consumer: Any = AIOKafkaConsumer(
        **client_settings(kafka), client_id=WORKER_CLIENT, enable_auto_commit=False
    )
    await consumer.start()
    try:
        partition = TopicPartition(ALERTS, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        begin = (await consumer.beginning_offsets([partition]))[partition]
        consumer.seek(partition, max(begin, end - REREAD_RECORDS))
        found: list[Alert] = []
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    with contextlib.suppress(msgspec.MsgspecError):  # others may write there, too
                        found.append(_ALERT.decode(record.value or b""))
        return found
    finally:
        await consumer.stop()


_ALERT: Final = msgspec.json.Decoder(Alert)
