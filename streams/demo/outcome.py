"""What a run of the demo showed: figures for the last screen and for ``--json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from detectors.records import rfc3339
from streams.demo.format import number, segment_label
from streams.demo.model import AlertLine, DemoModel
from streams.demo.queries import Answer
from streams.demo.settings import DIFFERENCES
from streams.segments import field_of
from streams.simulate import Truth


def touches(segment: Mapping[str, str], truth: Truth) -> bool:
    """Whether a segment holds traffic of the incident: no dimension contradicts the labelled segment."""
    return all(truth.segment.get(field_of(dimension), value) == value for dimension, value in segment.items())


def is_firing(line: AlertLine) -> bool:
    return bool(line.alert["type"] == "tidewatch.alert.firing")


def _raises(line: AlertLine, first: AlertLine) -> bool:
    return line.key == first.key and _weight(line)[0] > _weight(first)[0]


def _weight(line: AlertLine) -> tuple[int, float]:
    """Severity, then by how many times the signal changed."""
    observed, expected = (max(abs(float(line.alert[name])), 1e-9) for name in ("observed", "expected"))
    return ("info", "warning", "critical").index(line.alert["severity"]), abs(math.log(observed / expected))


@dataclass(frozen=True)
class Outcome:
    """The measured result. Times are epoch ms, delays seconds on one clock: this computer's."""

    truth: Truth
    first: AlertLine
    """Of the alerts of the incident's first window: the labelled segment's own if there is one, the gravest."""
    raised: AlertLine | None
    """The alert that raised the same incident to a worse severity, if one came."""
    firing_of_incident: int
    firing_elsewhere: int
    """Firing alerts on segments that the incident does not touch."""
    firing_before_onset: int
    sent: int
    windows_closed: int
    segments: int
    base_secs: float
    lateness_secs: float
    elapsed_secs: float
    answers: Sequence[Answer]

    @property
    def delay_secs(self) -> float:
        """From the true onset until this process had the alert in its hands."""
        return (self.first.received_ms - self.truth.onset_ms) / 1000

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": True,
            "onset": rfc3339(self.truth.onset_ms),
            "alert_received": rfc3339(self.first.received_ms),
            "delay_secs": round(self.delay_secs, 3),
            "truth": {
                "id": self.truth.id,
                "scenario": self.truth.scenario,
                "segment": dict(self.truth.segment),
                "fields": list(self.truth.fields),
            },
            "alert": dict(self.first.alert),
            "raised_to": None if self.raised is None else self.raised.alert["severity"],
            "alerts": {
                "of_the_incident": self.firing_of_incident,
                "elsewhere": self.firing_elsewhere,
                "before_onset": self.firing_before_onset,
            },
            "events_sent": self.sent,
            "windows_closed": self.windows_closed,
            "window_secs": self.base_secs,
            "allowed_lateness_secs": self.lateness_secs,
            "segments": self.segments,
            "elapsed_secs": round(self.elapsed_secs, 1),
            "queries": [
                {
                    "question": answer.query.question,
                    "sql": answer.query.sql,
                    "rows": [dict(zip(answer.columns, row, strict=True)) for row in answer.rows],
                }
                for answer in self.answers
            ],
        }


def measure(
    model: DemoModel, truth: Truth, lateness_secs: float, answers: Sequence[Answer]
) -> Outcome | None:
    """The outcome as the model shows it, or None while no alert of the incident has arrived."""
    firing = [line for line in model.alerts if is_firing(line)]
    since = [line for line in firing if line.received_ms >= truth.onset_ms]
    of_incident = [line for line in since if touches(line.alert["segment"], truth)]
    if not of_incident:
        return None
    same_window = [
        line for line in of_incident if line.alert["detected_at"] == of_incident[0].alert["detected_at"]
    ]
    first = max(same_window, key=lambda line: (line.alert["segment"] == model.watched, *_weight(line)))
    return Outcome(
        truth=truth,
        first=first,
        raised=next((line for line in of_incident if _raises(line, first)), None),
        firing_of_incident=len(of_incident),
        firing_elsewhere=len(since) - len(of_incident),
        firing_before_onset=len(firing) - len(since),
        sent=model.sent,
        windows_closed=model.windows_closed,
        segments=model.segments,
        base_secs=model.base_ms / 1000,
        lateness_secs=lateness_secs,
        elapsed_secs=model.elapsed_secs,
        answers=tuple(answers),
    )


def answer_table(answer: Answer) -> RenderableType:
    """A query's question and rows."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black")
    for at, name in enumerate(answer.columns):
        numeric = bool(answer.rows) and all(isinstance(row[at], int | float) for row in answer.rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in answer.rows:
        table.add_row(*(_cell(value) for value in row))
    return Group(Text(f"? {answer.query.question}", "bold cyan"), table, Text(""))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None else str(value)


def summary(outcome: Outcome) -> RenderableType:
    """The last screen: what happened, what was noticed, how fast, and what was not."""
    alert = outcome.first.alert
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column()
    unit = str(alert["unit"])
    table.add_row(
        "happened",
        f"{segment_label(outcome.truth.segment)} changed silently at {_clock(outcome.truth.onset_ms)}",
    )
    table.add_row(
        "noticed",
        f"[b]{alert['signal']}[/] {number(alert['observed'], unit)}, usually {number(alert['expected'], unit)}, "
        f"on {segment_label(alert['segment'])} ({alert['severity']}, {alert['detector']}){_raised(outcome)}",
    )
    table.add_row(
        "delay",
        f"[bold green]{outcome.delay_secs:.1f} s[/] from the onset to the alert in a consumer's hands "
        f"(windows of {outcome.base_secs:g} s + {outcome.lateness_secs:g} s allowed lateness included)",
    )
    table.add_row(
        "alerts",
        f"{outcome.firing_of_incident} on segments that the incident touches, "
        f"{outcome.firing_elsewhere} on others, {outcome.firing_before_onset} before the onset",
    )
    table.add_row(
        "volume",
        f"{outcome.sent:,} records through the broker, {outcome.windows_closed} windows, "
        f"{outcome.segments} segments, {outcome.elapsed_secs:.0f} s in all",
    )
    table.add_row("settings", f"the defaults, but {DIFFERENCES}")
    table.add_row("next", "tidewatch up  ·  tidewatch replay FILE  ·  tidewatch sql 'SELECT …'")
    return Panel(table, title="[bold]What you saw[/]", title_align="left", border_style="green")


def _raised(outcome: Outcome) -> str:
    if outcome.raised is None:
        return ""
    after_secs = (outcome.raised.received_ms - outcome.truth.onset_ms) / 1000
    return f"; raised to {outcome.raised.alert['severity']} after {after_secs:.1f} s"


def _clock(epoch_ms: int) -> str:
    return rfc3339(epoch_ms)[11:19] + " UTC"
