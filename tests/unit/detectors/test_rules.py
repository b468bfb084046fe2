from __future__ import annotations

import msgspec
import numpy as np
import pytest
from builders import BASE_MS, NUMERIC, START_MS, window
from pydantic import ValidationError

from detectors.records import FLEET, Evidence, SegmentKey, Severity
from detectors.rules.absolute import Rule
from detectors.rules.book import RuleBook, matches
from detectors.rules.defaults import DEFAULT_RULES

MINUTE = 6
"""Base windows in a minute."""
ERRORS = Rule(name="errors", signal="error_ratio", warning=0.02, critical=0.05, span_secs=300, min_events=100)


def errors(per_window: int, bad: int) -> dict[str, list[float]]:
    return {"error": [1.0] * bad + [0.0] * (per_window - bad)}


def play(book: RuleBook, windows: list[dict[str, list[float]]], start: int = 0) -> list[tuple[int, Evidence]]:
    """(window number, evidence)"""
    found = []
    for at, records in enumerate(windows, start):
        found += [(at, e) for e in book.step(window(START_MS + at * BASE_MS, records))]
    return found


def test_defaults_are_the_documented_nine() -> None:
    bounds = {r.name: (r.signal, r.worse, r.warning, r.critical, r.span_secs) for r in DEFAULT_RULES}
    assert bounds == {
        "quality": ("judge_score_mean", "down", 0.80, 0.70, 3600),
        "latency": ("latency_p95_ms", "up", 3000.0, 5000.0, 300),
        "cost": ("cost_per_request_usd", "up", 0.015, 0.030, 900),
        "errors": ("error_ratio", "up", 0.02, 0.05, 300),
        "thumbs-down": ("thumbs_down_ratio", "up", 0.15, 0.25, 3600),
        "daily-spend": ("spend_usd", "up", 100.0, 200.0, 86_400),
        "quality-week": ("judge_score_mean", "down", 0.05, None, 300),
        "thumbs-down-week": ("thumbs_down_ratio", "up", 0.03, None, 300),
        "spend-week": ("spend_usd", "up", 0.20, 0.50, 300),
    }
    assert {r.name for r in DEFAULT_RULES if r.versus == "week"} == {
        "quality-week",
        "thumbs-down-week",
        "spend-week",
    }
    assert {r.name for r in DEFAULT_RULES if r.forecast_hours} == {"latency", "cost", "daily-spend"}
    assert all(rule.segments == () for rule in DEFAULT_RULES)


def test_fires_repeats_gets_worse_and_ends() -> None:
    book = RuleBook([ERRORS], NUMERIC, repeat_secs=300)
    calm, bad, awful = errors(50, 0), errors(50, 2), errors(50, 10)
    found = play(book, [calm] * 30 + [bad] * 60 + [awful] * 12 + [calm] * 90)
    firing = [(at, e.severity) for at, e in found if e.firing]
    first, worse = firing[0], next(f for f in firing if f[1] == Severity.CRITICAL)
    assert first == (54, Severity.WARNING), "25 windows of 4 %: 2 % would give as many once in 150 times"
    assert 90 <= worse[0] < 102
    gaps = np.diff([at for at, _ in firing if at < 90])
    assert (gaps == 30).all(), "the same again every 300 s"
    ends = [(at, e) for at, e in found if not e.firing]
    assert len(ends) == 1
    assert 102 + 12 <= ends[0][0] <= 102 + 30 + 12
    assert found[0][1].started_at_ms == START_MS + 30 * BASE_MS, (
        "onset: the first pane that is bad on its own"
    )


def test_one_sample_beyond_the_bound_needs_the_volume() -> None:
    book = RuleBook([ERRORS], NUMERIC, repeat_secs=300)
    assert play(book, [errors(3, 3)] * 30) == [], "90 interactions in five minutes are below the floor of 100"
    found = play(book, [errors(5, 5)] * 30, start=30)
    assert found
    assert found[0][1].severity == Severity.CRITICAL


def test_a_value_on_the_bound_does_not_flap() -> None:
    book = RuleBook([ERRORS], NUMERIC, repeat_secs=3600)
    rng = np.random.default_rng(1)
    found = play(book, [errors(200, int(rng.binomial(200, 0.02))) for _ in range(6 * 60)])
    assert len([e for _, e in found if e.firing]) <= 2
    assert len([e for _, e in found if not e.firing]) <= 2


