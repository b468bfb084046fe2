"""Three questions an analyst asks after an incident, as SQL over Tidewatch's tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detectors.records import rfc3339


@dataclass(frozen=True)
class Query:
    """A question and its SQL."""

    question: str
    sql: str


@dataclass(frozen=True)
class Answer:
    """What a query gave: column names and rows of JSON values."""

    query: Query
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def queries(onset_ms: int, until_ms: int, segment: str, model: str) -> tuple[Query, ...]:
    """The questions about an incident that began at ``onset_ms`` in ``segment`` (its label), for ``model``."""
    onset, until, before = (_time(ms) for ms in (onset_ms, until_ms, onset_ms - 300_000))
    return (
        Query(
            "What was on-call told, and how long after the true onset did its window end?",
            f"""\
SELECT severity, signal, replaceAll(segment, ',', ', ') AS where, round(observed, 3) AS observed,
       round(expected, 3) AS expected, dateDiff('second', {onset}, detected_at) AS after_secs
FROM alerts FINAL
WHERE type = 'tidewatch.alert.firing' AND detected_at >= {onset}
ORDER BY detected_at, segment != '{segment}', severity, segment
LIMIT 5""",  # noqa: S608 - names and times of our own
        ),
        Query(
            "How did the refusals of the hit segment move against their baseline?",
            f"""\
SELECT toStartOfMinute(window_start) AS minute, sum(n) AS answers,
       round(100 * sum(value * n) / sum(n), 1) AS refused_percent,
       round(100 * avg(expected), 1) AS expected_percent
FROM window_summaries FINAL
WHERE segment = '{segment}' AND signal = 'refusal_ratio' AND window_start >= {before}
GROUP BY minute ORDER BY minute DESC
LIMIT 5""",  # noqa: S608 - names and times of our own
        ),
        Query(
            "Is it one customer, or all who use this model (refused: percent)?",
            f"""\
SELECT tenant, countIf(occurred_at >= {onset}) AS answers,
       round(100 * avgIf(refusal, occurred_at < {onset}), 1) AS refused_before,
       round(100 * avgIf(refusal, occurred_at >= {onset}), 1) AS refused_since,
       round(avgIf(tokens_out, occurred_at < {onset})) AS tokens_before,
       round(avgIf(tokens_out, occurred_at >= {onset})) AS tokens_since
FROM interactions FINAL
WHERE model_requested = '{model}' AND occurred_at < {until}
GROUP BY tenant ORDER BY answers DESC, tenant
LIMIT 5""",  # noqa: S608 - names and times of our own
        ),
    )


def _time(epoch_ms: int) -> str:
    return f"parseDateTime64BestEffort('{rfc3339(epoch_ms)}', 3, 'UTC')"
