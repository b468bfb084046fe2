"""A history's verdicts for a person at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from detectors.records import rfc3339
from streams.backtest.figures import Rate
from streams.backtest.history import History
from streams.backtest.rules import Trial
from streams.backtest.scoring import Verdict

_MOST: Final = 20
"""False alarms that are listed."""


def show_history(history: History, console: Console) -> None:
    """Print everything."""
    days = (history.until_ms - history.start_ms) / 86_400_000
    span = f"{rfc3339(history.start_ms)} to {rfc3339(history.until_ms)}"
    console.print(f"{history.records:,} records, {days:.1f} days: {span}", highlight=False)
    if history.refused:
        console.print(f"{history.refused:,} records were no events; `tidewatch replay` says why")
    if history.verdicts:
        console.print(_table(history.verdicts))
        found = sum(verdict.detected for verdict in history.verdicts)
        noticed = sum(verdict.noticed for verdict in history.verdicts)
        console.print(f"{found} of {len(history.verdicts)} labelled incidents found, {noticed} in any type")
        for verdict in history.verdicts:
            label = verdict.label
            if label.start_ms >= history.until_ms or label.end_ms <= history.start_ms:
                console.print(f"label {label.id} lies outside of the history")
    for severity, alarms in history.alarm_rates.items():
        console.print(f"false {severity} alarms: {rate_text(alarms)}", highlight=False)
    for alarm in history.false_alarms[:_MOST]:
        notice = alarm.notice
        what = f"{notice.type}: {notice.signal} of {place(notice.segment)}"
        console.print(f"  {rfc3339(notice.at_ms)}  {alarm.severity:<8}  {what}", highlight=False)
    if len(history.false_alarms) > _MOST:
        console.print(f"  and {len(history.false_alarms) - _MOST:,} more; --json has all")
    present = {trial.rule: trial for trial in history.configured}
    for trial in history.tried:
        _show_trial(trial, present.get(trial.rule), console)


def _show_trial(trial: Trial, configured: Trial | None, console: Console) -> None:
    console.print(f"rule {trial.rule} would have fired {_times(trial)}", highlight=False)
    if configured is not None:
        console.print(f"  as configured now: {_times(configured)}", highlight=False)
    else:
        console.print("  the configuration has no rule of this name", highlight=False)
    for firing in trial.firings[:_MOST]:
        real = f"label {firing.label}" if firing.label else "not labelled"
        until = "" if firing.until_ms is None else f" to {rfc3339(firing.until_ms)}"
        console.print(
            f"  {rfc3339(firing.at_ms)}{until}  {firing.severity:<8}  {place(firing.segment)}  {real}",
            highlight=False,
        )
    if len(trial.firings) > _MOST:
        console.print(f"  and {len(trial.firings) - _MOST:,} more; --json has all")


def _times(trial: Trial) -> str:
    count = len(trial.firings)
    fired = f"{count:,} time{'' if count == 1 else 's'}"
    if not trial.labels:
        return fired
    return f"{fired}, {trial.real:,} labelled real ({trial.labels_found} of {trial.labels} labels)"


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(box=None, header_style="bold")
    for heading in ("label", "segment", "found", "said", "delay", "events", "severity", "alerts", "cleared"):
        table.add_column(heading)
    for verdict in verdicts:
        by = verdict.by
        table.add_row(
            verdict.label.id,
            place(verdict.label.segment),
            "yes" if verdict.detected else "other type" if verdict.noticed else "no",
            "" if by is None else f"{by.type}: {by.signal} of {place(by.segment)}",
            time_text(verdict.delay_secs),
            "" if verdict.delay_events is None else f"{verdict.delay_events:,}",
            verdict.severity_said,
            str(verdict.alerts),
            {True: "in time", False: "no", None: ""}[verdict.cleared],
        )
    return table


def place(segment: dict[str, str]) -> str:
    """``provider=openai, model_requested=gpt-x``, or ``all``."""
    return ", ".join(f"{name}={value}" for name, value in sorted(segment.items())) or "all"


def rate_text(found: Rate) -> str:
    """``0.50 a week (0.06 to 1.81; 2 in 4.0 weeks)``."""
    if found.upper is None:
        return "not watched"
    return (
        f"{found.per_week:.2f} a week ({found.lower:.2f} to {found.upper:.2f}; "
        f"{found.count:,} in {found.weeks:.1f} weeks)"
    )


def time_text(secs: float | None) -> str:
    """``3.5 min``; nothing for None."""
    if secs is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if secs >= 2 * size:
            return f"{secs / size:.1f} {unit}"
    return f"{secs:.0f} s"