def test_ends_when_traffic_ends() -> None:
    book = RuleBook([ERRORS], NUMERIC, repeat_secs=3600)
    found = play(book, [errors(50, 25)] * 10 + [{}] * 50)
    assert [e.firing for _, e in found] == [True, False]
    assert found[-1][1].observed == 0.5, "the last value it had"
    state = book.to_state()
    assert (state["panes"], state["conditions"]) == ([], []), "nothing is kept of a segment that is gone"
    assert (state["days"]["past"], state["days"]["holding"]) == ([], [])


def test_the_quantile_is_of_the_whole_span() -> None:
    rule = Rule(name="latency", signal="latency_p95_ms", warning=3000, span_secs=300, min_events=100)
    book = RuleBook([rule], NUMERIC, repeat_secs=300)
    fast, slow = {"duration_ms": [1000.0] * 20}, {"duration_ms": [9000.0] * 20}
    assert play(book, [fast] * 28 + [slow] * 2) == [], "6.7 % of 600 values above the bound may be chance"
    found = play(book, [slow], start=30)
    assert found[0][1].observed == pytest.approx(9000, rel=1 / 129)


def test_daily_spend_starts_again_at_midnight() -> None:
    rule = Rule(
        name="spend",
        signal="spend_usd",
        warning=100,
        critical=200,
        span_secs=86_400,
        per_day=True,
        min_events=1,
    )
    book = RuleBook([rule], NUMERIC, repeat_secs=86_400)
    midnight = START_MS + 12 * 3_600_000
    found: list[Evidence] = []
    for at in range(-60, 20):
        found += book.step(window(midnight + at * BASE_MS, {"cost_usd": [4.0]}))
    assert [(e.severity, e.firing) for e in found] == [
        (Severity.WARNING, True),
        (Severity.CRITICAL, True),
        (Severity.CRITICAL, False),
    ]
    assert found[0].window_end_ms == midnight - 60 * BASE_MS + 26 * BASE_MS
    assert found[0].observed == pytest.approx(104)
    assert found[2].window_end_ms == midnight + rule.hold_secs * 1000


def test_segments_by_pattern() -> None:
    each = ERRORS.model_copy(update={"segments": ({"model": "*"},)})
    one = ERRORS.model_copy(update={"segments": ({"model": "a"}, {"tenant": "x"})})
    a, b = SegmentKey(("model",), ("a",)), SegmentKey(("model",), ("b",))
    assert [matches(each, s) for s in (FLEET, a, b, SegmentKey(("provider", "model"), ("p", "a")))] == [
        False, True, True, False,
    ]  # fmt: skip
    assert [matches(one, s) for s in (FLEET, a, b, SegmentKey(("tenant",), ("x",)))] == [
        False,
        True,
        False,
        True,
    ]
    book = RuleBook([each], NUMERIC, repeat_secs=300)
    found = []
    for at in range(30):
        records = {"error": [1.0] * 10 + [0.0] * 10}
        found += book.step(window(START_MS + at * BASE_MS, records, {"model": ["a"] * 10 + ["b"] * 10}))
    assert {e.segment for e in found} == {a}


@pytest.mark.parametrize("cut", [1, 7, 31, 45, 46, 47, 60, 95, 140])
def test_restored_rules_go_on_exactly(cut: int) -> None:
    windows = [errors(50, 0)] * 30 + [errors(50, 3)] * 30 + [errors(50, 0)] * 60 + [{}] * 40
    rules = [*DEFAULT_RULES, ERRORS.model_copy(update={"name": "more"})]
    whole = RuleBook(rules, NUMERIC, repeat_secs=60)
    expected = play(whole, windows)
    first = RuleBook(rules, NUMERIC, repeat_secs=60)
    found = play(first, windows[:cut])
    state = msgspec.msgpack.encode(first.to_state())
    second = RuleBook(rules, NUMERIC, repeat_secs=60)
    second.from_state(msgspec.msgpack.decode(state))
    assert msgspec.msgpack.encode(second.to_state()) == state, "also before its first window"
    found += play(second, windows[cut:], start=cut)
    assert found == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warning": None, "critical": None}, "set warning or critical"),
        ({"warning": 0.05, "critical": 0.02}, "on the wrong side"),
        ({"worse": "down"}, "on the wrong side"),
        ({"segments": ({},)}, "empty segment pattern"),
        ({"name": "Errors!"}, "pattern"),
        ({"warning": float("nan")}, "finite"),
        ({"minimum": 3}, "not permitted"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Rule.model_validate({**ERRORS.model_dump(), **changes})


def test_a_rule_on_an_unknown_signal_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown signals: vibes"):
        RuleBook([ERRORS.model_copy(update={"signal": "vibes"})], NUMERIC, 300)
