"""What was simulated, as a label to score against."""

from __future__ import annotations

from streams.backtest.overlap import in_reference
from streams.backtest.scoring import Label
from streams.simulate.scenarios import Truth


def label_of(truth: Truth) -> Label:
    """What an incident should be told as; of a benign twin only that it must not page."""
    benign = truth.benign
    return Label(
        id=truth.id,
        start_ms=truth.onset_ms,
        end_ms=truth.end_ms,
        segment=in_reference(truth.segment),
        type="" if benign else truth.alert_type,
        severity="" if benign else truth.severity,
        origin="" if benign else truth.origin,
        counts_from_ms=truth.onset_ms + truth.ramp_ms // 2,
        target_events=None if benign else truth.target_events,
        benign=benign,
        versioned="prompt_version" in truth.fields,
    )
