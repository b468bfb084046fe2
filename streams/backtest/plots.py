"""The suite's pictures, as SVG that stands in the page itself."""

from __future__ import annotations

import io
from typing import Any, Final

from streams.backtest.figures import MET_SHARE, Figures, Row

_STRENGTHS: Final = {"mild": ("#4c9f70", 0.22), "medium": ("#d08c2f", 0.0), "severe": ("#b33a3a", -0.22)}
"""Colour, and how far above the scenario's line."""
_SIZE: Final = 26
_MISSED: Final = 300.0
"""Where what was not found in the right type stands, in targets."""
_LEAST: Final = 0.01


def delays(figures: Figures) -> str:
    """Delay over target of every scenario and strength: left of the line is in time."""
    names = sorted({row.name.partition("/")[0] for row in figures.rows}, reverse=True)
    picture, axes = _figure(8.5, 1.2 + 0.24 * len(names))
    axes.axvspan(_LEAST, 1.0, color="#4c9f70", alpha=0.10, lw=0)
    axes.axvline(1.0, color="black", lw=0.8)
    for row in figures.rows:
        scenario, _, strength = row.name.partition("/")
        colour, offset = _STRENGTHS[strength]
        x, y = _targets(row), names.index(scenario) + offset
        if x is None:
            axes.scatter(_MISSED, y, s=_SIZE, color=colour, marker="x", zorder=3)
        else:
            inside = colour if row.detected >= MET_SHARE else "white"
            axes.scatter(x, y, s=_SIZE, facecolor=inside, edgecolor=colour, zorder=3)
    for strength, (colour, _) in _STRENGTHS.items():
        axes.scatter([], [], s=_SIZE, color=colour, label=strength)
    axes.scatter([], [], s=_SIZE, facecolor="white", edgecolor="grey", label="not in every seed")
    axes.set_xscale("log")
    axes.set_xlim(_LEAST * 0.8, _MISSED * 1.6)
    axes.set_xticks([0.01, 0.1, 1, 10, 100, _MISSED], ["≤ 1 %", "10 %", "target", "10 ×", "100 ×", "missed"])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.grid(axis="x", lw=0.3)
    picture.legend(loc="outside upper center", ncols=4, frameon=False)
    return _svg(picture)


def methods(figures: Figures) -> str:
    """Targets met and false alarms of every method, any type counting."""
    picture, (left, right) = _figure(8.5, 0.9 + 0.35 * len(figures.compared), columns=2)
    names = [found.method for found in figures.compared][::-1]
    met = [found.targets_met for found in figures.compared][::-1]
    rates = [
        (found.false_alarms if found.false_alarms.weeks else found.beside).per_week
        for found in figures.compared
    ][::-1]
    colours = ["#2f5d8a" if name == "tidewatch" else "#b8b8b8" for name in names]
    for axes, values, title in (
        (left, met, f"targets met, of {figures.targets}"),
        (right, rates, "false alarms a week"),
    ):
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, fmt="{:,.0f}" if axes is left else "{:,.1f}", padding=3)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_xticks([])
    left.set_xlim(0, max(figures.targets, 1) * 1.12)
    right.set_xscale("symlog", linthresh=1.0)
    right.set_xlim(0, max([1.0, *rates]) * 6)
    right.set_yticks([])
    right.set_xticks([])
    right.minorticks_off()
    return _svg(picture)


def _targets(row: Row) -> float | None:
    if row.target_events is None or not row.detected or row.delay_events_median is None:
        return None
    return min(max(_LEAST, row.delay_events_median / (row.target_events + row.allowance_events)), _MISSED / 2)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _svg(picture: Any) -> str:
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "tidewatch", "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        picture.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()[text.getvalue().index("<svg") :]
