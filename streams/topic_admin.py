"""Making topics, and comparing the cluster's with the configuration. Existing topics are never altered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnsupportedVersionError, for_code

from streams.config import Config
from streams.topics import TOPICS, Topic, partitions_of, settings_of

VISIBLE_SECS: Final = 10.0


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What was found or done about one topic."""

    name: str
    status: Literal["created", "exists", "differs", "missing", "failed"]
    differences: tuple[str, ...] = ()
    """One sentence each: setting, what it is, what the configuration says."""


async def create_topics(admin: AIOKafkaAdminClient, config: Config) -> list[TopicReport]:
    """Make the topics that are missing; report how existing ones differ from the configuration."""
    reports = await inspect_topics(admin, config)
    missing = [TOPICS[report.name] for report in reports if report.status == "missing"]
    if not missing:
        return reports
    response = await admin.create_topics(
        [
            NewTopic(
                topic.name,
                num_partitions=partitions_of(topic, config),
                replication_factor=config.topics.replication_factor,
                topic_configs=settings_of(topic, config),
            )
            for topic in missing
        ]
    )
    outcome: dict[str, TopicReport] = {}
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if code == 0:
            outcome[name] = TopicReport(name, "created")
        elif error is TopicAlreadyExistsError:  # another program was faster
            outcome[name] = TopicReport(name, "exists")
        else:
            outcome[name] = TopicReport(
                name, "failed", (f"{error.__name__}: {message[0] if message else ''}",)
            )
    await _await_visible(admin, {name for name, report in outcome.items() if report.status != "failed"})
    return [outcome.get(report.name, report) for report in reports]


async def _await_visible(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """The controller says "created" a little before the brokers know the topic."""
    deadline = time.monotonic() + VISIBLE_SECS
    while time.monotonic() < deadline:
        topics = await admin.describe_topics()
        if names <= {topic["topic"] for topic in topics if topic["error_code"] == 0}:
            return
        await asyncio.sleep(0.05)


async def inspect_topics(admin: AIOKafkaAdminClient, config: Config) -> list[TopicReport]:
    """Compare the cluster's topics with the configuration; changes nothing."""
    present: dict[str, int] = {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics()
        if topic["error_code"] == 0
    }
    settings = await _settings_on_broker(admin, [name for name in TOPICS if name in present])
    return [_compare(topic, config, present, settings.get(topic.name, {})) for topic in TOPICS.values()]


def _compare(topic: Topic, config: Config, present: dict[str, int], actual: dict[str, str]) -> TopicReport:
    if topic.name not in present:
        return TopicReport(topic.name, "missing")
    differences = []
    want = partitions_of(topic, config)
    if present[topic.name] != want:
        differences.append(f"partitions is {present[topic.name]}, the configuration says {want}")
    for name, value in settings_of(topic, config).items():
        if name in actual and actual[name] != value:
            differences.append(f"{name} is {actual[name]}, the configuration says {value}")
    return TopicReport(topic.name, "differs" if differences else "exists", tuple(differences))


async def _settings_on_broker(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Settings per topic as the broker has them; empty where it cannot tell (the embedded broker)."""
    if not names:
        return {}
    found: dict[str, dict[str, str]] = {}
    try:
        responses: list[Any] = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        )
    except (KafkaError, UnsupportedVersionError):
        return {}
    for response in responses:
        for code, _message, _kind, name, entries in response.resources:
            if code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found
