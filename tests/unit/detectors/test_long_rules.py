"""Rules that look at whole days, from windows to alerts: trends, where today is heading, week on week."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from builders import NUMERIC, window
from pydantic import ValidationError

from detectors.incidents.triage import Triage, TriageParams
from detectors.records import FLEET, Alert, Evidence, Severity
from detectors.rules.absolute import Rule
from detectors.rules.book import RuleBook
from detectors.sketches.window import WindowBlock
from streams.signals import LAYOUT, SIGNALS

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONDAY_MS = 20_717 * DAY_MS
SPEND = Rule(
    name="spend", signal="spend_usd", warning=100.0, critical=200.0, span_secs=86_400, per_day=True, min_events=1,
    forecast_hours=72,
)  # fmt: skip
LATENCY = Rule(name="latency", signal="latency_p50_ms", warning=3000.0, min_events=10, forecast_hours=72)
QUALITY_WEEK = Rule(
    name="quality-week", signal="judge_score_mean", worse="down", versus="week", relative=True, warning=0.05,
    min_events=100,
)  # fmt: skip
SPEND_WEEK = Rule(
    name="spend-week",
    signal="spend_usd",
    versus="week",
    relative=True,
    warning=0.2,
    critical=0.5,
    min_events=100,
)
DAILY = [0.2] * 7 + [1.5] * 10 + [0.9] * 7
"""A day's course, hour by hour; its mean is 0.95."""
Hour = Callable[[int, int], dict[str, list[float]]]


def hours(days: int, of: Hour, votes: Hour | None = None, first_day: int = 0) -> Iterator[WindowBlock]:
    """One window an hour; ``of`` gives the records of (day, hour)."""
    for day in range(first_day, first_day + days):
        for hour in range(24):
            start_ms = MONDAY_MS + day * DAY_MS + hour * HOUR_MS
            block = window(start_ms, of(day, hour), votes=votes(day, hour) if votes else None).block
            yield WindowBlock(start_ms, start_ms + HOUR_MS, block, LAYOUT)


def spend(total: Callable[[int], float]) -> Hour:
    """A day's total, spread over it as traffic is."""
    return lambda day, hour: {"cost_usd": [total(day) * DAILY[hour] / sum(DAILY) / 20] * 20}


def play(rules: list[Rule], blocks: Iterator[WindowBlock]) -> list[tuple[float, Evidence]]:
    """(day, evidence)"""
    book = RuleBook(rules, NUMERIC, repeat_secs=86_400)
    return [((e.window_start_ms - MONDAY_MS) / DAY_MS, e) for block in blocks for e in book.step(block)]


def of(found: list[tuple[float, Evidence]], kind: str) -> list[tuple[float, Evidence]]:
    return [(day, e) for day, e in found if e.detector.startswith(kind)]


def test_a_growing_spend_is_told_before_it_crosses() -> None:
    found = play([SPEND], hours(14, spend(lambda day: 60.0 + 4.0 * day)))
    trend, rule = of(found, "forecast:"), of(found, "rule:")
    first, evidence = trend[0]
    assert (first, evidence.severity, evidence.firing) == (9.0, Severity.WARNING, True)
    assert evidence.statistic == pytest.approx(4.0, rel=1e-3)
    assert evidence.observed == pytest.approx(92.0, rel=1e-3)
    assert rule[0][0] >= 10.5, "the eleventh day comes to 104"
    assert evidence.n == 9
    assert evidence.started_at_ms == MONDAY_MS


def test_a_week_without_growth_says_nothing() -> None:
    def total(day: int) -> float:
        return 95.0 * (0.6 if day % 7 >= 5 else 1.0)

    assert play([SPEND, SPEND_WEEK], hours(30, spend(total))) == []


