"""What was said about an incident, against what really happened. Pure: labels and notices in, verdicts out.

*Detected* means: an alert that fires, of the labelled type, whose segment is the labelled one, a parent or a part
of it, after the onset and before the end. A label of severity ``info`` is detected by a recorded incident too:
nobody is alerted below the configured severity. The *delay* runs from the onset, for ramps from the moment of half
height, to the moment at which the alert can be sent: the end of its window plus the allowed lateness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.backtest.overlap import Segment, is_named, relation

SEVERITIES: Final = ("none", "info", "warning", "critical")
_RATE_SPAN_MS: Final = 3_600_000
"""The rate of affected events is that of the first hour."""


class Notice(msgspec.Struct, frozen=True):
    """One thing that the program said: an alert, or a change of an incident that was only recorded."""

    at_ms: int
    """End of the window in which it was said."""
    incident_id: str
    firing: bool
    told: bool
    """Whether it went to on-call as an alert."""
    severity: str
    type: str
    origin: str
    segment: dict[str, str]
    signal: str
    detector: str
    started_at_ms: int


class Label(msgspec.Struct, frozen=True):
    """What really happened."""

    id: str
    start_ms: int
    end_ms: int
    segment: dict[str, str]
    type: str = ""
    """Empty: any type is right."""
    severity: str = ""
    """Empty: any severity is right."""
    origin: str = ""
    """Empty: any origin is right."""
    counts_from_ms: int | None = None
    """Where the delay begins to run, if not at the start: half height of a ramp."""
    target_events: int | None = None
    benign: bool = False
    """It must not page."""
    versioned: bool = False
    """A new prompt version is part of it: the segment with the version is as right as without."""


class Verdict(msgspec.Struct, frozen=True):
    """One label, judged."""

    label: Label
    detected: bool
    """In the right type."""
    noticed: bool
    """In any type."""
    by: Notice | None
    """What detected it, else what noticed it."""
    delay_secs: float | None
    delay_events: int | None
    target_events: int | None
    """Events within which it should be known, without what follows."""
    allowance_events: int
    """What passes in one window plus the allowed lateness."""
    severity_said: str
    """The worst that was said while it lasted."""
    severity_right: bool
    origin_right: bool
    segment_right: bool
    alerts: int
    """Firing alerts of the whole fleet from the onset to the end of the grace period."""
    critical: bool
    """Whether any of these was critical."""
    target_passed_ms: int
    """About when the target and the allowance have passed, at the rate of the first hour."""
    cleared: bool | None
    """What detected it had resolved within twice the delay after the end; None if that was not watched so long."""
    grace_end_ms: int

    @property
    def in_target(self) -> bool:
        """Detected within the target and the allowance."""
        return (
            self.detected
            and self.delay_events is not None
            and (
                self.target_events is None or self.delay_events <= self.target_events + self.allowance_events
            )
        )


class FalseAlarm(msgspec.Struct, frozen=True):
    """An incident that was alerted outside of every label and its grace period."""

    notice: Notice
    severity: str


class Setting(msgspec.Struct, frozen=True):
    """What verdicts depend on beside labels and notices."""

    window_ms: int
    lateness_ms: int
    watched: tuple[frozenset[str], ...]
    """Dimensions of each segmentation, as the segments that are compared have them."""


class Affected:
    """Times of the events that an incident touches, ascending."""

    def __init__(self, times_ms: NDArray[np.int64]) -> None:
        self._times_ms = times_ms

    def between(self, start_ms: int, end_ms: int) -> int:
        """How many events lie in [start, end)."""
        lo, hi = np.searchsorted(self._times_ms, [start_ms, max(start_ms, end_ms)])
        return int(hi - lo)

    def per_ms(self, start_ms: int, end_ms: int) -> float:
        """The rate in the first hour, or until the end if that comes first."""
        until_ms = min(end_ms, start_ms + _RATE_SPAN_MS)
        return self.between(start_ms, until_ms) / max(1, until_ms - start_ms)


def judge(
    label: Label, notices: Sequence[Notice], affected: Affected, until_ms: int, setting: Setting
) -> Verdict:
    """The verdict on one label; ``until_ms`` is when the watching ended.

    Notices and labels name segments in the same way (``overlap.plain`` or ``overlap.in_reference``).
    """
    wait_ms = setting.window_ms + setting.lateness_ms
    counts_from_ms = label.start_ms if label.counts_from_ms is None else label.counts_from_ms
    per_ms = affected.per_ms(counts_from_ms, label.end_ms)
    allowance = round(per_ms * wait_ms)
    during = [n for n in notices if n.firing and label.start_ms < n.at_ms <= label.end_ms]
    about = [n for n in during if _counts(label, n)]
    typed = [n for n in about if not label.type or n.type == label.type]
    by = typed[0] if typed else about[0] if about else None
    delay_secs = delay_events = None
    if by is not None:
        known_ms = by.at_ms + setting.lateness_ms
        delay_secs = max(0.0, (known_ms - counts_from_ms) / 1000)
        delay_events = affected.between(counts_from_ms, known_ms)
    target_ms = _target_ms(label, per_ms, wait_ms)
    delay_ms = max(target_ms, round(1000 * (delay_secs or 0.0)))
    grace_end_ms = label.end_ms + 2 * delay_ms
    said = max((n.severity for n in typed or about), key=SEVERITIES.index, default="none")
    alerts = [n for n in notices if n.firing and n.told and label.start_ms < n.at_ms <= grace_end_ms]
    return Verdict(
        label=label,
        detected=bool(typed),
        noticed=bool(about),
        by=by,
        delay_secs=delay_secs,
        delay_events=delay_events,
        target_events=label.target_events,
        allowance_events=allowance,
        severity_said=said,
        severity_right=by is not None and label.severity in ("", said),
        origin_right=by is not None and label.origin in ("", by.origin),
        segment_right=by is not None and _named(label, by, setting),
        alerts=len(alerts),
        critical=any(n.severity == "critical" for n in alerts),
        target_passed_ms=counts_from_ms + target_ms,
        cleared=_cleared(by, notices, grace_end_ms, until_ms),
        grace_end_ms=grace_end_ms,
    )


def _counts(label: Label, notice: Notice) -> bool:
    told = notice.told or label.severity == "info"
    return told and relation(label.segment, _unversioned(label, notice.segment)) != "other"


def _unversioned(label: Label, segment: dict[str, str]) -> dict[str, str]:
    if not label.versioned:
        return segment
    return {name: value for name, value in segment.items() if name != "prompt_version"}


def _named(label: Label, notice: Notice, setting: Setting) -> bool:
    return is_named(label.segment, _unversioned(label, notice.segment), setting.watched)


def _target_ms(label: Label, per_ms: float, wait_ms: int) -> int:
    """The delay target in time, at the rate that the affected segment had."""
    if not label.target_events or per_ms <= 0:
        return wait_ms
    return wait_ms + round(label.target_events / per_ms)


def _cleared(by: Notice | None, notices: Sequence[Notice], due_ms: int, until_ms: int) -> bool | None:
    if by is None:
        return None
    ended = [n.at_ms for n in notices if not n.firing and n.incident_id == by.incident_id]
    if ended:
        return ended[-1] <= due_ms
    return False if until_ms >= due_ms else None


def false_alarms(notices: Sequence[Notice], verdicts: Sequence[Verdict]) -> list[FalseAlarm]:
    """Incidents whose first alert lies outside of every label and its grace period, each once, at its worst."""
    found: dict[str, FalseAlarm] = {}
    excused: set[str] = set()
    for notice in notices:
        if not (notice.firing and notice.told) or notice.incident_id in excused:
            continue
        before = found.get(notice.incident_id)
        if before is None and any(v.label.start_ms < notice.at_ms <= v.grace_end_ms for v in verdicts):
            excused.add(notice.incident_id)
        elif before is None or SEVERITIES.index(notice.severity) > SEVERITIES.index(before.severity):
            found[notice.incident_id] = FalseAlarm(before.notice if before else notice, notice.severity)
    return list(found.values())


def unlabelled_ms(start_ms: int, until_ms: int, verdicts: Sequence[Verdict]) -> int:
    """How long nothing labelled happened and no grace period ran."""
    total, reached = 0, start_ms
    for verdict in sorted(verdicts, key=lambda v: v.label.start_ms):
        total += max(0, min(verdict.label.start_ms, until_ms) - reached)
        reached = max(reached, verdict.grace_end_ms)
    return total + max(0, until_ms - reached)


def segments_as(
    segmentations: Sequence[tuple[str, ...]], name: Callable[[Segment], dict[str, str]]
) -> tuple[frozenset[str], ...]:
    """The dimensions of each segmentation as ``name`` (of ``overlap``) spells them."""
    return tuple(frozenset(name(dict.fromkeys(dimensions, ""))) for dimensions in segmentations)
