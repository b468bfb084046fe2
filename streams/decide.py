"""DECIDE: the log of partials in; summaries, anomalies, incidents and alerts out; pure, one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from detectors.incidents.triage import Triage
from detectors.monitor import Detect
from detectors.sketches.block import decode, merge
from detectors.sketches.exemplars import RecentExemplars
from detectors.sketches.window import WindowBlock
from sinks.alerts_topic import alert_message
from streams.admission import SEGMENTS_SIGNAL, Admission, AdmissionState
from streams.closing import Closed, Closing, ClosingState
from streams.config import Config
from streams.messages import Message, Record
from streams.partials import decode_log_record
from streams.signals import LAYOUT, SIGNALS
from streams.summaries import encode_summaries
from streams.topics import ALERTS, ANOMALIES, CHANGES, FEEDBACK, INCIDENTS, SUMMARIES

NEVER_LATE: Final = (f"{FEEDBACK}-", f"{CHANGES}-")
STATE_VERSION: Final = 1
WATCHED: Final = SIGNALS | {SEGMENTS_SIGNAL.name: SEGMENTS_SIGNAL}


class StateError(Exception):
    """A checkpoint that this program cannot use; says what it found and what it can read."""


class _State(msgspec.Struct):
    """DECIDE's checkpoint: everything, at one position of the log."""

    version: int
    next_offset: int
    windows_closed: int
    closing: ClosingState
    admission: AdmissionState
    exemplars: Any
    detect: Any
    triage: Any


class Decide:
    """One actor per fleet: closes windows, updates every monitor, and owns the incidents."""

    def __init__(self, config: Config) -> None:
        self._build(config, ClosingState(), AdmissionState())
        self.next_offset = 0
        self.windows_closed = 0

    def _build(self, config: Config, closing: ClosingState, admission: AdmissionState) -> None:
        self._fleet = config.fleet
        self._base_ms = config.base_window_ms
        self._closing = Closing(
            base_ms=config.base_window_ms,
            lateness_ms=config.allowed_lateness_ms,
            keep_late=NEVER_LATE,
            state=closing,
        )
        self._admission = Admission(config.segments, admission)
        self._exemplars = RecentExemplars()
        segments = config.segments
        self._detect = Detect(
            config.detect,
            config.rules,
            SIGNALS,
            config.base_window_ms,
            # Every admitted segment has a place, and so have the fleet and what each segmentation folds together.
            max_segments=segments.max_total + 1 + len(segments.by),
            retire_after_days=segments.retire_after_days,
        )
        self._triage = Triage(config.triage, config.fleet)

    def step(self, record: Record) -> list[Message]:
        """Take the next record of the log. Records below ``next_offset`` are already part of the state.

        Raises:
            msgspec.DecodeError: the record is not one of ours; the log is damaged or foreign.
        """
        if record.offset < self.next_offset:
            return []
        self.next_offset = record.offset + 1
        if record.value is None:
            return []
        messages: list[Message] = []
        for closed in self._closing.step(decode_log_record(record.value)):
            messages += self._on_closed(closed)
        return messages

    def _on_closed(self, closed: Closed) -> Iterator[Message]:
        self.windows_closed += 1
        end_ms = closed.window_start_ms + self._base_ms
        block = merge([decode(data, LAYOUT) for data in closed.blocks], LAYOUT)
        block = self._admission.admit(block, end_ms, LAYOUT)
        self._exemplars.add(block)
        window = WindowBlock(closed.window_start_ms, end_ms, block, LAYOUT, self._exemplars)
        judged = self._detect.close(window)
        evidence = [*judged.evidence, *self._admission.evidence(end_ms - self._base_ms, end_ms)]
        triage = self._triage.step(evidence, window, WATCHED)
        self._detect.apply(triage.verdicts)
        for value in encode_summaries(window, judged.expected, judged.learning, self._fleet):
            yield Message(SUMMARIES, self._fleet.encode(), value)
        for anomaly in triage.anomalies:
            yield Message(ANOMALIES, anomaly.fingerprint.encode(), msgspec.json.encode(anomaly))
        for incident in triage.incidents:
            yield Message(INCIDENTS, incident.fingerprint.encode(), msgspec.json.encode(incident))
        for alert in triage.alerts:
            yield Message(ALERTS, *alert_message(alert, source=f"tidewatch/{self._fleet}"))

    def snapshot(self) -> bytes:
        """Everything, at ``next_offset``, as MessagePack."""
        state = _State(
            version=STATE_VERSION,
            next_offset=self.next_offset,
            windows_closed=self.windows_closed,
            closing=self._closing.state,
            admission=self._admission.state,
            exemplars=self._exemplars.to_state(),
            detect=self._detect.to_state(),
            triage=self._triage.to_state(),
        )
        return _ENCODER.encode(state)

    @classmethod
    def restore(cls, config: Config, state: bytes) -> Decide:
        """The actor as it was at the snapshot. Raises StateError."""
        try:
            found = _DECODER.decode(state)
        except msgspec.DecodeError as error:
            raise StateError(f"the checkpoint cannot be read: {error}; remove it to start afresh") from error
        if found.version != STATE_VERSION:
            raise StateError(
                f"the checkpoint has version {found.version}, this program reads {STATE_VERSION}: "
                "use the program that wrote it, or remove it to start afresh"
            )
        decide = cls(config)
        decide._build(config, found.closing, found.admission)
        decide._exemplars.from_state(found.exemplars)
        decide._detect.from_state(found.detect)
        decide._triage.from_state(found.triage)
        decide.next_offset = found.next_offset
        decide.windows_closed = found.windows_closed
        return decide

    def rebase(self) -> None:
        """The log is another one: offsets and sources start again; baselines and incidents stay."""
        self.next_offset = 0
        kept = ClosingState(closed_until_ms=self._closing.state.closed_until_ms)
        self._closing.state = kept

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


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_State)