def test_today_is_told_by_noon_and_ends_when_the_bound_is_passed() -> None:
    found = play([SPEND], hours(9, spend(lambda day: 140.0 if day == 8 else 70.0)))
    (start, begins), *_ = today = of(found, "today:")
    assert 8.3 < start < 8.6
    assert begins.statistic == pytest.approx(140.0, rel=0.02)
    assert (begins.threshold, begins.severity) == (100.0, Severity.WARNING)
    passed = next(day for day, e in found if e.detector == "rule:spend" and e.firing)
    assert start < passed
    assert any(not e.firing and passed <= day <= passed + 0.1 for day, e in today)


@pytest.mark.parametrize(
    "fields", [{"worse": "down", "warning": 50.0}, {"signal": "error_ratio", "warning": 0.5}]
)
def test_only_sums_that_must_not_grow_head_anywhere_today(fields: dict[str, object]) -> None:
    rule = SPEND.model_copy(update={"critical": None, **fields})

    def records(day: int, hour: int) -> dict[str, list[float]]:
        return spend(lambda day: 70.0)(day, hour) | {"error": [1.0] * 9 + [0.0] * 11}

    assert of(play([rule], hours(8, records)), "today:") == []


def test_a_median_that_creeps_up_under_a_daily_course() -> None:
    found = play(
        [LATENCY],
        hours(16, lambda day, hour: {"duration_ms": [2000.0 + 60.0 * day + 40.0 * DAILY[hour]] * 12}),
    )
    (first, evidence), *_ = of(found, "forecast:")
    assert 9.0 <= first <= 15.0
    assert evidence.signal == "latency_p50_ms"
    crossing = first + (evidence.threshold - evidence.observed) / evidence.statistic
    assert crossing == pytest.approx(17.0, abs=1.5), "2,000 + 60 a day"


def test_quality_is_compared_week_on_week() -> None:
    def scores(day: int, hour: int) -> dict[str, list[float]]:
        return {"judge_score": [0.90 if day < 14 else 0.84] * 4}

    found = play([QUALITY_WEEK], hours(30, lambda day, hour: {"error": [0.0] * 5}, scores))
    firing = [(day, e) for day, e in found if e.firing]
    first, evidence = firing[0]
    assert first == 20.0, "six of seven days are worse by 6.7 %: 5.7 % together"
    assert evidence.expected == pytest.approx(0.90)
    assert evidence.threshold == pytest.approx(0.855)
    assert evidence.observed == pytest.approx(0.90 - 0.06 * 6 / 7, abs=1e-3)
    assert (evidence.lower, evidence.upper) == (evidence.threshold, None)
    ends = [day for day, e in found if not e.firing]
    assert ends == [23.0], "the week before is worse as well, by then"


def test_spend_is_compared_week_on_week_and_pages_from_half_more_on() -> None:
    found = play([SPEND_WEEK], hours(22, spend(lambda day: 50.0 if day < 14 else 80.0)))
    severity = {day: e.severity for day, e in found if e.firing}
    assert min(severity) == 17.0, "three of seven days: 26 %"
    assert severity[17.0] == Severity.WARNING
    assert severity[20.0] == Severity.CRITICAL, "six of seven days: 51 %"


def test_too_few_observations_say_nothing_week_on_week() -> None:
    def scores(day: int, hour: int) -> dict[str, list[float]]:
        return {"judge_score": [0.9 if day < 14 else 0.5]} if hour < 5 else {}

    assert play([QUALITY_WEEK], hours(25, lambda day, hour: {"error": [0.0]}, scores)) == []


@pytest.mark.parametrize("cut", [24 * 8 + 13, 24 * 9, 24 * 11 + 1])
def test_a_restart_changes_nothing(cut: int) -> None:
    rules = [SPEND, SPEND_WEEK]
    blocks = list(hours(13, spend(lambda day: 60.0 + 4.0 * day)))
    whole, first, second = (RuleBook(rules, NUMERIC, repeat_secs=86_400) for _ in range(3))
    expected = [e for block in blocks for e in whole.step(block)]
    found = [e for block in blocks[:cut] for e in first.step(block)]
    second.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(first.to_state())))
    found += [e for block in blocks[cut:] for e in second.step(block)]
    assert found == expected
    assert msgspec.msgpack.encode(second.to_state()) == msgspec.msgpack.encode(whole.to_state())


