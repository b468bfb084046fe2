"""The live view: a pure function from the demo's model and a size to something rich can draw."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.demo.format import clock, number, segment_label, sparkline, times
from streams.demo.model import AlertLine, DemoModel, IncidentLine, Phase, Track
from streams.signals import SIGNALS

LABELS: Final = {
    "refusal_ratio": "refusals",
    "tokens_out_mean": "answer length",
    "latency_p95_ms": "latency p95",
    "cost_per_request_usd": "cost/request",
    "judge_score_mean": "judge score",
}
STYLES: Final = {"critical": "bold white on red", "warning": "bold black on yellow", "info": "black on cyan"}
MARKED: Final = 0.25
"""A bar this far (relative) from the expected value is drawn red; a matter of display only."""
CHROME_LINES: Final = 22
"""Lines of the view besides the list of incidents, one of them the cursor's."""
TALL_LINES: Final = 28
"""From this height on the alert's summary may take two lines."""
SUMMARY_CHARS: Final = 150
TABLE_COLUMNS: Final = 46
"""Columns of the view besides the charts."""


def render(model: DemoModel, width: int, height: int) -> RenderableType:
    """The whole screen for a terminal of this size (80x24 at least)."""
    parts: list[RenderableType] = [_steps(model), Text(""), _facts(model), Text(""), _signals(model, width)]
    tall = height >= TALL_LINES
    room = max(1, height - CHROME_LINES - tall)
    parts += [Text(""), _incidents(model, room)]
    if model.headline is not None:
        parts.append(_alert(model, model.headline, wrapped=tall))
    return Panel(
        Group(*parts),
        title="[bold]Tidewatch demo[/]",
        title_align="left",
        subtitle=f"{model.doing}  ·  {_elapsed(model.elapsed_secs)}",
        subtitle_align="right",
        border_style="blue",
        padding=(0, 1),
    )


def _elapsed(secs: float) -> str:
    return f"{int(secs) // 60}:{int(secs) % 60:02d}"


def _steps(model: DemoModel) -> Text:
    line = Text()
    for phase in Phase:
        if phase:
            line.append(" ── ", "bright_black")
        if phase < model.phase:
            line.append(f"✓ {phase.title}", "green")
        elif phase == model.phase:
            style = "bold red" if phase is Phase.INCIDENT else "bold cyan"
            line.append(f"● {phase.title}", style)
        else:
            line.append(f"○ {phase.title}", "bright_black")
    return line


def _facts(model: DemoModel) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True, min_width=9)
    table.add_column(no_wrap=True, overflow="ellipsis")
    lag = "  ".join(f"{role} {records:,}" for role, records in model.lag_records.items()) or "–"
    table.add_row("traffic", f"[b]{model.rate_per_sec:,.0f}[/] events/s   sent {model.sent:,}   lag: {lag}")
    if model.closed_until_ms is None:
        closed = "none closed yet"
    else:
        behind = max(0.0, (model.now_ms - model.closed_until_ms) / 1000)
        closed = f"watermark {clock(model.closed_until_ms)} ({_span(behind)} behind)"
    base_secs = model.base_ms // 1000
    table.add_row(
        "windows",
        f"[b]{model.open_windows}[/] open, {model.windows_closed} closed of {base_secs} s   {closed}",
    )
    table.add_row("processes", _processes(model))
    return table


def _span(secs: float) -> str:
    return f"{secs:.0f} s" if secs < 120 else f"{secs / 60:.0f} min"


def _processes(model: DemoModel) -> Text:
    colours = {"running": "green", "starting": "yellow", "restarting": "yellow"}
    line = Text()
    for process in model.processes:
        line.append("● ", colours.get(process.state, "red"))
        line.append(process.name)
        line.append(f" {process.pid or process.state}   ", "bright_black")
    return line


def _signals(model: DemoModel, width: int) -> RenderableType:
    title = Text()
    title.append("segment  ", "bright_black").append(segment_label(model.watched), "bold")
    if model.learning:
        title.append("   learning its baseline", "yellow")
    chart = max(10, width - TABLE_COLUMNS)
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "right", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    heading = f"one bar a window of {model.base_ms // 1000} s"
    table.add_row(*(Text(t, "bright_black") for t in ("", "usual", "now", "", heading)))
    for track in model.tracks.values():
        table.add_row(*_track(track, chart))
    return Group(title, table)


def _track(track: Track, width: int) -> tuple[Text, ...]:
    label = Text(LABELS.get(track.name, track.name))
    if not track.values:
        return label, Text("–"), Text("–"), Text(""), Text("")
    usual, now = track.usual(), track.values[-1]
    worse = SIGNALS[track.name].worse
    values = list(track.values)[-width:]
    chart = Text()
    for bar, value in zip(sparkline(values, *_scale(values, usual)), values, strict=True):
        chart.append(bar, "red" if _off(value, usual, worse) else "cyan")
    style = "bold red" if _off(now, usual, worse) else "bold"
    return (
        label,
        Text("–" if usual is None else number(usual, track.unit), "bright_black"),
        Text(number(now, track.unit), style),
        Text("" if usual is None else times(now, usual), style),
        chart,
    )


def _scale(values: Sequence[float], usual: float | None) -> tuple[float, float]:
    """What the chart spans: half to one and a half of the usual value at least, so that everyday noise is flat."""
    if usual is None:
        return min(values), max(values)
    return min(*values, 0.5 * usual), max(*values, 1.5 * usual)


def _off(value: float, usual: float | None, worse: str) -> bool:
    if usual is None:
        return False
    change = (value - usual) / max(abs(usual), 1e-12)
    if worse == "both":
        return abs(change) > 2 * MARKED
    return (change if worse == "up" else -change) > MARKED


def _incidents(model: DemoModel, room: int) -> RenderableType:
    firing = model.firing
    resolved = len(model.incidents) - len(firing)
    head = Text("incidents  ", "bright_black")
    head.append(f"{len(firing)} firing", "bold red" if firing else "bold green").append(
        f", {resolved} resolved"
    )
    lines: list[RenderableType] = [head]
    shown = firing if len(firing) <= room else firing[: room - 1]
    lines.extend(_incident(incident) for incident in shown)
    if len(firing) > len(shown):
        lines.append(Text(f"  and {len(firing) - len(shown)} more", "bright_black"))
    return Group(*lines)


def _incident(incident: IncidentLine) -> Text:
    line = Text("  ", no_wrap=True, overflow="ellipsis")
    line.append(f" {incident.severity:<8} ", STYLES.get(incident.severity, "bold"))
    line.append(f" {LABELS.get(incident.signal, incident.signal)} ")
    line.append(number(incident.observed, incident.unit), "bold")
    line.append(f" (usually {number(incident.expected, incident.unit)})  ", "bright_black")
    line.append(segment_label(incident.segment), "cyan")
    return line


def _alert(model: DemoModel, received: AlertLine, *, wrapped: bool) -> RenderableType:
    text = Text(shorten(str(received.alert["summary"]), SUMMARY_CHARS, placeholder=" …"), "bold")
    if not wrapped:
        text.no_wrap, text.overflow = True, "ellipsis"
    note = Text(f"on llm.alerts at {clock(received.received_ms)}", "bright_black")
    if model.onset_ms is not None:
        delay = (received.received_ms - model.onset_ms) / 1000
        note.append(f", {delay:.1f} s after the onset", "bold green")
    return Panel(Group(text, note), title="alert", title_align="left", border_style="red", padding=(0, 1))
