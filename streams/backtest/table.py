"""The suite's figures for a person at a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from streams.backtest.figures import Figures, Row
from streams.backtest.history_table import rate_text, time_text


def show(figures: Figures) -> None:
    """Print everything on standard output."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    for title, rows in (
        ("Incidents", figures.rows),
        ("Benign twins", figures.twins),
        ("Traps", figures.traps),
    ):
        if rows:
            console.print(_table(title, rows))
    if figures.targets:
        console.print(f"{figures.targets_met} of {figures.targets} targets met")
    if figures.twins_quiet is not None:
        console.print(f"{figures.twins_quiet:.0%} of the benign twins without a critical alert")
    for where, rates in (("quiet weeks", figures.quiet), ("beside incidents", figures.beside)):
        if rates["critical"].weeks:
            console.print(
                f"false alarms in {where}: " + "; ".join(f"{s} {rate_text(r)}" for s, r in rates.items())
            )
    if figures.targets:
        console.print(_comparison(figures))
    console.print(
        f"{figures.fleet_days:.1f} fleet-days, {figures.secs_per_fleet_day:.1f} s each, "
        f"{figures.events_per_sec:,.0f} records/s in one process"
    )


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, box=None, header_style="bold", title_justify="left")
    table.add_column("name")
    for heading in (
        *("seeds", "found", "any type", "delay", "p90", "target", "+window", "time", "met"),
        *("severity", "origin", "segment", "alerts", "cleared"),
    ):
        table.add_column(heading, justify="right")
    table.add_column("said")
    for row in rows:
        table.add_row(
            row.name,
            str(row.seeds),
            f"{row.detected:.0%}",
            f"{row.noticed:.0%}",
            _number(row.delay_events_median),
            _number(row.delay_events_p90),
            _number(row.target_events),
            _number(row.allowance_events),
            time_text(row.delay_secs_median),
            "yes" if row.met else "no",
            f"{row.severity_right:.0%}",
            f"{row.origin_right:.0%}",
            f"{row.segment_right:.0%}",
            f"{row.alerts:g}",
            "" if row.cleared is None else f"{row.cleared:.0%}",
            row.said,
        )
    return table


def _comparison(figures: Figures) -> Table:
    title = "Any type counting, beside plain methods on the same windows"
    table = Table(title=title, box=None, header_style="bold", title_justify="left")
    table.add_column("method")
    for heading in ("noticed", "targets met", "false alarms a week", "beside incidents"):
        table.add_column(heading, justify="right")
    for found in figures.compared:
        quiet = f"{found.false_alarms.per_week:.1f}" if found.false_alarms.weeks else ""
        table.add_row(
            found.method,
            f"{found.noticed:.0%}",
            str(found.targets_met),
            quiet,
            f"{found.beside.per_week:.1f}",
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
