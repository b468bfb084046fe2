"""A source that falls quiet seals what it has; a crash on the way loses no late feedback and doubles none."""

from __future__ import annotations

import random
from typing import Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketches.block import decode, merge
from streams.aggregate import Aggregate, AggregateStep
from streams.clock import Clock, decode_clocks, encode_clocks
from streams.closing import Closing
from streams.config import parse_config
from streams.messages import LocalRecord, Message
from streams.partials import decode_log_record
from streams.signals import LAYOUT

TOPIC: Final = "llm.feedback"
T0: Final = 1_790_000_000_000
NOW: Final = T0 + 86_400_000
CONFIG: Final = parse_config({})
QUIET: Final = None
"""In a script: the source falls quiet."""


def vote(offset: int, at_ms: int) -> LocalRecord:
    value = {"event_id": f"e{offset}", "occurred_at": T0 + at_ms, "name": "user_feedback", "score": 0.0}
    return LocalRecord(TOPIC, 0, offset, orjson.dumps(value))


class Source:
    """One partition of feedback, the worker that reads it, what it has committed, and DECIDE's side."""

    def __init__(self, rng: random.Random, crash_share: float) -> None:
        self._rng = rng
        self._crash_share = crash_share
        self._closing = Closing(
            base_ms=CONFIG.base_window_ms, lateness_ms=CONFIG.allowed_lateness_ms, keep_late=(TOPIC,)
        )
        self.votes: dict[int, int] = {}
        self._log: list[LocalRecord] = []
        self._committed = (0, "")
        self._attempts = 0
        self._begin()

    def _begin(self) -> None:
        """Another attempt, from what is committed; it does not read yet."""
        self._attempts += 1
        self._stage = Aggregate(
            CONFIG, topic=TOPIC, partition=0, attempt=f"{self._attempts}", sources_total=1,
            metadata=self._committed[1],
        )  # fmt: skip
        self._next = self._committed[0]
        self._tell(self._stage.start().messages)

    def _tell(self, messages: list[Message]) -> None:
        for message in messages:
            for closed in self._closing.step(decode_log_record(message.value)):
                counters = merge([decode(block, LAYOUT) for block in closed.blocks], LAYOUT).counters
                if len(counters):
                    found = int(counters[0, LAYOUT.column["thumbs_down.known"]])
                    self.votes[closed.window_start_ms - T0] = found

    def _crashes(self) -> bool:
        return self._attempts < 30 and self._rng.random() < self._crash_share

    def _done(self, step: AggregateStep) -> bool:
        """Send, then commit; whether the worker has survived it."""
        sent = step.messages
        if crashed := self._crashes():
            sent = sent[: self._rng.randint(0, len(sent))]
        self._tell(sent)
        if crashed:
            self._begin()
        elif step.commit_offset is not None:
            self._committed = (step.commit_offset, step.metadata)
        return not crashed

    def append(self, at_ms: int) -> None:
        self._log.append(vote(len(self._log), at_ms))

    def read(self) -> None:
        """To the end, in chunks of any size."""
        while self._next < len(self._log):
            chunk = self._log[self._next : self._next + self._rng.randint(1, 4)]
            if self._done(self._stage.add(chunk, NOW)):
                self._next = chunk[-1].offset + 1

    def fall_quiet(self) -> None:
        """As the driver does it: at the end, commit the decision, seal, commit."""
        self.read()
        if self._crashes():
            self._begin()
            self.read()
        if decision := self._stage.decide():
            self._committed = (self._committed[0], decision)
        if self._crashes():
            self._begin()
            return  # whoever reads on does it
        self._done(self._stage.idle(10_000))

    def close(self) -> dict[int, int]:
        self._crash_share = 0.0
        for _ in range(2):
            self.read()
            self._done(self._stage.idle(10_000))
        return self.votes


scripts = st.lists(st.one_of(st.integers(0, 150_000), st.just(QUIET)), min_size=2, max_size=25)


@settings(deadline=None, max_examples=60)
@given(scripts, st.integers(0, 2**32), st.sampled_from([0.1, 0.4]))
def test_a_crash_on_the_way_to_sealing_changes_nothing(
    script: list[int | None], seed: int, crash_share: float
) -> None:
    undisturbed, disturbed = Source(random.Random(1), 0.0), Source(random.Random(seed), crash_share)
    for source in (undisturbed, disturbed):
        for at_ms in script:
            if at_ms is QUIET:
                source.fall_quiet()
            else:
                source.append(at_ms)
    expected = undisturbed.close()
    assert disturbed.close() == expected
    assert sum(expected.values()) == sum(at_ms is not QUIET for at_ms in script)


def test_a_decision_holds_before_its_record_and_not_earlier() -> None:
    """What was read before the source fell quiet is read again as it was; what comes after it finds all sealed."""
    decided = Clock(T0 + 40_000, T0 + 50_000, 2)
    stage = Aggregate(
        CONFIG, topic=TOPIC, partition=0, attempt="b", sources_total=1, metadata=encode_clocks([decided])
    )
    step = stage.add([vote(0, 40_000)], NOW)
    assert stage.open_windows == 1
    assert decode_clocks(step.metadata) == [decided], "a commit keeps it until then"
    stage.add([vote(1, 30_000), vote(2, 5_000)], NOW)
    assert stage.open_windows == 1, "the third one joins the first window that is not sealed"
    assert decode_clocks(stage.decide()) == [decided, Clock(T0 + 40_000, T0 + 60_000, 3)]


@pytest.mark.parametrize(
    ("metadata", "clocks"), [("1 5 3", [Clock(5, 3, 0)]), ("2 5 3 0 6 7 8", [Clock(5, 3, 0), Clock(6, 7, 8)])]
)
def test_what_is_beside_an_offset_is_read_in_both_versions(metadata: str, clocks: list[Clock]) -> None:
    assert decode_clocks(metadata) == clocks
