"""What counts as the incident's alert, and which delay is reported."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from streams.demo.model import AlertLine, DemoModel
from streams.demo.outcome import Outcome, answer_table, measure, summary, touches
from streams.demo.queries import Answer, Query, queries
from streams.simulate import silent_model_change

ONSET_MS = 1_790_000_000_000
TRUTH = silent_model_change(ONSET_MS).truth
WATCHED = {"provider": "acme-ai", "model": "acme-chat-2"}


def alert(
    segment: dict[str, str], after_secs: float, kind: str = "firing", window: int = 1, key: str = ""
) -> AlertLine:
    value: dict[str, Any] = {
        "type": f"tidewatch.alert.{kind}",
        "segment": segment,
        "signal": "refusal_ratio",
        "unit": "ratio",
        "severity": "critical",
        "detector": "adwin",
        "observed": 0.25,
        "expected": 0.02,
        "summary": "refusals are up",
        "detected_at": f"window {window}",
    }
    return AlertLine(value, key or str(segment), {}, ONSET_MS + round(after_secs * 1000))


def outcome_of(*alerts: AlertLine) -> Outcome | None:
    model = DemoModel(10_000, WATCHED, {})
    model.alerts = list(alerts)
    return measure(model, TRUTH, 5.0, ())


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ({}, True),
        (WATCHED, True),
        ({"provider": "acme-ai"}, True),
        ({"model": "acme-chat-2", "topic": "billing"}, True),
        ({"tenant": "tenant-01"}, True),
        ({"provider": "northstar"}, False),
        ({"model": "northstar-pro", "topic": "billing"}, False),
    ],
)
def test_a_segment_touches_the_incident_unless_a_dimension_says_otherwise(
    segment: dict[str, str], expected: bool
) -> None:
    assert touches(segment, TRUTH) is expected


def test_no_alert_of_the_incident_is_no_outcome() -> None:
    assert outcome_of() is None
    assert outcome_of(alert({"provider": "northstar"}, 5)) is None
    assert outcome_of(alert({}, -5)) is None
    assert outcome_of(alert({}, 5, "resolved")) is None


def test_delay_is_that_of_the_first_alert_and_its_window_may_name_the_segment_better() -> None:
    outcome = outcome_of(
        alert({}, -30),
        alert({"provider": "northstar"}, 10),
        alert({}, 21.5),
        alert(WATCHED, 21.6),
        alert({}, 40),
    )
    assert outcome is not None
    assert outcome.first.alert["segment"] == WATCHED
    assert outcome.delay_secs == pytest.approx(21.6)
    assert (outcome.firing_of_incident, outcome.firing_elsewhere, outcome.firing_before_onset) == (3, 1, 1)


def test_a_later_window_of_the_hit_segment_does_not_improve_the_delay() -> None:
    outcome = outcome_of(alert({"tenant": "tenant-01"}, 21.5), alert(WATCHED, 31.6, window=2))
    assert outcome is not None
    assert outcome.delay_secs == pytest.approx(21.5)


def test_summary_and_answers_are_readable_in_80_columns() -> None:
    outcome = outcome_of(alert(WATCHED, 21.6))
    assert outcome is not None
    answer = Answer(
        Query("Who?", "SELECT 1"), ("tenant", "share"), (("tenant-01", 0.25), ("tenant-02", None))
    )
    console = Console(width=80, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(answer_table(answer))
        console.print(summary(outcome))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for part in ("? Who?", "tenant-02", "0.25", "21.6 s", "25.0 %, usually 2.0 %"):
        assert part in text


def test_the_three_questions_name_the_incident() -> None:
    asked = queries(ONSET_MS, ONSET_MS + 60_000, "provider=acme-ai,model=acme-chat-2", "acme-chat-2")
    assert len(asked) == 3
    tables = ("alerts", "window_summaries", "interactions")
    assert all(f"FROM {table} FINAL" in query.sql for table, query in zip(tables, asked, strict=True))


def test_of_one_window_the_most_severe_alert_of_the_hit_segment_is_shown() -> None:
    worst = alert(WATCHED, 21.7)
    mild = alert(WATCHED, 21.6)
    mild = AlertLine({**mild.alert, "severity": "warning"}, mild.key, mild.headers, mild.received_ms)
    outcome = outcome_of(alert({}, 21.5), mild, worst)
    assert outcome is not None
    assert outcome.first == worst


def test_a_later_worse_alert_of_the_same_incident_is_told_apart() -> None:
    worst = alert(WATCHED, 31.6, window=2)
    first = alert(WATCHED, 21.6)
    first = AlertLine({**first.alert, "severity": "warning"}, first.key, first.headers, first.received_ms)
    outcome = outcome_of(first, alert(WATCHED, 31.5, window=2, key="other signal"), worst)
    assert outcome is not None
    assert outcome.first == first
    assert outcome.raised == worst
    assert outcome.as_json()["raised_to"] == "critical"
