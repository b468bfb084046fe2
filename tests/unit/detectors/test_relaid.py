"""A state that was stored with other signals: what stays goes on as if nothing had happened."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from builders import START_MS, MatrixWindow

from detectors.base import Verdict
from detectors.monitor import Detect, DetectParams, Judged
from detectors.records import FLEET, SegmentKey
from detectors.registry import DETECTORS
from streams.signals import SIGNALS

STAYING = ("request_rate", "refusal_ratio", "tokens_in_typical", "spend_usd", "cost_tail_ratio")
OTHERS = ("spend_usd", "error_ratio", "tokens_in_typical", "cost_tail_ratio", "request_rate", "refusal_ratio")
"""One more, in another order."""
SEGMENTS = (FLEET, SegmentKey(("model",), ("a",)), SegmentKey(("model",), ("b",)))
BASE_MS = 60_000
STRUCK, CUT, WINDOWS = 170, 190, 270


class Window(MatrixWindow):
    """A window of some signals, drawn for each signal and window by itself."""

    def __init__(self, number: int, signals: tuple[str, ...]) -> None:
        here = list(SEGMENTS if number % 3 else SEGMENTS[:2])
        columns = [self._drawn(name, number, len(here)) for name in signals]
        values, counts = (np.stack(both, axis=1) for both in zip(*columns, strict=True))
        super().__init__(START_MS + number * BASE_MS, here, values, counts.astype(np.int64), BASE_MS)
        self.signals = signals

    @staticmethod
    def _drawn(name: str, number: int, size: int) -> tuple[Any, Any]:
        rng = np.random.default_rng([sum(name.encode()), number])
        struck = 2.0 if number >= STRUCK and name in ("refusal_ratio", "spend_usd") else 1.0
        if SIGNALS[name].kind == "ratio":
            counts = rng.integers(20, 60, size)
            return rng.binomial(counts, 0.1 * struck) / counts, counts
        return struck * rng.lognormal(3.0, 0.3, size), rng.integers(5, 60, size)


def new(signals: tuple[str, ...]) -> Detect:
    beside = tuple(name for name in DETECTORS if name != "glr")
    params = DetectParams.model_validate({"detectors": {"beside": beside}})
    return Detect(params, (), {name: SIGNALS[name] for name in signals}, BASE_MS)


def play(detect: Detect, signals: tuple[str, ...], first: int, last: int) -> list[Judged]:
    said = []
    for number in range(first, last):
        said.append(detect.close(Window(number, signals)))
        for evidence in said[-1].evidence:
            action = "freeze" if evidence.firing else "thaw"
            detect.apply([Verdict(action, evidence.segment, evidence.signal)])
    return said


def of_staying(said: list[Judged], signals: tuple[str, ...]) -> list[Any]:
    columns = [signals.index(name) for name in STAYING]
    return [
        (
            sorted((e for e in j.evidence if e.signal in STAYING), key=lambda e: (e.segment, e.signal, e.detector)),
            j.expected[:, columns].tobytes(),
            j.learning[:, columns].tobytes(),
        )
        for j in said
    ]  # fmt: skip


@pytest.fixture(scope="module")
def stored() -> tuple[bytes, list[Judged]]:
    """A state in the middle of an incident, and what its program said afterwards."""
    detect = new(STAYING)
    assert any(judged.evidence for judged in play(detect, STAYING, 0, CUT)[STRUCK:])
    state = msgspec.msgpack.encode(detect.to_state())
    return state, play(detect, STAYING, CUT, WINDOWS)


def restored(state: bytes, signals: tuple[str, ...]) -> Detect:
    detect = new(signals)
    assert detect.from_state(msgspec.msgpack.decode(state)) == [], "nothing was lost"
    return detect


def test_signals_that_stay_go_on_exactly(stored: tuple[bytes, list[Judged]]) -> None:
    state, expected = stored
    assert sum(len(judged.evidence) for judged in expected) > 20
    said = play(restored(state, OTHERS), OTHERS, CUT, WINDOWS)
    assert of_staying(said, OTHERS) == of_staying(expected, STAYING)


def test_a_signal_that_is_new_begins_anew(stored: tuple[bytes, list[Judged]]) -> None:
    detect = restored(stored[0], OTHERS)
    column = OTHERS.index("error_ratio")
    learning = [bool(judged.learning[0, column]) for judged in play(detect, OTHERS, CUT, CUT + 40)]
    assert learning == [True] * 29 + [False] * 11


def test_the_way_back_leaves_the_same_state(stored: tuple[bytes, list[Judged]]) -> None:
    there = msgspec.msgpack.encode(restored(stored[0], OTHERS).to_state())
    assert msgspec.msgpack.encode(restored(there, STAYING).to_state()) == stored[0]


def test_a_signal_that_is_gone_is_left_out(stored: tuple[bytes, list[Judged]]) -> None:
    fewer = STAYING[:2]
    detect = restored(stored[0], fewer)
    both = [play(restored(stored[0], STAYING), STAYING, CUT, CUT + 60), play(detect, fewer, CUT, CUT + 60)]
    before, now = ([[e for e in judged.evidence if e.signal in fewer] for judged in said] for said in both)
    assert before == now


def test_a_state_that_is_not_of_its_signals_is_refused(stored: tuple[bytes, list[Judged]]) -> None:
    state = msgspec.msgpack.decode(stored[0]) | {"signals": ["request_rate", "another"]}
    with pytest.raises(ValueError, match="reshape"):
        new(STAYING).from_state(state)
