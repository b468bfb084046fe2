"""Several causes, planned changes, recoveries: what makes two incidents, one, or none."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_types import CASES, announced
from world import ACME, ACME_2, BASE, HOUR_MS, SIGNALS, Cause, Desk, World, at, back, evidence, segments, size

from detectors.base import Verdict
from detectors.incidents.findings import Finding
from detectors.incidents.firing import MAX_MEMBERS
from detectors.incidents.grouping import group
from detectors.records import FLEET, AnnouncedChange, Evidence, SegmentKey, Severity

OUTAGE = Cause(ACME, {"error_ratio": 0.05, "retry_ratio": 0.10})
CHAT, SEARCH, US = at(feature="chat"), at(feature="search"), at(region="us")


def later(world: World, minutes: float) -> World:
    """The same causes, seen later."""
    causes = [cause._replace(minutes_ago=cause.minutes_ago + minutes) for cause in world.causes]
    found = World(*causes)
    found.now_ms = world.now_ms + round(minutes * 60_000)
    return found


def everything_back(world: World, now_ms: int) -> list[Evidence]:
    """Every series that had moved is back."""
    return [back(found.segment, found.signal, now_ms) for found in world.evidence()]


def test_two_causes_in_different_segments_are_two_incidents() -> None:
    desk = Desk()
    slow = Cause(US, {"latency_typical_ms": 1200.0, "ttft_typical_ms": 300.0})
    schema = Cause(
        FLEET, {"attributes_mix": 0.05, "tokens_in_typical": 600.0}, labels={"attributes_mix": "x"}
    )
    step = desk.look(World(slow, schema))
    found = sorted((i.incident_type, i.segment.label) for i in step.incidents)
    assert found == [("latency", "region=us"), ("schema_change", "all")]


def test_the_same_signal_in_two_disjoint_segments_is_two_incidents() -> None:
    one, other = (
        Cause(at(tenant="t3"), {"refusal_ratio": 0.6}),
        Cause(at(tenant="t2"), {"refusal_ratio": 0.3}),
    )
    step = Desk().look(World(one, other))
    assert sorted(i.segment.label for i in step.incidents) == ["tenant=t2", "tenant=t3"]


def test_a_cause_with_many_symptoms_is_one_incident_that_names_them() -> None:
    becomes = {"error_ratio": 0.5, "retry_ratio": 0.5, "latency_typical_ms": 900.0, "thumbs_down_ratio": 0.2}
    step = Desk().look(World(Cause(ACME, becomes)))
    (incident,) = step.incidents
    assert incident.incident_type == "provider_outage"
    assert {m.signal for m in incident.members if m.segment == ACME} == becomes.keys() - {"error_ratio"}
    assert len(incident.members) <= MAX_MEMBERS
    assert "also " in step.alerts[0].summary
    assert len(step.alerts[0].summary) <= 1000


def test_symptoms_that_come_later_join_and_say_nothing() -> None:
    world = World(OUTAGE)
    desk = Desk()
    first = [e for e in world.evidence() if e.segment == ACME and e.signal == "error_ratio"]
    desk.look(world, found=first)
    step = desk.look(later(world, 5))
    assert len(desk.triage.firing) == 1
    assert step.alerts == []
    assert {v.action for v in step.verdicts} == {"freeze"}
    assert (FLEET, "error_ratio") in {(v.segment, v.signal) for v in step.verdicts}


def test_a_signal_that_only_the_fleet_knows_yet_joins_the_incident_of_a_model() -> None:
    """A high quantile needs many values: the part that it comes from may not have it when the fleet has."""
    world = World(Cause(ACME, {"latency_typical_ms": 2400.0}))
    desk = Desk()
    desk.look(world)
    now = later(world, 3)
    now.causes = (*now.causes, Cause(FLEET, {"latency_tail_ratio": 0.05}, minutes_ago=13))
    known = now.effect
    now.effect = lambda segment, signal: (  # type: ignore[method-assign]
        None if signal == "latency_tail_ratio" and segment != FLEET else known(segment, signal)
    )
    found = [e for e in now.evidence() if e.signal == "latency_tail_ratio"]
    desk.look(now, found=found)
    assert len(desk.triage.firing) == 1
    end = later(now, 30)
    desk.look(end, found=everything_back(world, end.now_ms))
    assert desk.triage.firing == []


def test_what_one_segment_carries_for_two_signals_is_one_incident_there() -> None:
    """Of one signal the fleet shows as much as its part; of the other clearly less."""
    step = Desk().look(
        World(Cause(ACME, {"error_ratio": 0.2, "latency_typical_ms": 1100.0, "retry_ratio": 0.3}))
    )
    assert [i.segment for i in step.incidents] == [ACME]


def test_what_began_hours_later_elsewhere_is_another_incident() -> None:
    world = World(OUTAGE)
    desk = Desk()
    desk.look(world)
    more = later(world, 300)
    more.causes = (*more.causes, Cause(ACME, {"cache_hit_ratio": 0.2}, minutes_ago=5))
    desk.look(more)
    assert [i.incident_type for i in desk.triage.firing] == ["provider_outage", "cache_degradation"]


def test_an_incident_goes_to_the_segment_that_explains_it_better_and_keeps_its_name() -> None:
    world = World(OUTAGE)
    desk = Desk()
    fleet = [e for e in world.evidence() if e.segment == FLEET and e.signal == "error_ratio"]
    blind = World(OUTAGE)
    known = blind.effect
    blind.effect = lambda segment, signal: known(segment, signal) if segment == FLEET else None  # type: ignore[method-assign]
    (opened,) = desk.look(blind, found=fleet).incidents
    assert opened.segment == FLEET
    desk.look(later(world, 1))
    (moved,) = desk.triage.firing
    assert (moved.segment, moved.fingerprint) == (ACME, opened.fingerprint)
    assert moved.peak.evidence.segment == ACME
    assert moved.incident_id == opened.incident_id
    assert {kind for kind, _, _ in desk.alerts} == {"firing"}
    assert len(desk.alerts) == 2, "who was told of the fleet is told where it is"


def test_everything_that_moved_is_frozen_with_it_and_thaws_when_it_is_back() -> None:
    world = World(OUTAGE)
    desk = Desk()
    frozen = {(v.segment, v.signal) for v in desk.look(world).verdicts}
    assert {
        (ACME, "error_ratio"),
        (ACME_2, "error_ratio"),
        (FLEET, "error_ratio"),
        (FLEET, "retry_ratio"),
    } <= frozen
    end = later(world, 30)
    own = [back(ACME, signal, end.now_ms) for signal in ("error_ratio", "retry_ratio")]
    step = desk.look(end, found=own)
    assert [i.status for i in step.incidents] == ["resolved"]
    assert desk.alerts[-1] == ("resolved", "critical", "provider_outage")
    assert step.verdicts == [Verdict("thaw", ACME, "error_ratio"), Verdict("thaw", ACME, "retry_ratio")]
    step = desk.look(later(world, 31), found=everything_back(world, end.now_ms + 60_000))
    assert {(v.action, v.segment, v.signal) for v in step.verdicts} == {
        ("thaw", *series) for series in frozen - {(ACME, "error_ratio"), (ACME, "retry_ratio")}
    }
    assert desk.triage.firing == []


def test_what_is_not_back_when_its_incident_is_opens_no_other() -> None:
    world = World(OUTAGE)
    desk = Desk()
    desk.look(world)
    end = later(world, 30)
    desk.look(end, found=[back(ACME, s, end.now_ms) for s in ("error_ratio", "retry_ratio")])
    after = later(world, 31)
    fleet = [e for e in after.evidence() if e.segment == FLEET]
    step = desk.look(after, found=fleet)
    assert (step.incidents, step.alerts, len(step.anomalies)) == ([], [], 2)


def test_the_return_to_normal_is_no_incident() -> None:
    desk = Desk()
    world = World(Cause(SEARCH, {"request_rate": 0.3}))
    desk.look(world)
    end = later(world, 60)
    desk.look(end, found=everything_back(world, end.now_ms))
    assert desk.triage.firing == []
    surge = World(Cause(SEARCH, {"request_rate": 1.6}, minutes_ago=2))
    surge.now_ms = end.now_ms + 60_000
    step = desk.look(surge)
    assert (step.incidents, step.anomalies) == ([], [])


def test_the_same_incident_a_week_later_is_another_of_the_same_name() -> None:
    desk = Desk()
    world = World(OUTAGE)
    (first,) = desk.look(world).incidents
    end = later(world, 60)
    desk.look(end, found=everything_back(world, end.now_ms))
    again = World(OUTAGE)
    again.now_ms = world.now_ms + 7 * 24 * HOUR_MS
    (second,) = desk.look(again).incidents
    assert second.fingerprint == first.fingerprint
    assert second.incident_id != first.incident_id
    assert [kind for kind, _, _ in desk.alerts] == ["firing", "resolved", "firing"]


PLANNED = {
    "silent model update": ("model", {"model": "acme-2"}),
    "retrieval fails": ("index", {"region": "eu"}),
    "upstream schema": ("deploy", {"attributes.source": "feed-b"}),
    "one tenant's volume": ("experiment", {"tenant": "t3"}),
    "price": ("price", {"model": "acme-2"}),
    "silence": ("deploy", {"feature": "search"}),
}


@pytest.mark.parametrize("name", PLANNED)
def test_what_was_announced_does_not_page_and_becomes_normal_sooner(name: str) -> None:
    world, desk = World(CASES[name].cause), Desk(planned_secs=1800)
    desk.look(world, announced(world, *PLANNED[name]))
    (incident,) = desk.triage.firing
    assert incident.severity <= Severity.WARNING
    assert incident.related_change is not None
    assert incident.related_change.id == "c1"
    step = desk.look(later(world, 30), found=[])
    assert [i.status for i in step.incidents] == ["resolved"]
    assert {v.action for v in step.verdicts} == {"relearn"}


@pytest.mark.parametrize(
    ("scope", "minutes_ago"),
    [({"region": "ap"}, 10.0), ({"model": "mini"}, 10.0), ({"model": "acme-2"}, 600.0)],
)
def test_an_announcement_elsewhere_or_long_ago_explains_nothing(
    scope: dict[str, str], minutes_ago: float
) -> None:
    world, desk = World(CASES["silent model update"].cause), Desk()
    desk.look(world, announced(world, "model", scope, minutes_ago))
    (incident,) = desk.triage.firing
    assert incident.related_change is None or scope == {"region": "ap"}, (
        "it crosses the place, and may be suspected"
    )
    assert incident.severity == Severity.CRITICAL


def test_a_bad_release_pages_although_it_was_announced() -> None:
    world, desk = World(Cause(CHAT, {"schema_valid_ratio": 0.5})), Desk()
    desk.look(world, announced(world, "prompt", {"feature": "chat"}))
    assert desk.alerts == [("firing", "critical", "prompt_regression")]
    (incident,) = desk.triage.firing
    assert incident.related_change is not None


def test_a_change_that_is_heard_of_later_is_put_beside_the_open_incident() -> None:
    world, desk = World(CASES["refusals"].cause), Desk()
    desk.look(world)
    assert desk.triage.firing[0].related_change is None
    now = later(world, 2)
    step = desk.look(now, announced(now, "prompt", {}, 12.0), found=[])
    (incident,) = step.incidents
    assert incident.related_change is not None
    assert incident.triage_verdict == "model"
    assert step.alerts == []


def test_without_positive_evidence_the_verdict_is_unknown() -> None:
    desk = Desk()
    desk.look(World(Cause(FLEET, {"latency_typical_ms": 1600.0})))
    (incident,) = desk.triage.firing
    assert (incident.incident_type, incident.triage_verdict) == ("latency", "unknown")
    assert incident.verdict_for == ()
    assert incident.verdict_against != ()


def test_one_customers_bad_requests_do_not_page() -> None:
    desk = Desk()
    desk.look(World(Cause(at(tenant="t3"), {"error_ratio": 0.9})))
    assert [(severity, kind) for _, severity, kind in desk.alerts] == [("warning", "anomaly")]


def test_a_long_task_of_one_tenant_is_no_loop() -> None:
    desk = Desk()
    desk.look(World(Cause(at(tenant="t3"), {"steps_typical": 10.0, "steps_tail_ratio": 0.2})))
    assert [(severity, kind) for _, severity, kind in desk.alerts] == [("warning", "agent_loop")]


def test_a_rule_joins_the_incident_that_explains_it_and_its_severity_counts() -> None:
    world, desk = World(Cause(ACME, {"latency_typical_ms": 950.0})), Desk()
    desk.look(world)
    assert desk.alerts == [("firing", "warning", "latency")]
    effect = world.effect(FLEET, "latency_typical_ms")
    assert effect is not None
    now = later(world, 1)
    rule = evidence(
        FLEET, "latency_typical_ms", effect, now.now_ms, detector="rule:slow", family="rule",
        severity=Severity.CRITICAL, threshold=850.0, expected=850.0, upper=850.0,
    )  # fmt: skip
    desk.look(now, found=[rule])
    assert desk.alerts[1:] == [("firing", "critical", "latency")]
    (incident,) = desk.triage.firing
    assert incident.segment == ACME
    end = later(now, 20)
    desk.look(end, found=everything_back(world, end.now_ms))
    assert len(desk.triage.firing) == 1, "the bound is still exceeded"
    desk.look(later(now, 21), found=[msgspec.structs.replace(rule, firing=False)])
    assert desk.triage.firing == []


def test_chance_findings_open_nothing_but_may_belong_to_something() -> None:
    world, desk = World(OUTAGE), Desk()
    weak = [msgspec.structs.replace(e, false_per_week=100.0) for e in world.evidence()]
    step = desk.look(world, found=weak)
    assert step == type(step)([], [], [], [])
    sure = [e if e.segment != ACME else msgspec.structs.replace(e, false_per_week=1e-6) for e in weak]
    step = desk.look(world, found=sure)
    assert len(step.incidents) == 1
    assert len(step.anomalies) == len(sure)


def test_what_the_budget_has_no_page_for_warns() -> None:
    world, desk = World(OUTAGE), Desk()
    rare = 4.0 / len(SIGNALS)
    found = [msgspec.structs.replace(e, false_per_week=rare) for e in world.evidence()]
    desk.look(world, found=found)
    assert desk.alerts == [("firing", "warning", "provider_outage")]
    now = later(world, 5)
    desk.look(now, found=[msgspec.structs.replace(now.evidence()[0], false_per_week=1e-6)])
    assert desk.alerts[1:] == [("firing", "critical", "provider_outage")]


def test_a_growing_incident_is_upgraded_without_new_evidence() -> None:
    desk = Desk()
    desk.look(World(Cause(SEARCH, {"tokens_in_typical": 1050.0}, minutes_ago=600.0)))
    worse = World(Cause(SEARCH, {"tokens_in_typical": 1800.0}, minutes_ago=660.0))
    worse.now_ms += HOUR_MS
    desk.look(worse, found=[])
    assert desk.alerts == [("firing", "warning", "context_growth"), ("firing", "critical", "context_growth")]


MIXED = World(
    OUTAGE,
    Cause(SEARCH, {"cache_hit_ratio": 0.2, "cost_typical_usd": 0.0026}),
    Cause(at(tenant="t3"), {"request_rate": 5.0}),
)


@given(st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_evidence_within_a_step_does_not_matter(random: object) -> None:
    found = MIXED.evidence()
    random.shuffle(found)  # type: ignore[attr-defined]
    step = Desk().look(MIXED, found=found)
    assert step == Desk().look(MIXED)


@given(
    st.lists(
        st.tuples(st.sampled_from(segments()), st.sampled_from(sorted(SIGNALS)), st.floats(0.1, 4.0)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_every_finding_is_in_exactly_one_group(causes: list[tuple[SegmentKey, str, float]]) -> None:
    world = World(*(Cause(s, {name: _moved(name, factor)}) for s, name, factor in causes))
    findings = [
        Finding(e.segment, e.signal, effect, world.now_ms)
        for e in world.evidence()
        if (effect := world.effect(e.segment, e.signal)) is not None
    ]
    groups = group(findings, segments(), SIGNALS, world)
    members = [(f.segment, f.signal) for g in groups for f in g.members]
    assert sorted(members) == sorted((f.segment, f.signal) for f in findings)
    assert group(findings[::-1], segments(), SIGNALS, world) == groups


def _moved(name: str, factor: float) -> float:
    most = 1.0 if SIGNALS[name].kind in ("ratio", "mix") else 1e9
    return min(BASE[name][3] * factor, most)


def test_memory_is_bounded() -> None:
    desk = Desk(max_open=5)
    world = World(
        *(Cause(s, {"refusal_ratio": 0.3 + 0.1 * size(s)}) for s in segments() if len(s.dimensions) == 1)
    )
    for minute in range(3):
        desk.look(
            later(world, minute),
            *(AnnouncedChange(f"{minute}-{k}", "deploy", "", world.now_ms) for k in range(600)),
        )
    state = desk.triage.to_state()
    assert len(state["open"]) <= 5
    assert len(state["changes"]) <= 1000


def test_a_restored_triage_continues_exactly() -> None:
    whole, first = Desk(), Desk()
    change = announced(MIXED, "deploy", {"feature": "search"})
    for desk in (whole, first):
        desk.look(MIXED, change)
        end = later(MIXED, 10)
        desk.look(end, found=[back(ACME, s, end.now_ms) for s in ("error_ratio", "retry_ratio")])
    second = Desk()
    second.triage.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(first.triage.to_state())))
    for minutes in (11, 12, 60):
        now = later(MIXED, minutes)
        assert second.look(now) == whole.look(now)
    assert second.triage.to_state() == whole.triage.to_state()
