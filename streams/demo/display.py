"""Where the demo shows itself: a live screen on a terminal, plain lines anywhere else."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from streams.demo.format import clock, number, segment_label
from streams.demo.model import DemoModel
from streams.demo.view import LABELS, render

PLAIN_WIDTH = 100
"""Columns of what is not a terminal."""
PLAIN_EVERY_SECS = 5.0
"""How often a plain status line is written."""


class Display(Protocol):
    """``refresh`` may be called often; ``say`` tells a milestone; ``show`` prints something that stays."""

    def __enter__(self) -> Display: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def refresh(self, model: DemoModel) -> None: ...
    def say(self, model: DemoModel, text: str) -> None: ...
    def freeze(self, model: DemoModel) -> None:
        """Leave the last state on the screen; only ``show`` follows."""

    def show(self, what: RenderableType) -> None: ...


class LiveDisplay:
    """Redraws one screen in place; what ``say`` tells is in the screen already."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False, vertical_overflow="crop")

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def refresh(self, model: DemoModel) -> None:
        width, height = self._console.size
        self._live.update(render(model, width, height), refresh=True)

    def say(self, model: DemoModel, text: str) -> None:
        self.refresh(model)

    def freeze(self, model: DemoModel) -> None:
        self.refresh(model)
        self._live.stop()

    def show(self, what: RenderableType) -> None:
        self._console.print(what)


class PlainDisplay:
    """One line per milestone, and a status line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_secs = 0.0

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def refresh(self, model: DemoModel) -> None:
        if model.phase and model.elapsed_secs - self._last_secs >= PLAIN_EVERY_SECS:
            self._last_secs = model.elapsed_secs
            self._line(model, status_line(model))

    def say(self, model: DemoModel, text: str) -> None:
        self._last_secs = model.elapsed_secs
        self._line(model, text)

    def freeze(self, model: DemoModel) -> None:
        pass

    def show(self, what: RenderableType) -> None:
        self._console.print(what)

    def _line(self, model: DemoModel, text: str) -> None:
        self._console.print(Text(f"{model.elapsed_secs:6.1f} s  {text}"), soft_wrap=True)


def status_line(model: DemoModel) -> str:
    """The state in one line: rates, lag, windows and the newest window of the watched segment."""
    parts = [f"{model.rate_per_sec:,.0f} events/s", f"sent {model.sent:,}"]
    parts += [f"lag {role} {records:,}" for role, records in model.lag_records.items()]
    parts.append(f"open windows {model.open_windows}")
    if model.closed_until_ms is not None:
        parts.append(f"watermark {clock(model.closed_until_ms)}")
    signals = [
        f"{LABELS.get(t.name, t.name)} {number(t.values[-1], t.unit)}"
        for t in list(model.tracks.values())[:2]
        if t.values
    ]
    if signals:
        parts.append(f"{segment_label(model.watched)}: {', '.join(signals)}")
    if model.incidents:
        parts.append(f"incidents firing {len(model.firing)}")
    return " · ".join(parts)
