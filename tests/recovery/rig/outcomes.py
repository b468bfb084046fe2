"""Outcomes in words and sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.recovery.experiment import Outcome


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Sums of what was counted, the worst of what was measured."""
    stalls = [found.worst_stall_secs for found in outcomes if found.worst_stall_secs is not None]
    rss = [found.worst_rss_mb for found in outcomes if found.worst_rss_mb is not None]
    return Outcome(
        runs=sum(found.runs for found in outcomes),
        faults=sum(found.faults for found in outcomes),
        lost=sum(found.lost for found in outcomes),
        doubled=sum(found.doubled for found in outcomes),
        worst_stall_secs=max(stalls, default=None),
        worst_rss_mb=max(rss, default=None),
        notes="; ".join(found.notes for found in outcomes if found.notes),
        failures=tuple(failure for found in outcomes for failure in found.failures),
    )


def counts(faults: Mapping[str, int]) -> str:
    """How often what was done, for the notes."""
    return ", ".join(f"{kind} {count}" for kind, count in faults.items())
