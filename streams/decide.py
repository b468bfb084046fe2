"""DECIDE: the log of partials in; summaries, anomalies, incidents and alerts out; pure, one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from detectors.explaining import Explanation
from detectors.incidents.sampling import SamplingAdvice
from detectors.incidents.triage import Triage, TriageStep
from detectors.monitor import Detect, Judged
from detectors.records import Incident, SegmentKey, Severity
from detectors.rules.book import RuleBook
from detectors.sketches.block import Block, merge, unpack
from detectors.sketches.labels import cap_labels
from detectors.sketches.recent import RecentExemplars
from detectors.sketches.translation import exemplar_places, recode
from detectors.sketches.window import WindowBlock
from sinks.alerts_topic import alert_message
from streams import decide_state
from streams.admission import SEGMENTS_SIGNAL, Admission, AdmissionState, folded
from streams.announced import announced_change
from streams.closing import Closed, Closing, ClosingState
from streams.config import Config
from streams.messages import Message, Record
from streams.partials import ForeignRecord, Partial, decode_log_record
from streams.signals import LAYOUT, RATED, SIGNALS
from streams.summaries import encode_summaries
from streams.topics import ALERTS, ANOMALIES, CHANGES, FEEDBACK, INCIDENTS, SUMMARIES

NEVER_LATE: Final = (f"{FEEDBACK}-", f"{CHANGES}-")
WATCHED: Final = SIGNALS | {SEGMENTS_SIGNAL.name: SEGMENTS_SIGNAL}


class Decision(NamedTuple):
    """What one closed window led to."""

    window: WindowBlock
    judged: Judged
    triage: TriageStep


class Decide:
    """One actor per fleet: closes windows, updates every monitor, and owns the incidents."""

    def __init__(self, config: Config) -> None:
        self._build(config, ClosingState(), AdmissionState())
        self.next_offset = 0
        self.windows_closed = 0
        self.foreign_records = 0
        """Since this process began."""

    def _build(self, config: Config, closing: ClosingState, admission: AdmissionState) -> None:
        self._fleet = config.fleet
        self._max_bytes = config.limits.partial_bytes
        self._base_ms = config.base_window_ms
        self._closing = Closing(
            base_ms=config.base_window_ms,
            lateness_ms=config.allowed_lateness_ms,
            keep_late=NEVER_LATE,
            state=closing,
        )
        self._admission = Admission(config.segments, admission)
        self._exemplars = RecentExemplars()
        self._detect = self._new_detect(config)
        self._triage = Triage(config.triage, config.fleet)
        self._sampling = SamplingAdvice(config.fleet, RATED)

    @staticmethod
    def _new_detect(config: Config) -> Detect:
        segments = config.segments
        return Detect(
            config.detect,
            config.rules,
            SIGNALS,
            config.base_window_ms,
            # Every admitted segment has a place, and so have the fleet and what each segmentation folds together.
            max_segments=segments.max_total + 1 + len(segments.by),
            retire_after_days=segments.retire_after_days,
        )

    def step(self, record: Record) -> list[Message]:
        """Take the next record of the log. Records below ``next_offset`` are already part of the state.

        A record that nobody of ours wrote is passed over and counted in ``foreign_records``.

        Raises:
            NewerRecord: a newer program wrote it; to pass it over would lose what it says.
        """
        if record.offset < self.next_offset:
            return []
        self.next_offset = record.offset + 1
        if record.value is None:
            return []
        messages: list[Message] = []
        try:
            found = decode_log_record(record.value)
        except ForeignRecord:
            self.foreign_records += 1
            return []
        if isinstance(found, Partial):
            found = decide_state.recode_partial(found)
        for closed in self._closing.step(found):
            messages += self._on_closed(closed)
        return messages

    def decide(self, window_start_ms: int, block: Block, changes: Sequence[dict[str, Any]] = ()) -> Decision:
        """Judge the next closed window, whose records are summed in ``block``, with what was announced in it."""
        self.windows_closed += 1
        end_ms = window_start_ms + self._base_ms
        block = cap_labels(self._admission.admit(block, end_ms, LAYOUT))
        self._exemplars.add(block)
        window = WindowBlock(window_start_ms, end_ms, block, LAYOUT, self._exemplars)
        judged = self._detect.close(window)
        evidence = [*judged.evidence, *self._admission.evidence(end_ms - self._base_ms, end_ms)]
        announced = [announced_change(change) for change in changes]
        triage = self._triage.step(evidence, window, WATCHED, announced, self._detect.effects)
        self._detect.apply(triage.verdicts)
        return Decision(window, judged, self._advised(window, triage))

    def _advised(self, window: WindowBlock, triage: TriageStep) -> TriageStep:
        """The step, and what to sample more."""
        if not self._sampling.is_due(window):
            return triage
        explainer = self._detect.explainer(window.window_end_ms)
        advised = self._sampling.step(window, explainer, self._budget)
        return triage._replace(
            anomalies=[*triage.anomalies, *(advice.anomaly for advice in advised)],
            incidents=[*triage.incidents, *(advice.incident for advice in advised)],
        )

    @property
    def _budget(self) -> float:
        """False alarms a week of one signal."""
        return self._triage.budget(Severity.WARNING, WATCHED)

    def _on_closed(self, closed: Closed) -> Iterator[Message]:
        window, judged, triage = self.decide(closed.window_start_ms, self._merged(closed), closed.changes)
        rows = (window, judged.expected, judged.learning)
        for value in encode_summaries(*rows, self._fleet, self._max_bytes):
            yield Message(SUMMARIES, self._fleet.encode(), value)
        for anomaly in triage.anomalies:
            yield Message(ANOMALIES, anomaly.fingerprint.encode(), msgspec.json.encode(anomaly))
        for incident in triage.incidents:
            yield Message(INCIDENTS, incident.fingerprint.encode(), msgspec.json.encode(incident))
        for alert in triage.alerts:
            yield Message(ALERTS, *alert_message(alert, source=f"tidewatch/{self._fleet}"))

    def _merged(self, closed: Closed) -> Block:
        """All pieces together. Refused segments are folded piece by piece: a flood is never laid out as a whole."""
        packed = [unpack(data) for data in closed.blocks]
        segments = set().union(*(piece.segments for piece in packed))
        refused = self._admission.refuse(segments, closed.window_start_ms + self._base_ms)
        return merge([folded(piece.block(LAYOUT), refused, LAYOUT) for piece in packed], LAYOUT)

    def snapshot(self) -> bytes:
        """Everything, at ``next_offset``, as MessagePack."""
        return decide_state.encode(
            next_offset=self.next_offset,
            windows_closed=self.windows_closed,
            closing=self._closing.state,
            admission=self._admission.state,
            exemplars=self._exemplars.to_state(),
            detect=self._detect.to_state(),
            triage=self._triage.to_state(),
            advised=self._sampling.to_state(),
        )

    @classmethod
    def restore(cls, config: Config, state: bytes) -> tuple[Decide, list[str]]:
        """The actor as it was at the snapshot, and what had to be begun anew, in words.

        Raises:
            StateUnusable: what must not be lost (places in the log, segments, incidents) cannot be carried over.
        """
        parts = decide_state.decode(state)
        closing = parts.read("closing", ClosingState)
        decide_state.recode_blocks(closing, parts.layout)
        decide = cls(config)
        decide._build(config, closing, parts.read("admission", AdmissionState))
        decide._triage.from_state(parts.read("triage", dict[str, Any]))
        decide._sampling.from_state(parts.read("advised", dict[str, Any]))
        decide.next_offset = parts.next_offset
        decide.windows_closed = parts.windows_closed
        return decide, decide._restore_detect(config, parts)

    def _restore_detect(self, config: Config, parts: decide_state.Parts) -> list[str]:
        """Take over what can be learnt again."""
        try:
            places = exemplar_places(parts.layout, LAYOUT)
            self._exemplars.from_state(parts.read("exemplars", list[Any]), places)
            detect = parts.read("detect", dict[str, Any])
            RuleBook.recode(detect["rules"], lambda block: recode(block, parts.layout, LAYOUT))
            return self._detect.from_state(detect)
        except (decide_state.StateUnusable, ArithmeticError, LookupError, TypeError, ValueError) as error:
            self._exemplars, self._detect = RecentExemplars(), self._new_detect(config)
            return [f"all monitors: their stored state does not fit this program ({error!r})"]

    def rebase(self) -> None:
        """The log is another one: offsets and sources start again; windows, baselines and incidents stay."""
        self.next_offset = 0
        self._closing.state = self._closing.state.on_another_log()

    def explain(
        self, wanted: Callable[[SegmentKey], bool], signals: Sequence[str], change: float | None = None
    ) -> list[Explanation]:
        """What is known of some signals of all segments that are ``wanted``, as of the last window.

        ``change``: what ``Explanation.asked`` shall be.
        """
        now_ms = self._closing.state.closed_until_ms or 0
        explainer = self._detect.explainer(now_ms)
        segments = [segment for segment in explainer.segments if wanted(segment)]
        return explainer.explain(segments, signals, self._budget, now_ms, change)

    @property
    def firing(self) -> list[Incident]:
        """Open incidents, in the order in which they were opened."""
        return self._triage.firing

    @property
    def incidents_open(self) -> dict[str, int]:
        """Severity -> incidents that are firing."""
        firing = Counter(incident.severity for incident in self._triage.firing)
        return {severity.label: firing[severity] for severity in Severity}

    @property
    def over_caps(self) -> dict[str, int]:
        """What a hard cap kept out, by cap."""
        return {
            "segments": self._admission.state.refused,
            "incidents": self._triage.not_raised,
            "segments of rules": self._detect.not_judged,
            "attempts of a source": self._closing.dropped_attempts,
        }

    @property
    def reached_ms(self) -> int | None:
        """The end of the last closed window; before the first one, where the first begins that waits for others."""
        state = self._closing.state
        return min(state.sealed, default=None) if state.closed_until_ms is None else state.closed_until_ms

    @property
    def held_up(self) -> tuple[str, float] | None:
        """The partition that all windows wait for, and how many seconds it is behind the others."""
        found = self._closing.held_up
        return None if found is None else (found[0], found[1] / 1000)

    @property
    def progress(self) -> dict[str, int | None]:
        """For views and metrics: how far it is, and how much it watches."""
        state = self._closing.state
        return {
            "next_offset": self.next_offset,
            "closed_until_ms": state.closed_until_ms,
            "windows_closed": self.windows_closed,
            "windows_pending": len(state.sealed),
            "sources": len(state.sources),
            "segments": len(self._admission.state.last_seen_ms),
            "segments_refused": self._admission.state.refused,
            "partials_ignored": state.ignored_partials,
        }
