"""Every metric once: name, type, labels, unit and help. The exposition and the docs are made from it.

Labels come from bounded sets only: topics, reasons of dead letters, severities, tables, conditions. Nothing that a
producer writes becomes a label.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

MetricKind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric; a counter's name ends in ``_total``."""

    name: str
    kind: MetricKind
    unit: str
    labels: tuple[str, ...]
    role: Literal["both", "detect", "record"]
    help: str


_TABLE: Final = (
    Metric("tidewatch_build_info", "gauge", "", ("version", "role", "fleet"), "both", "Always 1; what runs."),
    Metric("tidewatch_ready", "gauge", "", (), "both", "1 if /readyz answers 200, else 0."),
    Metric("tidewatch_records_total", "counter", "records", ("topic",), "both", "Records worked on."),
    Metric("tidewatch_record_bytes_total", "counter", "bytes", ("topic",), "both", "Bytes of their values."),
    Metric(
        "tidewatch_lag_records", "gauge", "records", ("topic",), "both",
        "Records of this worker's partitions that are not worked on (record: not durable) yet.",
    ),
    Metric(
        "tidewatch_lag_seconds", "gauge", "seconds", ("topic",), "both",
        "Age of the event time that the slowest lagging partition has reached; 0 without lag.",
    ),
    Metric(
        "tidewatch_partitions", "gauge", "partitions", ("topic",), "both", "Partitions that this worker has.",
    ),
    Metric(
        "tidewatch_partition_restarts_total", "counter", "restarts", ("topic",), "both",
        "Partitions that were read again from their committed offset after an error.",
    ),
    Metric(
        "tidewatch_records_skipped_total", "counter", "records", ("topic", "reason"), "detect",
        "Records that entered no window: late, duplicate, empty.",
    ),
    Metric(
        "tidewatch_dead_letters_total", "counter", "records", ("topic", "reason"), "both",
        "Records that were refused.",
    ),
    Metric(
        "tidewatch_dropped_by_caps_total", "counter", "", ("cap",), "detect",
        "What a hard cap kept out; docs/reliability.md lists the caps.",
    ),
    Metric(
        "tidewatch_open_windows", "gauge", "windows", (), "detect", "Base windows that AGGREGATE has open.",
    ),
    Metric(
        "tidewatch_windows_pending", "gauge", "windows", (), "detect",
        "Windows that some partitions have sealed and others have not; on the worker with DECIDE.",
    ),
    Metric(
        "tidewatch_partitions_held", "gauge", "partitions", (), "detect",
        "Input partitions that are not fetched until the others have come up (`limits.windows_ahead`).",
    ),
    Metric(
        "tidewatch_watermark_delay_seconds", "gauge", "seconds", (), "detect",
        "Now minus the end of the last closed window; on the worker with DECIDE.",
    ),
    Metric(
        "tidewatch_windows_closed_total", "counter", "windows", (), "detect",
        "Windows of the fleet that DECIDE closed since the fleet began.",
    ),
    Metric(
        "tidewatch_partials_ignored_total", "counter", "partials", (), "detect",
        "Partials of attempts that came too late to count.",
    ),
    Metric("tidewatch_segments", "gauge", "segments", (), "detect", "Segments that are watched."),
    Metric(
        "tidewatch_incidents_open", "gauge", "incidents", ("severity",), "detect", "Incidents that are firing.",
    ),
    Metric(
        "tidewatch_alerts_total", "counter", "alerts", ("type",), "both", "Alerts that are durable on the topic.",
    ),
    Metric(
        "tidewatch_alert_delay_seconds", "histogram", "seconds", (), "detect",
        "From the append of the watermark that closed a window until its alerts are durable.",
    ),
    Metric("tidewatch_checkpoints_total", "counter", "checkpoints", (), "detect", "Checkpoints saved."),
    Metric(
        "tidewatch_checkpoint_age_seconds", "gauge", "seconds", (), "detect", "Since one was saved or loaded.",
    ),
    Metric("tidewatch_checkpoint_bytes", "gauge", "bytes", (), "detect", "Of the last one, not compressed."),
    Metric(
        "tidewatch_checkpoint_duration_seconds", "gauge", "seconds", (), "detect", "Time to save the last one.",
    ),
    Metric(
        "tidewatch_sink_rows_total", "counter", "rows", ("table",), "record", "Rows that are durable in the store.",
    ),
    Metric(
        "tidewatch_sink_rejected_rows_total", "counter", "rows", (), "record", "Rows that the store refused.",
    ),
    Metric(
        "tidewatch_sink_queue_rows", "gauge", "rows", (), "record", "Rows gathered and not durable yet.",
    ),
    Metric(
        "tidewatch_sink_retries_total", "counter", "retries", (), "record", "Writes that the store put off.",
    ),
    Metric("tidewatch_sink_away", "gauge", "", (), "record", "1 while the store cannot be written to."),
    Metric(
        "tidewatch_monitoring_firing", "gauge", "", ("condition",), "both",
        "1 while this worker says so about Tidewatch itself.",
    ),
    Metric(
        "tidewatch_log_lines_suppressed_total", "counter", "lines", (), "both",
        "Log lines over the rate of their event.",
    ),
)  # fmt: skip

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _TABLE}
