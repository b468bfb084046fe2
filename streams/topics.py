"""Every topic once: what it carries, its key, partitions, retention and cleanup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from streams.config import Config
from streams.events import Stream

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
        key="fleet",
        schema="rows of a window (JSON)",
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

TOPIC_OF_STREAM: Final[dict[Stream, str]] = {
    "interaction": INTERACTIONS,
    "feedback": FEEDBACK,
    "change": CHANGES,
}
"""The topic that carries each kind of record."""

TOPICS: Final[dict[str, Topic]] = {topic.name: topic for topic in _TABLE}

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
