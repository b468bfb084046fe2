"""What the demo knows at one moment. Sources write it, the view and the summary read it; no I/O here."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

TRACK_WINDOWS: Final = 180
"""Closed windows kept per signal: half an hour of 10 s windows."""


class Phase(IntEnum):
    """Where the demo is, in order."""

    START = 0
    HISTORY = 1
    LIVE = 2
    INCIDENT = 3
    ALERT = 4
    ROWS = 5

    @property
    def title(self) -> str:
        return ("start", "history", "live", "incident", "alert", "SQL")[self]


@dataclass
class Track:
    """One signal of the watched segment: its values per closed window and what the baseline expected then."""

    name: str
    unit: str
    values: deque[float] = field(default_factory=lambda: deque(maxlen=TRACK_WINDOWS))
    expected: deque[float | None] = field(default_factory=lambda: deque(maxlen=TRACK_WINDOWS))

    def usual(self) -> float | None:
        """The newest expectation; None while the baseline is learning."""
        return next((e for e in reversed(self.expected) if e is not None), None)


@dataclass(frozen=True)
class IncidentLine:
    """An incident as the list shows it; times in epoch ms."""

    incident_id: str
    status: str
    severity: str
    segment: Mapping[str, str]
    signal: str
    unit: str
    observed: float
    expected: float
    started_at_ms: int


@dataclass(frozen=True)
class AlertLine:
    """An alert as it arrived on the alerts topic: its value, and when this process read it (epoch ms)."""

    alert: Mapping[str, Any]
    key: str
    headers: Mapping[str, str]
    received_ms: int


@dataclass(frozen=True)
class ProcessLine:
    """One process of the stack; ``state`` is starting, running, restarting or ended."""

    name: str
    pid: int | None
    state: str


@dataclass
class DemoModel:
    """Everything the view shows.

    ``lag_records`` maps a role (detect, record) to the records its consumer group has not committed yet; that
    of detect includes what its open windows still need. ``newest_ms`` is the newest event time sent,
    ``closed_until_ms`` the end of the newest closed window.
    """

    base_ms: int
    watched: Mapping[str, str]
    tracks: dict[str, Track]
    phase: Phase = Phase.START
    doing: str = "starting"
    now_ms: int = 0
    elapsed_secs: float = 0.0
    sent: int = 0
    rate_per_sec: float = 0.0
    lag_records: dict[str, int] = field(default_factory=dict)
    newest_ms: int | None = None
    first_ms: int | None = None
    closed_until_ms: int | None = None
    windows_closed: int = 0
    segments: int = 0
    onset_ms: int | None = None
    learning: bool = True
    incidents: dict[str, IncidentLine] = field(default_factory=dict)
    alerts: list[AlertLine] = field(default_factory=list)
    headline: AlertLine | None = None
    """The alert that is shown in full."""
    processes: list[ProcessLine] = field(default_factory=list)

    @property
    def open_windows(self) -> int:
        """Base windows that hold events and are not closed yet."""
        if self.newest_ms is None:
            return 0
        since_ms = self.closed_until_ms or self.first_ms or self.newest_ms
        return max(0, self.newest_ms // self.base_ms - since_ms // self.base_ms + 1)

    @property
    def firing(self) -> list[IncidentLine]:
        """Firing incidents, the watched segment's first, then by severity and age."""
        order = {"critical": 0, "warning": 1, "info": 2}
        open_now = [i for i in self.incidents.values() if i.status == "firing"]
        return sorted(
            open_now,
            key=lambda i: (i.segment != self.watched, order.get(i.severity, 3), i.started_at_ms, i.signal),
        )

    def add_summary(self, summary: Mapping[str, Any]) -> None:
        """Take one record of the summaries topic (decoded JSON)."""
        end_ms = int(summary["window_end_ms"])
        if self.closed_until_ms is None or end_ms > self.closed_until_ms:
            self.windows_closed += 1
            self.closed_until_ms = end_ms
        segments = 0
        for segment, signal, value, _n, expected, status, _mix in summary["rows"]:
            segments += signal == "request_rate"  # the one signal that every segment has in every window
            if segment == self.watched and signal in self.tracks and value is not None:
                track = self.tracks[signal]
                track.values.append(float(value))
                track.expected.append(None if expected is None else float(expected))
                self.learning = status == "learning"
        self.segments = max(self.segments, segments)
