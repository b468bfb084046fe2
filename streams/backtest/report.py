"""The suite on one page: Markdown or HTML, from the figures alone."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from streams.backtest import plots
from streams.backtest.figures import Figures, Row
from streams.backtest.history_table import rate_text, time_text

VERSION: Final = 1


class Made(msgspec.Struct, frozen=True):
    """How the figures came about."""

    program: str
    seeds: list[int]
    warm_up_days: float
    rate_per_day: float
    max_days: float
    window_secs: int
    lateness_secs: int


class Report(msgspec.Struct, frozen=True):
    """What a page is made of; ``docs/backtest.md`` describes it."""

    version: int
    made: Made
    figures: Figures


HEADINGS: Final = (
    *(
        "scenario",
        "seeds",
        "found",
        "delay",
        "p90",
        "target + window",
        "time",
        "met",
        "type",
        "severity",
        "origin",
    ),
    *("segment", "alerts", "cleared", "why not"),
)


def cells(row: Row) -> tuple[str, ...]:
    """One row of the table, as text."""
    target = "" if row.target_events is None else f"{row.target_events:,} + {row.allowance_events:,.0f}"
    return (
        row.name,
        str(row.seeds),
        f"{row.noticed:.0%}",
        number(row.delay_events_median) + interval(row),
        number(row.delay_events_p90),
        target,
        time_text(row.delay_secs_median),
        _met(row),
        f"{row.detected:.0%}",
        f"{row.severity_right:.0%}",
        f"{row.origin_right:.0%}",
        f"{row.segment_right:.0%}",
        f"{row.alerts:g}",
        "" if row.cleared is None else f"{row.cleared:.0%}",
        row.why,
    )


def _met(row: Row) -> str:
    """Twins have nothing to meet; the trap without a target has its expectations."""
    if row.target_events is None and not row.name.startswith("T"):
        return ""
    return "yes" if row.met else "no"


def number(value: float | None) -> str:
    """Whole events."""
    return "" if value is None else f"{value:,.0f}"


def interval(row: Row) -> str:
    """`` (120 to 160)``."""
    if row.delay_events_interval is None:
        return ""
    low, high = row.delay_events_interval
    return f" ({low:,.0f} to {high:,.0f})"


def summary(report: Report) -> Iterator[str]:
    """What it comes to, in sentences."""
    figures, made = report.figures, report.made
    if figures.targets:
        yield f"{figures.targets_met} of {figures.targets} targets met."
    if figures.twins_quiet is not None:
        yield f"{figures.twins_quiet:.0%} of the benign twins raised no critical alert."
    for where, rates in (("In quiet weeks", figures.quiet), ("Beside incidents", figures.beside)):
        if rates["critical"].weeks:
            said = "; ".join(
                f"false {severity} alarms {rate_text(found)}" for severity, found in rates.items()
            )
            yield f"{where}: {said}."
    seeds = f"{len(made.seeds)} seed{'s' if len(made.seeds) != 1 else ''} from {min(made.seeds)}"
    yield (
        f"Tidewatch {made.program}, {seeds}, {made.rate_per_day:,.0f} interactions a day, "
        f"{made.warm_up_days:g} days of warm-up. Every delay has a window of {made.window_secs} s and "
        f"{made.lateness_secs} s of lateness in it. {figures.fleet_days:,.1f} fleet-days at "
        f"{figures.secs_per_fleet_day:.1f} s of processor time."
    )


def groups(figures: Figures) -> Iterator[tuple[str, list[Row]]]:
    """The tables that have rows."""
    for title, rows in (
        ("Incidents", figures.rows),
        ("Benign twins", figures.twins),
        ("Traps", figures.traps),
    ):
        if rows:
            yield title, rows


def markdown_table(rows: list[Row]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "|---" + "|--:" * (len(HEADINGS) - 2) + "|---|"
    for row in rows:
        yield "| " + " | ".join(cells(row)) + " |"


def comparison(figures: Figures) -> Iterator[tuple[str, ...]]:
    """Every method beside the others, the heading first."""
    yield "method", "noticed", "targets met", "false alarms a week, quiet", "beside incidents"
    for found in figures.compared:
        quiet = rate_text(found.false_alarms) if found.false_alarms.weeks else ""
        yield found.method, f"{found.noticed:.0%}", str(found.targets_met), quiet, rate_text(found.beside)


def markdown(report: Report) -> str:
    """The page as Markdown."""
    lines = ["# Backtest", "", *summary(report), ""]
    for title, rows in groups(report.figures):
        lines += [f"## {title}", "", *markdown_table(rows), ""]
    if report.figures.targets:
        heading, *found = comparison(report.figures)
        lines += ["## Beside plain methods, any type counting", "", "| " + " | ".join(heading) + " |"]
        lines += ["|---|--:|--:|--:|--:|", *("| " + " | ".join(row) + " |" for row in found), ""]
    return "\n".join(lines)


_STYLE: Final = """
body { font: 14px/1.45 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 12.5px; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; border-bottom: 1px solid #888; padding: 3px 7px; font-weight: 600; }
td { text-align: right; border-bottom: 1px solid #e4e4e4; padding: 3px 7px; white-space: nowrap; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
td:last-child { white-space: normal; }
.yes { color: #2b7a4b; font-weight: 600; } .no { color: #b33a3a; font-weight: 600; }
svg { max-width: 100%; height: auto; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
"""


def page(report: Report) -> str:
    """The page as HTML that needs nothing else."""
    figures = report.figures
    parts = ["<h1>Backtest</h1>", *(f"<p>{html.escape(line)}</p>" for line in summary(report))]
    if figures.targets:
        parts += ["<h2>Delay over target, median</h2>", plots.delays(figures)]
        parts += ["<h2>Beside plain methods, any type counting</h2>", plots.methods(figures)]
        parts.append(_html_table(list(comparison(figures))))
    for title, rows in groups(figures):
        parts += [f"<h2>{title}</h2>", _html_table([HEADINGS, *(cells(row) for row in rows)])]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Tidewatch backtest</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_table(rows: list[tuple[str, ...]]) -> str:
    heading = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    lines = ["".join(_cell(cell) for cell in row) for row in rows[1:]]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>\n<thead><tr>{heading}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _cell(text: str) -> str:
    mark = f' class="{text}"' if text in ("yes", "no") else ""
    return f"<td{mark}>{html.escape(text)}</td>"


def write(report: Report, path: Path) -> None:
    """Write the page: HTML or Markdown by the suffix. Raises OSError, or ValueError for another suffix."""
    if path.suffix not in (".html", ".md"):
        raise ValueError(f"got {path.name!r}; expected a name that ends in .html or .md")
    path.write_text(page(report) if path.suffix == ".html" else markdown(report), "utf-8")
