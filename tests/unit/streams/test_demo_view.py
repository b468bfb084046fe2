"""The demo's model and view: records in, one screen out, at the sizes people have."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from streams.demo.display import status_line
from streams.demo.format import number, sparkline, times
from streams.demo.model import AlertLine, DemoModel, IncidentLine, Phase, ProcessLine, Track
from streams.demo.view import render
from streams.signals import SIGNALS

START_MS = 1_790_000_000_000
WATCHED = {"provider": "acme-ai", "model": "acme-chat-2"}
NAMES = (
    "refusal_ratio",
    "tokens_out_mean",
    "latency_p95_ms",
    "cost_per_request_usd",
    "judge_score_mean",
)


def model_after(windows: int, incidents: int = 0, alert: bool = False) -> DemoModel:
    model = DemoModel(10_000, WATCHED, {name: Track(name, SIGNALS[name].unit) for name in NAMES})
    for i in range(windows):
        refusals = 0.25 if i >= windows - 3 else 0.02
        rows: list[list[Any]] = [
            [WATCHED, "refusal_ratio", refusals, 900, 0.02, "ok", None],
            [WATCHED, "tokens_out_mean", 200.0, 900, None, "learning", None],
            [WATCHED, "finish_reason_mix", None, 900, None, "ok", {"stop": 900}],
            [{}, "refusal_ratio", 0.5, 1500, 0.02, "ok", None],
            [{}, "request_rate", 150.0, 1500, None, "learning", None],
            [WATCHED, "request_rate", 90.0, 900, None, "learning", None],
        ]
        start_ms = START_MS + i * 10_000
        model.add_summary(
            {"window_start_ms": start_ms, "window_end_ms": start_ms + 10_000, "fleet": "demo", "rows": rows}
        )
    for i in range(incidents):
        segment = {} if i else WATCHED
        line = IncidentLine(
            str(i), "firing", "critical", segment, "refusal_ratio", "ratio", 0.25, 0.02, START_MS
        )
        model.incidents[str(i)] = line
    if alert:
        value = {"type": "tidewatch.alert.firing", "summary": "refusals are up " * 20}
        model.onset_ms = START_MS
        model.headline = AlertLine(value, "k", {}, START_MS + 27_400)
    return model


def drawn(model: DemoModel, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(render(model, width, height))
    return console.export_text().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (200, 60)])
@pytest.mark.parametrize("incidents", [0, 1, 2, 40])
def test_the_view_fits_the_terminal(width: int, height: int, incidents: int) -> None:
    model = model_after(150, incidents, alert=bool(incidents))
    model.processes = [ProcessLine(n, 1_234_567, "running") for n in ("broker", "detect", "record")]
    model.lag_records = {"detect": 1_234_567, "record": 1_234_567}
    model.sent, model.rate_per_sec, model.now_ms = 1_234_567, 12_345.0, START_MS + 1_600_000
    model.newest_ms = model.now_ms
    lines = drawn(model, width, height)
    assert len(lines) <= height - 1, "a line is left for the cursor"
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "provider=acme-ai, model=acme-chat-2" in text
    assert "25.0 %" in text
    assert f"{incidents} firing" in text
    assert ("27.4 s after the onset" in text) == bool(incidents)


def test_an_empty_model_is_drawn() -> None:
    text = "\n".join(drawn(model_after(0), 80, 24))
    assert "● start" in text
    assert "none closed yet" in text
    assert "0 firing" in text


def test_phases_before_are_ticked_and_later_ones_open() -> None:
    model = model_after(1)
    model.phase = Phase.INCIDENT
    text = drawn(model, 100, 30)[1]
    assert [text.count(mark) for mark in "✓●○"] == [3, 1, 2]


def test_summaries_give_windows_segments_and_the_watched_signals() -> None:
    model = model_after(5)
    assert model.windows_closed == 5
    assert model.segments == 2
    assert model.closed_until_ms == START_MS + 50_000
    assert list(model.tracks["refusal_ratio"].values) == [0.02, 0.02, 0.25, 0.25, 0.25]
    assert model.tracks["refusal_ratio"].usual() == 0.02
    assert model.tracks["tokens_out_mean"].usual() is None


def test_a_window_in_two_records_counts_once() -> None:
    model = model_after(0)
    for rows in ([[WATCHED, "refusal_ratio", 0.1, 5, None, "ok", None]], []):
        model.add_summary({"window_start_ms": 0, "window_end_ms": 10_000, "fleet": "demo", "rows": rows})
    assert model.windows_closed == 1


def test_open_windows_run_from_the_watermark_to_the_newest_event() -> None:
    model = model_after(5)
    assert model.open_windows == 0
    model.newest_ms = START_MS + 50_000
    assert model.open_windows == 1
    model.newest_ms = START_MS + 71_000
    assert model.open_windows == 3


def test_firing_incidents_come_worst_first_with_the_watched_segment_on_top() -> None:
    model = model_after(1)
    for i, (status, severity, segment) in enumerate(
        [
            ("firing", "warning", {}),
            ("resolved", "critical", {}),
            ("firing", "critical", {"tenant": "a"}),
            ("firing", "warning", WATCHED),
        ]
    ):
        model.incidents[str(i)] = IncidentLine(
            str(i), status, severity, segment, "refusal_ratio", "ratio", 1.0, 0.5, START_MS + i
        )
    assert [line.incident_id for line in model.firing] == ["3", "2", "0"]


def test_status_line_says_what_the_plain_reader_needs() -> None:
    model = model_after(5, incidents=1)
    model.lag_records = {"detect": 12}
    line = status_line(model)
    assert "lag detect 12" in line
    assert "refusals 25.0 %" in line
    assert "incidents firing 1" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.2512, "ratio", "25.1 %"),
        (612.4, "ms", "612 ms"),
        (2310, "ms", "2.31 s"),
        (0.00312, "USD", "$0.0031"),
        (1234.5, "USD", "$1,234.50"),
        (74.2, "tokens", "74"),
        (151.7, "1/s", "152 /s"),
        (0.8752, "score", "0.875"),
    ],
)
def test_numbers_carry_their_unit(value: float, unit: str, text: str) -> None:
    assert number(value, unit) == text


def test_sparkline_spans_its_scale() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 0, 7) == "▁▂▃▄▅▆▇█"
    assert sparkline([-1, 3.5, 99], 0, 7) == "▁▅█"
    assert sparkline([5.0, 5.0], 5, 5) == "▁▁"
    assert sparkline([], 0, 1) == ""


def test_everyday_noise_is_drawn_flat_and_an_incident_is_not() -> None:
    model = model_after(30)
    chart = next(line for line in drawn(model, 100, 30) if "refusals" in line)
    assert chart.rstrip(" │").endswith("▁▁▁▁▁▁███")


def test_formatting_of_ratios_of_values() -> None:
    assert times(0.25, 0.02) == "×12.5"
    assert times(1.0, 0.0) == ""
