from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import BASE_MS, START_MS, matrix, window

from detectors.base import Verdict
from detectors.incidents.advice import ADVICE
from detectors.incidents.triage import Triage, TriageParams, TriageStep
from detectors.incidents.wording import number
from detectors.records import FLEET, Evidence, Mover, SegmentKey, Severity, rfc3339
from streams.signals import SIGNALS

MODEL = SegmentKey(("model",), ("gpt-x",))


def evidence(minute: float, **changes: Any) -> Evidence:
    end_ms = START_MS + int(minute * 60_000)
    found = Evidence(
        detector="robust_z",
        family="outlier",
        segment=MODEL,
        signal="refusal_ratio",
        window_start_ms=end_ms - BASE_MS,
        window_end_ms=end_ms,
        severity=Severity.WARNING,
        statistic=7.0,
        threshold=5.0,
        observed=0.31,
        expected=0.02,
        lower=0.01,
        upper=0.04,
        n=412,
        started_at_ms=end_ms - 120_000,
    )
    return msgspec.structs.replace(found, **changes)


def rule(minute: float, **changes: Any) -> Evidence:
    given = {
        "detector": "rule:errors", "family": "rule", "signal": "error_ratio", "segment": FLEET, "observed": 0.034,
        "expected": 0.02, "threshold": 0.02, "lower": None, "upper": 0.02,
    }  # fmt: skip
    return evidence(minute, **{**given, **changes})


class Half:
    """DETECT knows of every segment that it has half of its parent's traffic, and of no change."""

    def effect(self, segment: SegmentKey, signal: str) -> None:
        return None

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> None:
        return None

    def rate(self, segment: SegmentKey) -> float:
        return 0.0

    def known_for_ms(self, segment: SegmentKey) -> int:
        return 7 * 86_400_000

    def changed(self, signal: str, least_nats: float) -> list[SegmentKey]:
        return []

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = "") -> float:
        return 0.5

    def weight(self, segment: SegmentKey) -> float:
        return 0.5


class Desk:
    """A Triage and what it said so far."""

    def __init__(self, **params: Any) -> None:
        self.triage = Triage(TriageParams(**params), "test")
        self.alerts: list[tuple[str, str]] = []
        self.verdicts: list[Verdict] = []

    def step(self, minute: float, *found: Evidence) -> TriageStep:
        block = matrix(START_MS + int(minute * 60_000) - BASE_MS, [])
        step = self.triage.step(found, block, SIGNALS, effects=Half())
        self.alerts += [(a.type.rsplit(".", 1)[1], a.severity) for a in step.alerts]
        self.verdicts += step.verdicts
        return step


def test_an_incident_fires_once_is_upgraded_once_and_resolves_once() -> None:
    desk = Desk()
    first = desk.step(1, evidence(1, observed=0.04))
    desk.step(2, evidence(2, detector="adwin", family="drift", observed=0.04))
    desk.step(3, evidence(3, severity=Severity.CRITICAL, observed=0.5))
    desk.step(4, evidence(4, severity=Severity.CRITICAL))
    desk.step(5, evidence(5))
    last = desk.step(6, evidence(6, detector="level", family="drift", firing=False, severity=Severity.INFO))
    assert desk.alerts == [("firing", "warning"), ("firing", "critical"), ("resolved", "critical")]
    assert desk.verdicts == [
        Verdict("freeze", MODEL, "refusal_ratio"),
        Verdict("thaw", MODEL, "refusal_ratio"),
    ]
    (opened,), (closed,) = first.incidents, last.incidents
    assert opened.incident_id == closed.incident_id
    assert (opened.status, opened.anomalies, opened.resolved_at_ms) == ("firing", 1, None)
    assert (closed.status, closed.anomalies, closed.severity) == ("resolved", 5, Severity.CRITICAL)
    assert closed.peak.evidence.observed == 0.5
    assert closed.last_seen_ms == START_MS + 5 * 60_000
    assert closed.resolved_at_ms == START_MS + 6 * 60_000
    assert desk.triage.firing == []


def test_what_was_handed_out_does_not_change_later() -> None:
    desk = Desk()
    (opened,) = desk.step(1, evidence(1)).incidents
    before = msgspec.json.encode(opened)
    desk.step(2, evidence(2, severity=Severity.CRITICAL))
    assert msgspec.json.encode(opened) == before


