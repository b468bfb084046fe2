"""The tables as data: what analysts query, from which DDL, encoding and docs/tables.md are made.

Every table is a ReplacingMergeTree sorted by what analysts filter on and, last, by the deterministic id of the
row. Rows repeat after a crash with equal ids and equal content, so a table read with ``FINAL`` (or ``argMax``)
holds every row once. Only columns that can never change for an id may stand in ``order_by`` and
``partition_by``: rows are replaced within one sorting key. Times are UTC with milliseconds.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

SCHEMA_VERSION: Final = 1
"""Raised with every change of a table that an older program could not write to."""

DEDUP_WINDOW_BLOCKS: Final = 1000
"""Inserted blocks whose token a MergeTree table remembers; its own default of 0 switches tokens off."""

Kind = Literal["dim", "text", "time", "float", "count", "flag", "dims", "counts", "list"]

CLICKHOUSE_TYPES: Final[dict[Kind, str]] = {
    "dim": "LowCardinality(String)",
    "text": "String",
    "time": "DateTime64(3, 'UTC')",
    "float": "Float64",
    "count": "UInt64",
    "flag": "Bool",
    "dims": "Map(LowCardinality(String), String)",
    "counts": "Map(LowCardinality(String), UInt64)",
    "list": "Array(String)",
}


class Column(NamedTuple):
    """A column: ``optional`` ones are Nullable (numbers, times, flags); absent text is the empty string."""

    name: str
    kind: Kind
    about: str
    optional: bool = False

    @property
    def clickhouse_type(self) -> str:
        plain = CLICKHOUSE_TYPES[self.kind]
        return f"Nullable({plain})" if self.nullable else plain

    @property
    def nullable(self) -> bool:
        return self.optional and self.kind in ("time", "float", "count", "flag")


class Table(NamedTuple):
    name: str
    about: str
    columns: tuple[Column, ...]
    order_by: tuple[str, ...]
    partition_by: str
    version: str | None = None
    """The column whose largest value wins among rows of one key; without one the rows are equal."""

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def create(self, database: str) -> str:
        """``CREATE TABLE IF NOT EXISTS`` of this table."""
        columns = ",\n".join(
            f"    `{c.name}` {c.clickhouse_type} COMMENT '{_quoted(c.about)}'" for c in self.columns
        )
        return (
            f"CREATE TABLE IF NOT EXISTS `{database}`.`{self.name}`\n(\n{columns}\n)\n"
            f"ENGINE = ReplacingMergeTree({self.version or ''})\n"
            f"PARTITION BY toYYYYMM({self.partition_by})\n"
            f"ORDER BY ({', '.join(self.order_by)})\n"
            f"SETTINGS non_replicated_deduplication_window = {DEDUP_WINDOW_BLOCKS}\n"
            f"COMMENT '{_quoted(self.about)}'"
        )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _dim(name: str, about: str) -> Column:
    return Column(name, "dim", about, optional=True)


def _text(name: str, about: str) -> Column:
    return Column(name, "text", about, optional=True)


def _count(name: str, about: str) -> Column:
    return Column(name, "count", about, optional=True)


def _float(name: str, about: str) -> Column:
    return Column(name, "float", about, optional=True)


def _flag(name: str, about: str) -> Column:
    return Column(name, "flag", about, optional=True)


_FLEET: Final = Column("fleet", "dim", "Fleet that watches it")
_SEGMENT: Final = (
    Column("segment", "dim", "Segment in words: all, or provider=openai,model=gpt-x"),
    Column("dimensions", "dims", "Segment as dimension -> value; empty for the whole fleet"),
)
_SOURCE: Final = (
    Column("source_partition", "count", "Kafka partition of the record"),
    Column("source_offset", "count", "Kafka offset of the record"),
)

INTERACTIONS: Final = Table(
    "interactions",
    "One row per interaction: metadata; texts only if record.store_text is set, redacted",
    (
        Column("event_id", "text", "Unique id of the interaction"),
        Column("occurred_at", "time", "When it ended"),
        _float("duration_ms", "End minus start, ms"),
        _float("ttft_ms", "Time to the first chunk, ms"),
        _text("trace_id", "Trace id"),
        _text("span_id", "Span id"),
        _text("parent_span_id", "Parent span id"),
        _text("response_id", "The provider's id of the response"),
        _text("conversation_id", "Conversation or session"),
        _dim("service", "Name of the service"),
        _dim("environment", "Deployment environment"),
        _dim("tenant", "Customer or organisation"),
        _text("user_hash", "Keyed pseudonym of the user; the id itself is never stored"),
        _dim("feature", "Product feature"),
        _dim("topic", "Subject of the question"),
        _dim("region", "Region that served it"),
        _dim("priority", "Priority class"),
        _dim("operation", "chat, embeddings, retrieval, execute_tool, invoke_agent …"),
        _dim("provider", "Who serves the model"),
        _dim("model_requested", "Model asked for"),
        _dim("model_served", "Model that answered"),
        _dim("prompt_name", "Name of the prompt template"),
        _dim("prompt_version", "Version of the prompt template"),
        _dim("agent_id", "Id of the agent"),
        _dim("agent_name", "Name of the agent"),
        _dim("agent_version", "Version of the agent"),
        _dim("workflow", "Name of the workflow"),
        _count("steps", "Steps an agent took"),
        _count("tokens_in", "Input tokens, cached ones included"),
        _count("tokens_out", "Output tokens, reasoning included"),
        _count("tokens_cache_read", "Input tokens read from a cache; part of tokens_in"),
        _count("tokens_cache_write", "Input tokens written to a cache; part of tokens_in"),
        _count("tokens_reasoning", "Reasoning tokens; part of tokens_out"),
        _float("cost_usd", "Cost in US dollars; empty when the cost is in another currency"),
        _float("cost", "Cost in `currency`"),
        _dim("currency", "ISO 4217; empty means USD"),
        _dim("cost_source", "Where the cost comes from, such as provider or estimate"),
        _flag("streamed", "The answer was streamed"),
        _dim("finish_reason", "stop, length, tool_calls, content_filter …"),
        _dim("status", "Status as the producer named it, or the HTTP status"),
        _dim("error_type", "Class of the error"),
        Column("is_error", "flag", "Failed, by status or error_type"),
        _count("retries", "Attempts beyond the first"),
        _flag("refusal", "The model refused"),
        _flag("idk", "The model said that it does not know"),
        _flag("out_of_scope", "The question was out of scope"),
        _flag("schema_valid", "Structured output matched its schema"),
        _flag("cache_hit", "Answered from a cache"),
        _flag("safety_flag", "A guardrail flagged it"),
        _dim("outcome", "What came of it for the user"),
        _count("retrieved_chunks", "Chunks retrieved"),
        _float("retrieval_score", "Relevance of what was retrieved, in the retriever's unit"),
        _dim("index_version", "Version of the index"),
        Column("index_updated_at", "time", "When the index was last refreshed", optional=True),
        Column("tools", "list", "Names of the tools called, in order", optional=True),
        Column("attributes", "dims", "Free dimensions", optional=True),
        _text("schema_url", "URL of the conventions the producer follows"),
        _text("input", "Prompt, redacted; empty unless record.store_text is set"),
        _text("output", "Answer, redacted; empty unless record.store_text is set"),
        *_SOURCE,
    ),
    order_by=("toStartOfHour(occurred_at)", "tenant", "model_requested", "occurred_at", "event_id"),
    partition_by="occurred_at",
)

WINDOW_SUMMARIES: Final = Table(
    "window_summaries",
    "One row per base window, segment and signal: what it was and what was expected",
    (
        _FLEET,
        Column("window_start", "time", "Start of the base window, included"),
        Column("window_end", "time", "End of the base window, excluded"),
        *_SEGMENT,
        Column("signal", "dim", "What is watched; see the signals in the README"),
        _float("value", "The signal in its unit; empty for mixes and for windows without observations"),
        Column("n", "count", "Observations"),
        _float("expected", "What the baseline expects; empty while learning"),
        Column("status", "dim", "learning, ok, …: what the monitor could say about this window"),
        Column("mix", "counts", "For mixes: category -> count", optional=True),
    ),
    order_by=("fleet", "signal", "segment", "window_start"),
    partition_by="window_start",
)

_EVIDENCE: Final = (
    *_SEGMENT,
    Column("signal", "dim", "What was watched"),
    Column("detector", "dim", "Detector, or rule:<name>, week:, forecast:, today:"),
    Column("severity", "dim", "info, warning or critical"),
    Column("observed", "float", "The signal over the evaluated span, in its unit"),
    Column("expected", "float", "What the baseline or the rule's bound says, in its unit"),
    _float("lower", "Lower bound of the normal, in the signal's unit"),
    _float("upper", "Upper bound of the normal, in the signal's unit"),
    Column("n", "count", "Observations in the span"),
    _text("movers", "Of a mix: the labels that moved most, as JSON: an array of label, observed, expected"),
    _float("moved_share", "Of a mix: the share of it that has another label than expected, in [0, 1]"),
)

ANOMALIES: Final = Table(
    "anomalies",
    "Evidence worth recording: one row per detector, segment, signal and window",
    (
        _FLEET,
        Column("anomaly_id", "text", "Deterministic id"),
        Column("fingerprint", "text", "Which incident it belongs to: rule kind and segment"),
        Column("family", "dim", "rule, drift or outlier"),
        Column("window_start", "time", "Start of the window at whose close it was seen"),
        Column("window_end", "time", "End of that window"),
        Column("started_at", "time", "Estimated onset"),
        *_EVIDENCE,
        Column("statistic", "float", "The detector's statistic, in its own unit"),
        Column("threshold", "float", "What the statistic exceeded"),
        Column("firing", "flag", "False when the evidence says that the condition ended"),
        Column("exemplars", "list", "event_id of interactions that show it, worst first", optional=True),
    ),
    order_by=("fleet", "signal", "segment", "window_start", "anomaly_id"),
    partition_by="window_start",
)

_TRIAGED: Final = (
    Column("incident_type", "dim", "What kind of thing happened: docs/incidents.md"),
    Column("triage_verdict", "dim", "model, external API, data pipeline, evaluation baseline or unknown"),
    Column("verdict_for", "list", "What speaks for the verdict", optional=True),
    Column("verdict_against", "list", "What speaks against it", optional=True),
    Column("members", "text", "What else moved with it, as JSON: an array of segment, signal, observed …"),
    Column("related_change_id", "text", "change_id of the announced change that is suspected", optional=True),
)

INCIDENTS: Final = Table(
    "incidents",
    "One row per incident, its newest state: the largest version wins",
    (
        _FLEET,
        Column("incident_id", "text", "Deterministic id"),
        Column("fingerprint", "text", "Rule kind and segment; returns when the incident returns"),
        Column("status", "dim", "firing or resolved"),
        Column("severity", "dim", "info, warning or critical"),
        Column("family", "dim", "rule, drift or outlier"),
        *_SEGMENT,
        Column("signal", "dim", "What is watched"),
        Column("started_at", "time", "Estimated onset"),
        Column("detected_at", "time", "Close of the window that raised it"),
        Column("last_seen", "time", "Close of the last window that showed it"),
        Column("resolved_at", "time", "When it was resolved", optional=True),
        Column("anomalies", "count", "Anomalies so far"),
        Column("peak_anomaly_id", "text", "Its strongest anomaly"),
        Column("peak_detector", "dim", "Detector of the strongest anomaly"),
        Column("peak_observed", "float", "The signal at the peak, in its unit"),
        Column("peak_expected", "float", "What was expected there, in its unit"),
        *_TRIAGED,
        Column("version", "count", "Order of the incident's states: later time, more anomalies, resolved"),
    ),
    order_by=("fleet", "detected_at", "incident_id"),
    partition_by="detected_at",
    version="version",
)

ALERTS: Final = Table(
    "alerts",
    "Every alert as on-call received it: one row per transition of an incident",
    (
        _FLEET,
        Column("alert_id", "text", "Deterministic id; the idempotency key"),
        Column("type", "dim", "tidewatch.alert.firing or .resolved; tidewatch.monitoring.* about ourselves"),
        Column("fingerprint", "text", "Key of the alert on Kafka"),
        Column("incident_id", "text", "Its incident"),
        Column("summary", "text", "One line for a person"),
        *_EVIDENCE,
        Column("unit", "dim", "Unit of the signal"),
        *_TRIAGED,
        Column("advice", "text", "What to do first"),
        Column("window_start", "time", "Start of the window that raised it"),
        Column("window_end", "time", "End of that window"),
        Column("started_at", "time", "Estimated onset"),
        Column("detected_at", "time", "Close of the window that raised it"),
        Column("resolved_at", "time", "When it was resolved", optional=True),
        Column("exemplars", "list", "event_id of interactions that show it, worst first", optional=True),
    ),
    order_by=("fleet", "detected_at", "fingerprint", "alert_id"),
    partition_by="detected_at",
)

DEAD_LETTERS: Final = Table(
    "dead_letters",
    "Records that could not be used: why, and where the raw bytes are",
    (
        Column("dead_letter_id", "text", "Deterministic id"),
        Column("seen_at", "time", "Broker time of the dead letter"),
        Column("kind", "dim", "What it was read as: interaction, feedback or change"),
        Column("reason", "dim", "Why it was refused; rate_capped stands for many"),
        Column("path", "text", "Field that is wrong", optional=True),
        Column("detail", "text", "What was expected; never a value of the record", optional=True),
        Column("sha256", "text", "Hash of the raw bytes", optional=True),
        Column("size_bytes", "count", "Size of the raw bytes"),
        Column("source_topic", "dim", "Topic that holds the raw bytes"),
        *_SOURCE,
        Column("source_offset_last", "count", "Last offset, when the letter stands for a range"),
        Column("count", "count", "How many bad records the letter stands for"),
        Column("head", "text", "First KiB, redacted", optional=True),
    ),
    order_by=("source_topic", "reason", "dead_letter_id"),
    partition_by="seen_at",
)

CHANGES: Final = Table(
    "changes",
    "What was changed on purpose: deployments, prompts, models, indexes, prices, judges, experiments",
    (
        Column("change_id", "text", "Unique id of the change"),
        Column("occurred_at", "time", "When it took effect"),
        Column("kind", "dim", "deploy, prompt, model, index, price, judge or experiment"),
        Column("scope", "dims", "Whom it concerns: dimension -> value; empty is all", optional=True),
        Column("summary", "text", "One line", optional=True),
        Column("attributes", "dims", "Free dimensions", optional=True),
        *_SOURCE,
    ),
    order_by=("occurred_at", "change_id"),
    partition_by="occurred_at",
)

TABLES: Final[dict[str, Table]] = {
    table.name: table
    for table in (INTERACTIONS, WINDOW_SUMMARIES, ANOMALIES, INCIDENTS, ALERTS, DEAD_LETTERS, CHANGES)
}

META_TABLE: Final = "tidewatch_meta"


def create_meta(database: str) -> str:
    """DDL of the table that remembers the version of the schema."""
    return (
        f"CREATE TABLE IF NOT EXISTS `{database}`.`{META_TABLE}` (`name` String, `value` String)\n"
        "ENGINE = ReplacingMergeTree ORDER BY name COMMENT 'Version of the tables'"
    )


def reference() -> str:
    """The tables as Markdown, for docs/tables.md."""
    parts = []
    for table in TABLES.values():
        key = ", ".join(f"`{part}`" for part in table.order_by)
        newest = f"; the largest `{table.version}` wins" if table.version else ""
        rows = "\n".join(f"| `{c.name}` | {c.clickhouse_type} | {c.about} |" for c in table.columns)
        parts.append(
            f"## `{table.name}`\n\n{table.about}.\n\n"
            f"Sorted by {key}; a partition per month of `{table.partition_by}`{newest}.\n\n"
            f"| Column | Type | What |\n|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)
