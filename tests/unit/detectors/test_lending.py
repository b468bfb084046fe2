"""What siblings lend to a new or thin series."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from builders import NUMERIC, START_MS, MatrixWindow, matrix

from detectors.base import Ints, Verdict
from detectors.explaining import Explanation
from detectors.lending import LEAST_LENDERS, Learned, Lending, Loan, Own, shrunk
from detectors.monitor import Detect, DetectParams
from detectors.records import FLEET, SegmentKey
from detectors.rows import Rows
from detectors.scales import Scales
from streams.explaining import lines
from streams.signals import SIGNALS

BASE_MS, MINUTES = 60_000, 120
REFUSAL, SCORE = "refusal_ratio", "judge_score_mean"
OLD = [SegmentKey(("tenant",), (f"t{number:02d}",)) for number in range(30)]
NEW = SegmentKey(("tenant",), ("new",))


def lending_of(
    segments: list[SegmentKey], levels: list[float], signal: str, *, spread: float = 0.5, weight: float = 1e9
) -> Lending:
    """What segments with these levels lend."""
    rows = Rows(100, math.inf)
    rows.place(segments, START_MS)
    lending = Lending(Scales([SIGNALS[signal]], 1, BASE_MS), rows, 1)

    def learned(index: Ints) -> Learned:
        size = len(index)
        return Learned(
            np.array(levels)[index], np.full(size, spread), np.full(size, weight), np.ones(size, bool),
            np.ones((size, 1)),
        )  # fmt: skip

    lending.renew(START_MS, learned)
    return lending


def lent_by(
    levels: list[float], signal: str, *, spread: float = 0.5, weight: float = 1e9
) -> tuple[float, ...]:
    """(level, tau, spread, lenders) that siblings with these levels lend."""
    segments = [SegmentKey(("tenant",), (f"t{k}",)) for k in range(len(levels))]
    loan = lending_of(segments, levels, signal, spread=spread, weight=weight).of(np.array([0]))
    return tuple(float(part[0]) for part in (loan.level, np.sqrt(loan.between), loan.spread, loan.lenders))


def test_the_estimate_is_what_a_hand_computes() -> None:
    level, tau, spread, lenders = lent_by([0.78, 0.79, 0.80, 0.81, 0.82], SCORE)
    assert (level, spread, lenders) == (0.8, 0.5, 5)
    # Distances 0, 0.01, 0.01, 0.02, 0.02: three times 1.4826 x 0.01 is more than the farthest and the tolerance.
    assert tau == pytest.approx((1 + 10 / 5) * 3 * 1.4826 * 0.01, rel=1e-4)
    assert lent_by([0.80, 0.80, 0.80, 0.80, 0.86], SCORE)[1] == pytest.approx(3 * 0.06, rel=1e-6)
    noisy = lent_by([0.80, 0.80, 0.80, 0.80, 0.86], SCORE, weight=0.5 / 0.0005)[1]
    assert noisy == pytest.approx(3 * math.sqrt(0.06**2 - 4 * 0.0005), rel=1e-6)


@pytest.mark.parametrize(
    ("levels", "signal"),
    [
        pytest.param([0.8] * (LEAST_LENDERS - 1), SCORE, id="too few"),
        pytest.param([0.0] * 9, REFUSAL, id="never had it"),
        pytest.param([1.0] * 9, "request_rate", id="a rate"),
    ],
)
def test_nothing_is_lent_by(levels: list[float], signal: str) -> None:
    assert lent_by(levels, signal)[3] == 0


def test_the_order_of_siblings_does_not_matter() -> None:
    levels = np.random.default_rng(3).normal(0.8, 0.01, 24).tolist()
    segments = [SegmentKey((name,), (f"{k}",)) for name in ("model", "tenant") for k in range(12)]
    state = lending_of(segments, levels, SCORE).to_state()
    assert state["groups"] == [["model"], ["tenant"]]
    assert state == lending_of(segments[::-1], levels[::-1], SCORE).to_state()


def test_who_is_alike_takes_a_level_and_who_is_not_takes_none() -> None:
    levels = np.array([0.80, 0.82, 1.80])
    lent = Loan(np.full(3, 0.8), np.full(3, 0.01**2), np.full(3, 0.02), np.full(3, 20))
    own = Own(levels, np.full(3, 0.01), np.full(3, 50.0), np.full(3, 11))
    level, spread, weight = shrunk(own, lent, np.zeros(3, bool))
    s2 = (5 * 0.02 + 10 * 0.01) / 15
    assert spread == pytest.approx(np.full(3, s2))
    worth = s2 / 0.01**2
    z2 = (levels - 0.8) ** 2 / (0.01**2 + s2 / 50)
    alike = np.array([1.0, 5 / (4 + z2[1]), 5 / (4 + z2[2])])
    assert weight == pytest.approx(50 + alike * worth)
    assert level == pytest.approx((50 * levels + alike * worth * 0.8) / weight)
    assert level[1] < 0.81, "the siblings speak for it"
    assert level[2] > 1.79, "what its own observations contradict is forgotten"


def minute(number: int, shares: dict[SegmentKey, float]) -> MatrixWindow:
    """A window in which every segment has ten answers; drawn for each window by itself."""
    rng = np.random.default_rng(number)
    drawn = [float(rng.binomial(10, share)) / 10 for share in shares.values()]
    return matrix(START_MS + number * BASE_MS, list(shares), BASE_MS, **{REFUSAL: (drawn, [10] * len(drawn))})


def fleet() -> dict[SegmentKey, float]:
    """Tenants that differ a little."""
    return dict(zip(OLD, 0.03 * np.exp(np.random.default_rng(1).normal(0, 0.2, len(OLD))), strict=True))


def new(signals: Iterable[str] = NUMERIC) -> Detect:
    return Detect(DetectParams(), (), {name: SIGNALS[name] for name in signals}, BASE_MS)


@pytest.fixture(scope="module")
def learned() -> bytes:
    detect = new()
    for number in range(MINUTES):
        detect.close(minute(number, fleet()))
    return msgspec.msgpack.encode(detect.to_state())


def of(stored: bytes, signals: Iterable[str] = NUMERIC) -> Detect:
    detect = new(signals)
    assert detect.from_state(msgspec.msgpack.decode(stored)) == []
    return detect


def evidence_minute(stored: bytes, shares: list[float], segment: SegmentKey = NEW) -> int | None:
    """The minute of its life in which a newcomer is evidence, given its share of refusals in each."""
    detect = of(stored)
    for number, share in enumerate(shares):
        found = detect.close(minute(MINUTES + number, fleet() | {segment: share})).evidence
        if any(e.segment == segment for e in found):
            return number
    return None


TURNS_BAD = [0.03] * 12 + [0.3] * 17


def test_a_newcomer_that_turns_bad_is_found_before_its_own_history_is_enough(learned: bytes) -> None:
    found = evidence_minute(learned, TURNS_BAD)
    assert found is not None
    assert found < 22


@pytest.mark.parametrize("share", [0.003, 0.02, 0.03, 0.045, 0.1, 0.3, 0.6])
def test_a_newcomer_that_is_merely_different_is_quiet(learned: bytes, share: float) -> None:
    assert evidence_minute(learned, [share] * 60) is None


def test_who_has_no_siblings_needs_its_own_history(learned: bytes) -> None:
    for segment in (SegmentKey(("model",), ("new",)), FLEET, SegmentKey(("tenant",), ("__other__",))):
        assert evidence_minute(learned, TURNS_BAD, segment) is None


def explained(detect: Detect, number: int) -> Explanation:
    """The newcomer's refusals."""
    end_ms = START_MS + (MINUTES + number + 1) * BASE_MS
    (found,) = detect.explainer(end_ms).explain([NEW], [REFUSAL], 1.0, end_ms)
    return found


