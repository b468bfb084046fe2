"""Every topic once: what it carries, its key, partitions, retention, cleanup; and making them.

Existing topics are never altered: differences are reported.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnsupportedVersionError, for_code

from streams.config import Config

Cleanup = Literal["delete", "compact"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    ``partitions`` None means as many as ``topics.partitions`` says. ``input`` topics are written by users and
    read by AGGREGATE; ``recorded`` topics are copied into ClickHouse.
    """

    name: str
    carries: str
    key: str
    schema: str
    partitions: int | None = 1
    cleanup: Cleanup = "delete"
    input: bool = False
    recorded: bool = False


INTERACTIONS: Final = "llm.interactions"
FEEDBACK: Final = "llm.feedback"
CHANGES: Final = "llm.changes"
PARTIALS: Final = "tidewatch.partials"
SUMMARIES: Final = "tidewatch.summaries"
ANOMALIES: Final = "tidewatch.anomalies"
INCIDENTS: Final = "tidewatch.incidents"
ALERTS: Final = "llm.alerts"
DEADLETTERS: Final = "llm.deadletters"
STATE: Final = "tidewatch.state"

_TABLE: Final = (
    Topic(
        INTERACTIONS,
        carries="LLM interactions, one a record",
        key="`event_id` or `trace_id`",
        schema="Interaction (JSON)",
        partitions=None,
        input=True,
        recorded=True,
    ),
    Topic(
        FEEDBACK,
        carries="evaluation results and user feedback",
        key="`event_id` or `trace_id`",
        schema="Feedback (JSON)",
        partitions=None,
        input=True,
    ),
    Topic(
        CHANGES,
        carries="deploys, prompt, model, index and price changes",
        key="`change_id`",
        schema="Change (JSON)",
        input=True,
        recorded=True,
    ),
    Topic(
        PARTIALS,
        carries="sealed windows of each source, and its watermarks",
        key="source",
        schema="Partial, Watermark (MessagePack)",
    ),
    Topic(
        SUMMARIES,
        carries="closed windows of each segment",
        key="window start",
        schema="WindowSummary (MessagePack)",
        recorded=True,
    ),
    Topic(
        ANOMALIES,
        carries="evidence worth recording",
        key="fingerprint",
        schema="Anomaly (JSON)",
        recorded=True,
    ),
    Topic(
        INCIDENTS,
        carries="every transition of every incident",
        key="fingerprint",
        schema="Incident (JSON)",
        recorded=True,
    ),
    Topic(
        ALERTS,
        carries="what on-call receives",
        key="fingerprint",
        schema="CloudEvents 1.0, binary mode (JSON)",
        recorded=True,
    ),
    Topic(
        DEADLETTERS,
        carries="records that were refused, and why",
        key="none",
        schema="DeadLetter (JSON)",
        recorded=True,
    ),
    Topic(
        STATE,
        carries="checkpoints of DECIDE",
        key="fleet and chunk",
        schema="sealed snapshot (MessagePack)",
        cleanup="compact",
    ),
)

TOPICS: Final[dict[str, Topic]] = {topic.name: topic for topic in _TABLE}
VISIBLE_SECS: Final = 10.0

INPUTS: Final = tuple(topic.name for topic in TOPICS.values() if topic.input)
RECORDED: Final = tuple(topic.name for topic in TOPICS.values() if topic.recorded)


def partitions_of(topic: Topic, config: Config) -> int:
    return topic.partitions if topic.partitions is not None else config.topics.partitions


def settings_of(topic: Topic, config: Config) -> dict[str, str]:
    """The broker's settings of a topic (Kafka's names)."""
    if topic.cleanup == "compact":
        return {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": "600000"}
    settings = {"cleanup.policy": "delete", "retention.ms": str(config.topics.retention_hours * 3_600_000)}
    if topic.input and config.topics.log_append_time:
        settings["message.timestamp.type"] = "LogAppendTime"
    return settings


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
