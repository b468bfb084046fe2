"""How every part of Tidewatch reaches the brokers: connection settings, the cluster's identity, readiness."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.kafka_config import KafkaConfig


class BrokerUnreachable(Exception):
    """No broker answered in time; says where and what to do next."""


def client_settings(kafka: KafkaConfig) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes (consumer, producer, admin)."""
    settings: dict[str, Any] = {
        "bootstrap_servers": [part.strip() for part in kafka.bootstrap.split(",")],
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL"):
        settings["ssl_context"] = ssl.create_default_context(
            cafile=str(kafka.ca_file) if kafka.ca_file else None
        )
    if kafka.security_protocol.startswith("SASL"):
        assert kafka.sasl_password_file is not None  # noqa: S101 - the configuration checks it
        settings |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password_file.read_text(encoding="utf-8").strip(),
        }
    return settings


def producer_settings(kafka: KafkaConfig) -> dict[str, Any]:
    """Arguments of a producer whose acknowledged records are on every in-sync replica."""
    return client_settings(kafka) | {
        "acks": "all",
        "enable_idempotence": kafka.enable_idempotence,
        "max_request_size": MAX_REQUEST_BYTES,
        "max_batch_size": 256 * 1024,
        "request_timeout_ms": 20_000,
    }


MAX_REQUEST_BYTES = 1_040_000
"""Largest produce request; below the brokers' own default limit of a record batch (1,048,588 bytes)."""


async def open_admin(kafka: KafkaConfig, timeout_secs: float = 10.0) -> AIOKafkaAdminClient:
    """An admin client that has reached a broker; the caller closes it.

    Raises:
        BrokerUnreachable: when no broker answers within ``timeout_secs``.
    """
    deadline = time.monotonic() + timeout_secs
    await _wait_for_listener(kafka, deadline)
    while True:
        admin = AIOKafkaAdminClient(**client_settings(kafka), request_timeout_ms=10_000, retry_backoff_ms=100)
        try:
            await admin.start()
            return admin
        except (KafkaError, OSError) as error:
            await admin.close()
            if time.monotonic() >= deadline:
                raise _unreachable(kafka, error) from error
            await asyncio.sleep(0.05)


async def _wait_for_listener(kafka: KafkaConfig, deadline: float) -> None:
    """Wait until one of the addresses accepts a connection (aiokafka logs an error for each that does not)."""
    addresses = [part.strip().rsplit(":", 1) for part in kafka.bootstrap.split(",")]
    while True:
        for host, port in addresses:
            try:
                async with asyncio.timeout(5.0):  # wait_for of Python 3.11 can swallow a cancellation
                    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except (OSError, TimeoutError) as error:
                last: Exception = error
            else:
                writer.close()
                return
        if time.monotonic() >= deadline:
            raise _unreachable(kafka, last) from last
        await asyncio.sleep(0.02)


def _unreachable(kafka: KafkaConfig, error: Exception) -> BrokerUnreachable:
    return BrokerUnreachable(
        f"no broker answers at {kafka.bootstrap} ({error}); "
        "check kafka.bootstrap, or start one with `tidewatch up`"
    )


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