def test_what_one_cause_moves_is_one_incident_and_rules_without_a_change_have_their_own() -> None:
    desk = Desk()
    step = desk.step(
        1,
        evidence(1),
        evidence(1, detector="page_hinkley", family="drift"),
        evidence(1, signal="tokens_out_mean", observed=80.0, expected=200.0),
        evidence(1, segment=FLEET, observed=0.165, statistic=5.0),
        rule(1, segment=MODEL),
        rule(1),
    )
    kinds = [(i.family, i.signal, i.segment) for i in step.incidents]
    assert sorted(kinds) == [
        ("rule", "error_ratio", FLEET),
        ("rule", "error_ratio", MODEL),
        ("statistical", "refusal_ratio", MODEL),
    ]
    assert len(step.anomalies) == 6
    assert len({a.anomaly_id for a in step.anomalies}) == 6
    assert len({a.fingerprint for a in step.anomalies}) == 3
    assert {v.action for v in step.verdicts} == {"freeze"}
    assert len(step.verdicts) == 3, "rules freeze nothing"


def test_a_later_incident_of_the_same_thing_has_its_fingerprint_and_another_id() -> None:
    desk = Desk()
    (first,) = desk.step(1, rule(1)).incidents
    desk.step(2, rule(2, firing=False))
    (second,) = desk.step(9, rule(9)).incidents
    assert first.fingerprint == second.fingerprint
    assert first.incident_id != second.incident_id
    assert desk.alerts == [("firing", "warning"), ("resolved", "warning"), ("firing", "warning")]


def test_ids_depend_on_what_it_is_about_and_the_fleet() -> None:
    one, same = Desk().step(1, evidence(1)), Desk().step(1, evidence(1))
    assert one == same
    other = Triage(TriageParams(), "another").step([evidence(1)], matrix(START_MS, []), SIGNALS)
    assert other.alerts[0].fingerprint != one.alerts[0].fingerprint


def test_information_opens_an_incident_that_nobody_hears_of_until_it_gets_worse() -> None:
    desk = Desk()
    trifle = {"severity": Severity.INFO, "observed": 0.028}
    step = desk.step(1, evidence(1, **trifle))
    assert (len(step.incidents), step.alerts) == (1, [])
    assert step.verdicts == [Verdict("freeze", MODEL, "refusal_ratio")]
    desk.step(2, evidence(2, observed=0.04))
    assert desk.alerts == [("firing", "warning")]
    quiet = Desk()
    quiet.step(1, evidence(1, **trifle))
    step = quiet.step(2, evidence(2, firing=False))
    assert (len(step.incidents), step.alerts) == (1, [])


def test_a_level_that_held_long_is_the_new_normal() -> None:
    desk = Desk(max_firing_secs=3600)
    desk.step(1, evidence(1), rule(1))
    for minute in range(2, 61):
        assert desk.step(minute).incidents == []
    step = desk.step(61)
    assert step.verdicts == [Verdict("relearn", MODEL, "refusal_ratio")]
    assert [(i.signal, i.status) for i in step.incidents] == [("refusal_ratio", "resolved")]
    assert [i.signal for i in desk.triage.firing] == ["error_ratio"], (
        "a bound that is exceeded stays exceeded"
    )


def test_the_end_of_what_never_began_is_nothing() -> None:
    step = Desk().step(1, evidence(1, firing=False))
    assert step == TriageStep([], [], [], [])


def test_open_incidents_are_bounded_and_no_anomaly_is_lost() -> None:
    desk = Desk(max_open=2)
    segments = [SegmentKey(("tenant",), (f"t{k}",)) for k in range(5)]
    step = desk.step(1, *(evidence(1, segment=s) for s in segments))
    assert (len(step.anomalies), len(step.incidents), len(step.alerts)) == (5, 2, 2)
    assert desk.triage.not_raised == 3


