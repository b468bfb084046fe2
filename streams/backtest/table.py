"""The suite's figures for a person at a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from streams.backtest.report import HEADINGS, Report, cells, comparison, groups, summary


def show(report: Report, console: Console) -> None:
    """Print everything."""
    for title, rows in groups(report.figures):
        console.print(_table(title, HEADINGS, [(*cells(row)[:-1], row.why or row.said) for row in rows]))
    if report.figures.targets:
        heading, *found = comparison(report.figures)
        console.print(_table("Beside plain methods, any type counting", heading, found))
    for line in summary(report):
        console.print(line, highlight=False)


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(title=title, box=None, header_style="bold", title_justify="left")
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="left" if at in (0, len(headings) - 1) else "right")
    for row in rows:
        table.add_row(*row)
    return table
