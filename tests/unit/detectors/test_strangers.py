"""A flood of new names makes nobody who was there before smaller."""

from __future__ import annotations

import numpy as np
import pytest
from builders import BASE_MS, matrix

from detectors.monitor import Detect, DetectParams
from detectors.records import FLEET, OVERFLOW_VALUE, SegmentKey
from detectors.strangers import known_traffic
from streams.signals import SIGNALS

START_MS = 1_790_000_000_000
ACME = SegmentKey(("provider",), ("acme",))
RIVAL = SegmentKey(("provider",), ("rival",))
TENANTS = SegmentKey(("tenant",), (OVERFLOW_VALUE,))
NEW_MODEL = SegmentKey(("model",), ("new",))


def key(dimension: str, value: str) -> SegmentKey:
    return SegmentKey((dimension,), (value,))


def test_strangers_are_those_whom_no_segmentation_knows() -> None:
    known = (ACME, 30.0, True), (RIVAL, 70.0, True)
    assert known_traffic(100.0, known) == 100.0
    flooded = (*known, (TENANTS, 880.0, False), (NEW_MODEL, 900.0, False))
    assert known_traffic(1000.0, flooded) == pytest.approx(100.0)


def test_users_that_are_tenants_of_their_own_are_no_strangers_if_their_models_are_known() -> None:
    everybody = (key("model", "m"), 100.0, True), (TENANTS, 95.0, False), (key("tenant", "a"), 5.0, True)
    assert known_traffic(100.0, everybody) == 100.0


def test_who_sends_no_names_is_no_stranger() -> None:
    assert known_traffic(100.0, [(ACME, 30.0, True)]) == 100.0
    assert known_traffic(100.0, []) == 100.0


@pytest.mark.parametrize("flood", [0.0, 50.0, 5000.0])
def test_the_weight_of_a_segment_is_the_same_in_a_flood(flood: float) -> None:
    detect = Detect(DetectParams(), (), SIGNALS, BASE_MS)
    for k in range(600):
        new = flood if k >= 500 else 0.0
        segments, rates = [FLEET, ACME, RIVAL], np.array([4.0 + new, 1.0, 3.0])
        if new:
            segments, rates = [*segments, NEW_MODEL, TENANTS], np.append(rates, [new, new])
        events = (10 * rates).astype(int).tolist()
        detect.close(matrix(START_MS + k * BASE_MS, segments, request_rate=(rates.tolist(), events)))
    assert detect.effects.weight(ACME) == pytest.approx(0.25)
    assert detect.effects.weight(key("tenant", "nobody")) == 0.0
    if flood:
        assert detect.effects.share(ACME, FLEET) < 0.15
        assert detect.effects.weight(NEW_MODEL) == 1.0