def test_a_restored_triage_continues_exactly() -> None:
    whole, first = Desk(max_firing_secs=600), Desk(max_firing_secs=600)
    for desk in (whole, first):
        desk.step(1, evidence(1), rule(1))
        desk.step(2, evidence(2, severity=Severity.CRITICAL))
    second = Desk(max_firing_secs=600)
    second.triage.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(first.triage.to_state())))
    for minute, found in ((3, [rule(3, firing=False)]), (4, [evidence(4)]), (30, []), (31, [evidence(31)])):
        assert second.step(minute, *found) == whole.step(minute, *found)


def test_incidents_of_another_schema_are_refused_not_lost() -> None:
    with pytest.raises(ValueError, match="schema 99"):
        Triage(TriageParams(), "test").from_state({"schema": 99, "open": []})


def test_the_alert_says_it_in_one_sentence() -> None:
    (alert,) = Desk().step(1, evidence(1)).alerts
    assert alert.summary == (
        "Refusals surge: refusal_ratio of model=gpt-x is 0.31, expected 0.02 (0.01 to 0.04), since 11:59:00 UTC, "
        "412 observations"
    )
    assert alert.type == "tidewatch.alert.firing"
    assert alert.segment == {"model": "gpt-x"}
    assert (alert.severity, alert.unit, alert.detector) == ("critical", "ratio", "robust_z")
    assert (alert.incident_type, alert.advice) == ("refusal_surge", ADVICE["refusal_surge"].first)
    assert alert.started_at == rfc3339(START_MS - 60_000)
    assert alert.detected_at == rfc3339(START_MS + 60_000)
    assert alert.resolved_at is None


def test_the_alert_of_a_mix_names_the_labels_that_moved() -> None:
    movers = (Mover("scams", 0.12, 0.0001), Mover("billing", 0.34, 0.4), Mover("travel", 0.165, 0.2))
    mix = evidence(
        1, signal="topic_mix", label="scams", observed=0.12, expected=0.0001, lower=None, upper=None,
        movers=movers, moved_share=0.12, statistic=40.0,
    )  # fmt: skip
    (alert,) = Desk().step(1, mix).alerts
    assert alert.summary == (
        "Inputs changed: topic_mix (scams) of model=gpt-x is 12 %, expected 0.01 %, since 11:59:00 UTC, 412 "
        "observations; 12 % of the mix moved, also billing 34 % (expected 40 %), travel 16.5 % (expected 20 %)"
    )
    assert (alert.movers, alert.moved_share) == (movers, 0.12)


def test_the_alert_of_a_rule_names_rule_and_bound() -> None:
    desk = Desk()
    (alert,) = desk.step(1, rule(1)).alerts
    assert alert.summary == (
        "error_ratio of the whole fleet is 0.034, above the warning bound 0.02 of rule errors, "
        "since 11:59:00 UTC, 412 observations"
    )
    quality = rule(
        2, detector="rule:quality", signal="judge_score_mean", severity=Severity.CRITICAL, n=1,
        observed=0.6931, threshold=0.7, lower=0.7, upper=None,
    )  # fmt: skip
    (alert,) = desk.step(2, quality).alerts
    assert alert.summary == (
        "judge_score_mean of the whole fleet is 0.693, below the critical bound 0.7 of rule quality, "
        "since 12:00:00 UTC, 1 observation"
    )
    (alert,) = desk.step(9, rule(9, firing=False)).alerts
    assert alert.summary == (
        "Resolved: error_ratio of the whole fleet was 0.034, above the warning bound 0.02 of rule errors, "
        "from 11:59:00 to 12:09:00 UTC"
    )
    assert alert.resolved_at == rfc3339(START_MS + 9 * 60_000)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.31, "0.31"), (0.0204, "0.0204"), (0.00012345, "0.000123"), (0.00001234, "1.23e-05"),
        (99.96, "100"), (123.4, "123"), (1234.5, "1,234"), (3056.0, "3,056"), (-0.5, "-0.5"),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(value: float, text: str) -> None:
    assert number(value) == text


def test_exemplars_are_those_of_the_segments_window() -> None:
    block = window(START_MS, {"refusal": [0.0, 1.0, 0.0]}, {"model": ["gpt-x"] * 3})
    step = Triage(TriageParams(), "test").step([evidence(0)], block, SIGNALS)
    assert step.anomalies[0].exemplars == (f"i{START_MS}-1",)
    assert step.alerts[0].exemplars == (f"i{START_MS}-1",)