def told(detect: Detect, number: int) -> tuple[float | None, int]:
    """What is expected of them, and how many lend it."""
    found = explained(detect, number)
    return found.expected, found.lenders


def test_it_is_said_who_lends(learned: bytes) -> None:
    detect = of(learned)
    for number in range(9):
        detect.close(minute(MINUTES + number, fleet() | {NEW: 0.05}))
    assert "borrowed" not in dict(lines(explained(detect, 8), (), ()))
    detect.close(minute(MINUTES + 9, fleet() | {NEW: 0.05}))
    assert dict(lines(explained(detect, 9), (), ()))["borrowed"] == (
        "spread and part of the level, from 30 others by tenant, until it has more history"
    )


def test_siblings_lend_from_a_third_of_the_history_until_it_is_enough(learned: bytes) -> None:
    detect, expected, lenders = of(learned), [], []
    for number in range(30):
        detect.close(minute(MINUTES + number, fleet() | {NEW: 0.05}))
        level, count = told(detect, number)
        expected.append(level)
        lenders.append(count)
    assert lenders == [0] * 9 + [len(OLD)] * 20 + [0]
    assert expected[:9] == [None] * 9
    last, own = expected[-2:]
    assert last is not None
    assert last == pytest.approx(own, abs=0.005), "its end is no jump"


def test_a_level_taken_for_the_new_normal_is_not_held_against_siblings(learned: bytes) -> None:
    detect = of(learned)
    for number in range(5):
        detect.close(minute(MINUTES + number, fleet() | {NEW: 0.3}))
    detect.apply([Verdict("relearn", NEW, REFUSAL)])
    later = [detect.close(minute(MINUTES + number, fleet() | {NEW: 0.3})).evidence for number in range(5, 50)]
    assert [e for found in later for e in found] == []


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_restored_loan_continues_exactly(learned: bytes, cut: int) -> None:
    def play(detect: Detect, first: int, last: int) -> list[bytes]:
        judged = [detect.close(minute(MINUTES + n, fleet() | {NEW: 0.1})) for n in range(first, last)]
        return [one.expected.tobytes() for one in judged]

    whole, first = of(learned), of(learned)
    expected = play(whole, 0, 40)
    found = play(first, 0, cut)
    second = of(msgspec.msgpack.encode(first.to_state()))
    assert found + play(second, cut, 40) == expected
    assert msgspec.msgpack.encode(second.to_state()) == msgspec.msgpack.encode(whole.to_state())


def test_a_state_from_before_there_were_loans_goes_on(learned: bytes) -> None:
    state = msgspec.msgpack.decode(learned)
    del state["lending"]
    del state["baseline"]["common"]["arrays"]["alone"]
    assert evidence_minute(msgspec.msgpack.encode(state), TURNS_BAD) is not None


def test_a_loan_goes_on_with_other_signals(learned: bytes) -> None:
    detect = of(learned)
    for number in range(12):
        detect.close(minute(MINUTES + number, fleet() | {NEW: 0.05}))
    stored = msgspec.msgpack.encode(detect.to_state())
    expected, lenders = told(detect, 11)
    assert lenders == len(OLD)
    assert told(of(stored, list(NUMERIC)[::-1]), 11) == (expected, lenders)
