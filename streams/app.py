"""The Faust application of a worker: chunked transport, no web server, no tables, nothing in the current folder."""

from __future__ import annotations

import sys
from typing import Any

import faust

from streams.client import WORKER_CLIENT
from streams.config import Config
from streams.operate.vitals import Vitals
from streams.topics import PARTIALS
from streams.transport import ChunkConsumer, ChunkTransport, ExactProducer

SWITCH_INTERVAL_SECS = 0.05
"""Faust fetches in a second thread. With Python's default of 5 ms the two threads lose a third of the throughput
to handing the interpreter's lock to and fro."""

QUEUED_CHUNKS = 8
"""Chunks in front of an agent, at most; each is one fetch response (1 MiB) or less."""


class ChunkSchema(faust.Schema):  # type: ignore[misc]
    """Passes the chunk through: no deserialisation in Faust, whose decode errors acknowledge and stall."""

    def compile(self, app: Any, **_: Any) -> Any:
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, message.headers, message)

        return decode


class ChunkApp(faust.App):  # type: ignore[misc]
    """A Faust app whose messages are chunks."""

    def __init__(self, config: Config, group: str, vitals: Vitals) -> None:
        self.config = config
        self.vitals = vitals
        super().__init__(
            group,
            broker=[f"kafka://{part.strip()}" for part in config.kafka.bootstrap.split(",")],
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            broker_client_id=WORKER_CLIENT,
            broker_session_timeout=config.kafka.session_timeout_secs,
            broker_heartbeat_interval=1,
            broker_request_timeout=max(config.kafka.session_timeout_secs, 20.0),
            broker_commit_interval=3600.0,
            stream_wait_empty=False,
            stream_buffer_maxsize=QUEUED_CHUNKS,
            consumer_auto_offset_reset="earliest",
        )

    def _new_transport(self) -> ChunkTransport:
        return ChunkTransport(self.conf.broker_consumer, self, self.config.kafka, frozenset({PARTIALS}))

    def _create_directories(self) -> None:
        """Nothing: Faust would make a folder for tables, and there are none."""

    @property
    def chunk_consumer(self) -> ChunkConsumer:
        consumer: ChunkConsumer = self.consumer
        return consumer

    @property
    def exact_producer(self) -> ExactProducer:
        producer: ExactProducer = self.producer
        return producer

    def chunks_of(self, topic: str) -> Any:
        """The channel of a topic's chunks, for an agent."""
        return self.topic(topic, schema=ChunkSchema(), internal=False)


def group_name(config: Config, role: str) -> str:
    """The consumer group of a role: workers of one fleet share it."""
    return f"{config.kafka.group_prefix}-{config.fleet}-{role}"


def new_app(config: Config, role: str, vitals: Vitals) -> ChunkApp:
    sys.setswitchinterval(SWITCH_INTERVAL_SECS)
    return ChunkApp(config, group_name(config, role), vitals)
