"""A weak signal that more samples would settle is put on record, seldom, and told to nobody."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "detectors"))
from builders import START_MS, matrix, window

from detectors.incidents.sampling import Advice, SamplingAdvice
from detectors.monitor import Detect, DetectParams
from detectors.records import SegmentKey, Severity
from streams.config import Config
from streams.decide import Decide
from streams.signals import RATED, SIGNALS

HOUR_MS = 3_600_000
BUDGET = 5.0 / 60.0
TOPIC = SegmentKey(("topic",), ("billing",))


class Topic:
    """300 interactions an hour, of which the judge sees six."""

    def __init__(self, seed: int) -> None:
        self.detect = Detect(DetectParams(), (), SIGNALS, HOUR_MS)
        self.advice = SamplingAdvice("test", RATED)
        self._rng = np.random.default_rng(seed)
        self.hours = 0

    def restart(self) -> None:
        """Forget everything but what was stored."""
        state = self.advice.to_state()
        self.advice = SamplingAdvice("test", RATED)
        self.advice.from_state(state)

    def play(self, hours: int, bad: float) -> list[Advice]:
        found = []
        for _ in range(hours):
            held = float((self._rng.random(6) < bad).mean())
            block = matrix(
                START_MS + self.hours * HOUR_MS, [TOPIC], HOUR_MS,
                request_rate=([300 / 3600], [300]), judge_fail_ratio=([held], [6]),
            )  # fmt: skip
            self.detect.close(block)
            assert self.advice.is_due(block)
            found += self.advice.step(block, self.detect.explainer(block.window_end_ms), BUDGET)
            self.hours += 1
        return found


def test_a_hint_is_recorded_once_a_day_with_the_rate_that_would_settle_it() -> None:
    hints: list[Advice] = []
    for seed in range(3):
        topic = Topic(seed)
        topic.play(500, bad=0.10)
        found: list[Advice] = []
        while len(found) < 2 and topic.hours < 600:
            found += topic.play(1, bad=0.19)
            topic.restart()
        times = [hint.incident.detected_at_ms for hint in found]
        assert (np.diff(times) >= 24 * HOUR_MS).all(), "not even over a restart"
        hints += found
    assert hints, "six verdicts an hour need more than a day for nine points"
    for anomaly, incident in hints:
        assert (incident.segment, incident.signal, incident.status) == (TOPIC, "judge_fail_ratio", "resolved")
        assert (incident.severity, incident.incident_type) == (Severity.INFO, "more_sampling")
        assert incident.resolved_at_ms == incident.detected_at_ms
        assert anomaly.evidence.statistic < anomaly.evidence.threshold
        assert anomaly.evidence.observed > anomaly.evidence.expected
        assert "instead of 2 % it would show within a day" in incident.verdict_for[0]


def test_it_is_quiet_while_nothing_changes() -> None:
    assert len(Topic(1).play(24 * 7 * 4, bad=0.10)) <= 5, "in four weeks; chance may hint once a week"


def test_decide_records_it_and_remembers_that_it_did() -> None:
    config = Config.model_validate({"windows": {"base_secs": 3600}, "rules": []})
    decide = Decide(config)
    decide.decide(START_MS, window(START_MS, {"error": [0.0] * 10}).block)
    decide._sampling._said_ms[TOPIC] = START_MS
    copy, anew = Decide.restore(config, decide.snapshot())
    assert anew == []
    assert copy._sampling.to_state() == decide._sampling.to_state()
