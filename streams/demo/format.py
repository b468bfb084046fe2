"""Numbers, times and small charts as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"


def number(value: float, unit: str) -> str:
    """A value in the unit of its signal, short: ``25.1 %``, ``612 ms``, ``$0.0031``."""
    if unit == "ratio":
        return f"{100 * value:.1f} %"
    if unit == "ms":
        return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"
    if unit == "USD":
        return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"
    if unit == "1/s":
        return f"{value:.0f} /s"
    if unit == "tokens":
        return f"{value:,.0f}"
    return f"{value:.3g}"


def times(observed: float, expected: float) -> str:
    """How much the observed value is of the expected one: ``×12.5``; empty when nothing was expected."""
    return f"×{observed / expected:.3g}" if expected > 0 else ""


def clock(epoch_ms: int) -> str:
    """Time of day, UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%H:%M:%S")


def segment_label(segment: Mapping[str, str]) -> str:
    """``provider=acme-ai, model=acme-chat-2``; ``whole fleet`` for the segment of everything."""
    return ", ".join(f"{name}={value}" for name, value in segment.items()) or "whole fleet"


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """One bar per value, on a scale from ``low`` to ``high``; values beyond are cut, and an empty scale is low."""
    if high - low <= 1e-12 * max(abs(high), 1e-12):
        return BARS[0] * len(values)
    top = len(BARS) - 1
    return "".join(BARS[min(top, max(0, round((v - low) / (high - low) * top)))] for v in values)