def test_a_rule_that_is_taken_away_ends() -> None:
    blocks = list(hours(11, spend(lambda day: 60.0 + 4.0 * day)))
    book = RuleBook([SPEND], NUMERIC, repeat_secs=86_400)
    for block in blocks[: 24 * 9 + 1]:
        book.step(block)
    other = RuleBook([SPEND.model_copy(update={"forecast_hours": 0})], NUMERIC, repeat_secs=86_400)
    other.from_state(book.to_state())
    ended = [
        e for block in blocks[24 * 9 + 1 :] for e in other.step(block) if e.detector.startswith("forecast:")
    ]
    assert [e.firing for e in ended] == [False]


def test_an_outage_of_the_monitor_makes_no_day() -> None:
    blocks = [
        block for block in hours(10, spend(lambda day: 60.0 + 4.0 * day))
        if not 7 * DAY_MS < block.window_start_ms - MONDAY_MS < 7 * DAY_MS + 12 * HOUR_MS
    ]  # fmt: skip
    book = RuleBook([SPEND], NUMERIC, repeat_secs=86_400)
    found = [e for block in blocks for e in book.step(block)]
    assert not [e for e in found if e.detector.startswith("forecast:")]


def test_what_on_call_reads_and_that_it_never_pages() -> None:
    book = RuleBook([SPEND, SPEND_WEEK], NUMERIC, repeat_secs=86_400)
    triage = Triage(TriageParams(), "test")
    alerts: list[Alert] = []
    for block in hours(12, spend(lambda day: 150.0 if day == 11 else 60.0 + 4.0 * day)):
        alerts += triage.step(book.step(block), block, SIGNALS).alerts
    told = [alert for alert in alerts if alert.incident_type == "forecast"]
    assert {alert.severity for alert in told} == {"warning"}
    assert told[0].summary == (
        "Heading for its bound: spend_usd of the whole fleet crosses 100 USD in about 2 days "
        "(trend 4 USD a day over 9 days, now 92 USD), bound of rule spend"
    )
    assert [alert.type for alert in told if "crosses" in alert.summary] == [
        "tidewatch.alert.firing", "tidewatch.alert.resolved",
    ]  # fmt: skip
    assert any("is heading for" in alert.summary and "by midnight UTC" in alert.summary for alert in told)
    own = next(alert for alert in alerts if alert.detector == "rule:spend")
    assert own.incident_id not in {alert.incident_id for alert in told}, (
        "the bound itself is another incident"
    )


def test_week_on_week_in_words() -> None:
    book, triage = RuleBook([SPEND_WEEK], NUMERIC, repeat_secs=86_400), Triage(TriageParams(), "test")
    alerts: list[Alert] = []
    for block in hours(26, spend(lambda day: 80.0 if 14 <= day < 18 else 50.0)):
        alerts += triage.step(book.step(block), block, SIGNALS).alerts
    alert, resolved = alerts
    assert "62.9 USD, above the warning bound 60 USD of rule spend-week (50 the week before)" in alert.summary
    assert alert.segment == FLEET.as_dict()
    assert "since 2026-" in alert.summary, "a day of last week"
    assert resolved.summary.startswith("Resolved: spend_usd")
    assert "to 2026-" in resolved.summary


@pytest.mark.parametrize(
    "fields",
    [
        {"versus": "week", "warning": -0.1},
        {"versus": "week", "warning": 0.5, "critical": 0.2},
        {"versus": "week", "warning": 0.1, "forecast_hours": 24},
        {"versus": "week", "warning": 0.1, "per_day": True},
        {"relative": True, "warning": 0.1},
    ],
)
def test_rules_that_make_no_sense_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate({"name": "x", "signal": "spend_usd"} | fields)
