"""Advice to sample more: a change that a judged or rated signal only hints at, and that more verdicts would settle.

Once an hour of event time the rated signals of every segment are looked at. Advice is given on a series when

* its evidence is less than an incident needs, and more than chance shows ``_PER_WEEK`` times a week over all;
* the change is towards the bad side and has stood for an hour, without an incident;
* at the present sample rate it would not show within a day, at a higher one it would.

At most one a day for a segment and ``_A_DAY`` for the fleet, clearest first. An advice is a record of an incident
that informs, begins and ends at once, freezes nothing and alerts nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from detectors.base import State
from detectors.explaining import Explainer, Explanation
from detectors.incidents.wording import number, with_unit
from detectors.records import Anomaly, Evidence, Incident, SegmentKey, Severity, stable_id
from detectors.sketches.window import WindowBlock

DETECTOR: Final = "sampling"
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000
_PER_WEEK: Final = 7.0
_A_DAY: Final = 3


class Advice(NamedTuple):
    """One advice, as it is recorded."""

    anomaly: Anomaly
    incident: Incident


class SamplingAdvice:
    """Remembers when it last spoke about which segment."""

    def __init__(self, fleet: str, signals: Sequence[str]) -> None:
        """``signals`` are those that are sampled."""
        self._fleet = fleet
        self._signals = tuple(signals)
        self._said_ms: dict[SegmentKey, int] = {}

    def is_due(self, block: WindowBlock) -> bool:
        """Whether an hour ends with this window."""
        return block.window_start_ms // _HOUR_MS != block.window_end_ms // _HOUR_MS

    def step(self, block: WindowBlock, explainer: Explainer, false_per_week: float) -> list[Advice]:
        """What to advise as of this window; ``false_per_week`` is the budget of one signal."""
        now_ms = block.window_end_ms
        self._said_ms = {s: at_ms for s, at_ms in self._said_ms.items() if now_ms - at_ms < _DAY_MS}
        lax = _PER_WEEK / max(1, len(self._signals))
        found = [one for name in self._signals for one in explainer.hints(name, lax, false_per_week, now_ms)]
        found.sort(key=lambda one: (one.nats - one.nats_needed, one.segment, one.signal), reverse=True)
        advised = []
        for one in found:
            if len(self._said_ms) >= _A_DAY:
                break
            if one.segment in self._said_ms or not _would_settle(one, now_ms):
                continue
            self._said_ms[one.segment] = now_ms
            advised.append(self._advice(one, block))
        return advised

    def _advice(self, one: Explanation, block: WindowBlock) -> Advice:
        about = (self._fleet, f"{DETECTOR}:{one.signal}", one.segment.label)
        fingerprint = stable_id(*about)
        row = {segment: row for row, segment in enumerate(block.segments)}.get(one.segment)
        assert one.observed is not None, "a hint has been observed"  # noqa: S101
        assert one.since_ms is not None, "a hint has an onset"  # noqa: S101
        assert one.expected is not None, "a hint has a reference"  # noqa: S101
        evidence = Evidence(
            detector=DETECTOR, family="drift", segment=one.segment, signal=one.signal,
            window_start_ms=block.window_start_ms, window_end_ms=block.window_end_ms, severity=Severity.INFO,
            statistic=one.nats, threshold=one.nats_needed, observed=one.observed, expected=one.expected,
            lower=one.lower, upper=one.upper, n=round(one.observed_n), started_at_ms=one.since_ms, firing=False,
            false_per_week=one.false_per_week,
        )  # fmt: skip
        anomaly = Anomaly(
            anomaly_id=stable_id(*about, block.window_end_ms), fingerprint=fingerprint, evidence=evidence,
            exemplars=() if row is None else block.exemplars(row, one.signal),
        )  # fmt: skip
        incident = Incident(
            incident_id=stable_id(fingerprint, block.window_end_ms), fingerprint=fingerprint, status="resolved",
            severity=Severity.INFO, family="drift", segment=one.segment, signal=one.signal,
            started_at_ms=one.since_ms, detected_at_ms=block.window_end_ms, last_seen_ms=block.window_end_ms,
            resolved_at_ms=block.window_end_ms, anomalies=1, peak=anomaly, incident_type="more_sampling",
            triage_verdict="evaluation baseline", verdict_for=(sentence(one),),
        )  # fmt: skip
        return Advice(anomaly, incident)

    def to_state(self) -> State:
        said = sorted(self._said_ms.items())
        return {"said": [[list(s.dimensions), list(s.values), at_ms] for s, at_ms in said]}

    def from_state(self, state: State) -> None:
        self._said_ms = {SegmentKey(tuple(d), tuple(v)): at_ms for d, v, at_ms in state.get("said", ())}


def _would_settle(one: Explanation, now_ms: int) -> bool:
    """Whether the change has stood, and more samples, but no fewer, would show it within a day."""
    if one.open_incident or one.since_ms is None or now_ms - one.since_ms < _HOUR_MS:
        return False
    return one.sample_rate_needed is not None and one.sample_rate_needed > one.sample_rate


def sentence(one: Explanation) -> str:
    """``judge_fail_ratio of topic=billing may have moved from 0.12 to 0.17 (9.1 of 13 nats); …``"""
    before, now = with_unit(one.expected or 0.0, one.unit), with_unit(one.observed or 0.0, one.unit)
    rate, needed = number(100.0 * one.sample_rate), number(100.0 * (one.sample_rate_needed or 1.0))
    return (
        f"{one.signal} of {one.segment.label} may have moved from {before} to {now} ({number(one.nats)} of "
        f"{number(one.nats_needed)} nats): sampled at {needed} % of its interactions instead of {rate} % it would "
        "show within a day"
    )
