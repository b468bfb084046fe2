"""What each trap expects beyond being found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.backtest.scoring import FalseAlarm, Notice, Verdict

MOST_ALERTS: Final = 2
NEW_TENANT: Final = "tenant-new"


def unmet(
    trap: str, verdicts: Sequence[Verdict], notices: Sequence[Notice], alarms: Sequence[FalseAlarm]
) -> str:
    """What is not as the trap expects, in words; empty if all is.

    ``T1`` two incidents, ``T2`` one with few alerts, ``T3`` found again, ``T4`` nothing after the end, ``T5`` and
    ``T8`` in time, ``T6`` nothing said about the new tenant before, ``T7`` a mix change and no model drift.
    """
    if trap == "T7":
        return _fallback(verdicts, notices)
    missed = [v for v in verdicts if not v.detected]
    if missed:
        also = " in the right type" if all(v.noticed for v in missed) else ""
        return f"{len(missed)} of {len(verdicts)} not found{also}"
    if trap in ("T1", "T3") and len({v.by.incident_id for v in verdicts if v.by}) < len(verdicts):
        return "one incident for both"
    if trap == "T2" and (alerts := max(v.alerts for v in verdicts)) > MOST_ALERTS:
        return f"{alerts} alerts"
    if trap == "T4" and (after := _after(verdicts, notices, alarms)):
        return f"{after} incidents after the end"
    if trap in ("T5", "T8") and not all(v.in_target for v in verdicts):
        return "late"
    if trap == "T6" and _said_of_newcomer(verdicts, notices):
        return "alerts about the new tenant before anything happened"
    return ""


def _fallback(verdicts: Sequence[Verdict], notices: Sequence[Notice]) -> str:
    during = [
        n for n in notices if n.firing and any(v.label.start_ms < n.at_ms <= v.label.end_ms for v in verdicts)
    ]
    if any(n.told and n.type == "model_drift" for n in during):
        return "an alert of model drift"
    return "" if any(n.type == "mix_change" for n in during) else "no mix change recorded"


def _after(verdicts: Sequence[Verdict], notices: Sequence[Notice], alarms: Sequence[FalseAlarm]) -> int:
    """Incidents whose first alert came after the end."""
    end_ms = max(v.label.end_ms for v in verdicts)
    first: dict[str, int] = {}
    for notice in notices:
        if notice.firing and notice.told:
            first.setdefault(notice.incident_id, notice.at_ms)
    late = {name for name, at_ms in first.items() if at_ms > end_ms}
    return len(late | {alarm.notice.incident_id for alarm in alarms if alarm.notice.at_ms > end_ms})


def _said_of_newcomer(verdicts: Sequence[Verdict], notices: Sequence[Notice]) -> bool:
    start_ms = min(v.label.start_ms for v in verdicts)
    return any(n.told and n.at_ms <= start_ms and n.segment.get("tenant") == NEW_TENANT for n in notices)
