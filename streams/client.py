"""How every part of Tidewatch reaches the brokers: connection settings, the cluster's identity, readiness."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from sinks.credentials import CredentialError, tls_context
from streams.kafka_config import KafkaConfig
from streams.reaching import BrokerRefused, BrokerUnreachable, reach
from streams.sasl import sasl_settings

__all__ = [
    "BrokerRefused",
    "BrokerUnreachable",
    "await_brokers",
    "client_settings",
    "cluster_id",
    "open_admin",
    "partition_counts",
    "producer_settings",
]


def client_settings(kafka: KafkaConfig) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes (consumer, producer, admin); hold secrets: never log them.

    Raises:
        CredentialError: a file of the settings cannot be used.
    """
    settings: dict[str, Any] = {
        "bootstrap_servers": [part.strip() for part in kafka.bootstrap.split(",")],
        "security_protocol": kafka.security_protocol,
    }
    if kafka.encrypted:
        settings["ssl_context"] = tls_context("kafka", kafka.ca_file, kafka.cert_file, kafka.key_file)
    return settings | sasl_settings(kafka)


def producer_settings(kafka: KafkaConfig) -> dict[str, Any]:
    """Arguments of a producer whose acknowledged records are on every in-sync replica."""
    return client_settings(kafka) | {
        "acks": "all",
        "enable_idempotence": kafka.enable_idempotence,
        "max_request_size": MAX_REQUEST_BYTES,
        "max_batch_size": 768 * 1024,
        "request_timeout_ms": 20_000,
    }


WORKER_CLIENT: Final = "tidewatch-worker"
ADMIN_CLIENT: Final = "tidewatch-admin"
FROM_CLIENT: Final = "tidewatch-renewal-from"
TO_CLIENT: Final = "tidewatch-renewal-to"
"""Ids by which the gate of the embedded broker tells clients apart; the last two are the ends of a renewal."""

MAX_REQUEST_BYTES = 1_040_000
"""Largest produce request; below the brokers' own default limit of a record batch (1,048,588 bytes)."""


async def await_brokers(kafka: KafkaConfig, timeout_secs: float = 10.0) -> None:
    """Return when a broker lets us in; call it before a client starts, whose errors say less.

    Raises:
        BrokerRefused: encryption or credentials are refused, or a file of them cannot be used.
        BrokerUnreachable: when no broker answers within ``timeout_secs``.
    """
    try:
        settings = client_settings(kafka)
    except CredentialError as error:
        raise BrokerRefused(f"cannot connect to {kafka.bootstrap}: {error}") from error
    await reach(kafka, settings, time.monotonic() + timeout_secs)


async def open_admin(kafka: KafkaConfig, timeout_secs: float = 10.0) -> AIOKafkaAdminClient:
    """An admin client that has reached a broker; the caller closes it.

    Raises:
        BrokerRefused: encryption or credentials are refused, or a file of them cannot be used.
        BrokerUnreachable: when no broker answers within ``timeout_secs``.
    """
    deadline = time.monotonic() + timeout_secs
    await await_brokers(kafka, timeout_secs)
    while True:
        admin = AIOKafkaAdminClient(
            **client_settings(kafka),
            client_id=ADMIN_CLIENT,
            request_timeout_ms=10_000,
            retry_backoff_ms=100,
        )
        try:
            await admin.start()
            return admin
        except (KafkaError, OSError) as error:
            await admin.close()
            if time.monotonic() >= deadline:
                raise BrokerUnreachable(
                    f"no broker answers at {kafka.bootstrap} ({error}); check kafka.bootstrap"
                ) from error
            await asyncio.sleep(0.05)


async def cluster_id(kafka: KafkaConfig) -> str:
    """The identity of the log: another id means other offsets."""
    admin = await open_admin(kafka)
    try:
        described: dict[str, Any] = await admin.describe_cluster()
        return str(described.get("cluster_id") or "unknown")
    finally:
        await admin.close()


async def partition_counts(kafka: KafkaConfig, topics: Sequence[str]) -> dict[str, int]:
    """How many partitions each of the topics has on the cluster, whatever the configuration says."""
    admin = await open_admin(kafka)
    try:
        described = await admin.describe_topics(list(topics))
        return {topic["topic"]: len(topic["partitions"]) for topic in described}
    finally:
        await admin.close()
