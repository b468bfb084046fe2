"""One cause that several segments were the first to show: it is told once."""

from __future__ import annotations

from test_causes import OUTAGE, later
from world import ACME_2, Cause, Desk, World, at, evidence

from detectors.incidents.clerk import TriageStep
from detectors.incidents.effects import Effect
from detectors.incidents.findings import Finding
from detectors.incidents.firing import key_of, series_of
from detectors.incidents.places import disjoint
from detectors.records import FLEET, Evidence, SegmentKey, Severity

AGENT, EU, US, PRO = at(feature="agent"), at(region="eu"), at(region="us"), at(provider="north", model="pro")
RELEASE = Cause(AGENT, {"tool_mix": 0.9}, labels={"tool_mix": "crawl"})


class Partly(World):
    """A world of which DETECT knows only one segment yet, if ``only`` is given: other panes are still filling."""

    only: SegmentKey | None = None

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        return super().effect(segment, signal) if self.only in (None, segment) else None

    def says(self, segment: SegmentKey, signal: str) -> Evidence:
        effect = self.effect(segment, signal)
        assert effect is not None
        return evidence(segment, signal, effect, self.now_ms, severity=Severity.INFO)


def seen(minutes: float, segment: SegmentKey | None) -> Partly:
    """The release so many minutes later, as far as one segment shows it."""
    world = Partly(RELEASE._replace(minutes_ago=10.0 + minutes))
    world.now_ms += round(minutes * 60_000)
    world.only = segment
    return world


def release(desk: Desk) -> TriageStep:
    """Two models show it first, then the feature that it belongs to."""
    for minutes, segment in ((0, ACME_2), (1, PRO)):
        world = seen(minutes, segment)
        desk.look(world, found=[world.says(segment, "tool_mix")])
    assert {i.segment for i in desk.triage.firing} == {ACME_2, PRO}
    world = seen(3, None)
    return desk.look(world, found=[world.says(AGENT, "tool_mix")])


def test_what_was_not_told_joins_the_incident_that_explains_it() -> None:
    desk = Desk()
    step = release(desk)
    (firing,) = desk.triage.firing
    assert firing.segment == AGENT, "what follows from it crosses it, and not the other way round"
    assert {ACME_2, PRO} <= {m.segment for m in firing.members}
    assert [i.status for i in step.incidents].count("resolved") == 1
    assert not [v for v in step.verdicts if v.action == "thaw"], (
        "its series stay frozen for the other incident"
    )
    assert desk.alerts == []


def test_what_was_told_is_never_taken_back() -> None:
    desk = Desk(min_alert_severity="info")
    release(desk)
    assert {i.segment for i in desk.triage.firing} == {AGENT, PRO}


def test_a_segment_that_crosses_a_member_shows_the_same_outage() -> None:
    """The incident went to one region by chance; the other regions show its provider's errors later."""
    assert disjoint(EU, US)
    desk, world = Desk(), World(OUTAGE)
    desk.look(world)
    (firing,) = desk.triage.firing
    firing.segment = US
    elsewhere = later(world, 5)
    effect = elsewhere.effect(EU, "error_ratio")
    assert effect is not None
    desk.look(elsewhere, found=[evidence(EU, "error_ratio", effect, elsewhere.now_ms)])
    assert len(desk.triage.firing) == 1


FEED, NORTH = at(topic="billing"), at(provider="north")


class Small(World):
    """The part that carries it has few observations yet: less is clear there than in the whole fleet."""

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        effect = super().effect(segment, signal)
        if effect is None or signal != "attributes_mix" or segment == FLEET:
            return effect
        return effect._replace(nats=min(effect.nats, 0.5 * (super().effect(FLEET, signal) or effect).nats))


def test_a_part_that_carries_it_all_is_the_same_incident_before_it_is_as_clear() -> None:
    cause = Cause(FEED, {"attributes_mix": 0.99}, labels={"attributes_mix": "locale="})
    at_once, after, world = Desk(), Desk(), Small(cause)
    found = {e.segment: e for e in world.evidence() if e.segment in (FLEET, FEED)}
    at_once.look(world, found=list(found.values()))
    after.look(world, found=[found[FLEET]])
    after.look(world, found=[found[FEED]])
    assert [len(desk.triage.firing) for desk in (at_once, after)] == [1, 1]


def test_a_release_is_judged_by_what_any_of_its_parts_shows_first() -> None:
    """Another judge scores everywhere; in one provider that is clear before it is in the fleet."""
    judge = Cause(
        FLEET,
        {"evaluator_version_mix": 0.9, "judge_score_mean": 0.84},
        labels={"evaluator_version_mix": "2026-11"},
    )

    class Early(World):
        def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
            sure = segment == NORTH or signal != "judge_score_mean"
            return super().effect(segment, signal) if sure else None

    desk, world = Desk(), Early(judge)
    mixes = [
        e for e in world.evidence() if e.signal == "evaluator_version_mix" and e.segment in (FLEET, NORTH)
    ]
    desk.look(world, found=mixes)
    assert [i.incident_type for i in desk.triage.firing] == ["mix_change"]
    desk.look(world, found=[e for e in world.evidence() if e.signal == "judge_score_mean"])
    assert [i.incident_type for i in desk.triage.firing] == ["eval_baseline"]


def test_who_was_told_another_type_is_told_once_what_it_is() -> None:
    """Refusals are clear at once; that answers got short, which makes it another model, only later."""
    desk, refused = Desk(), Cause(ACME_2, {"refusal_ratio": 0.4})
    world = World(refused)
    desk.look(world)
    short = Cause(ACME_2, {"tokens_out_typical": 30.0}, minutes_ago=9.0)
    for minutes in (1, 2, 3):
        seen_later = later(World(refused, short), minutes)
        desk.look(seen_later)
    kinds = [kind for _, _, kind in desk.alerts]
    assert kinds == ["refusal_surge", "model_drift"]


def test_a_release_is_no_silence_because_the_version_before_it_ends() -> None:
    mixed = Cause(AGENT, {"prompt_version_mix": 0.9}, labels={"prompt_version_mix": "v2"})
    ends = Cause(at(topic="travel"), {"request_rate": 0.0})
    desk, world = Desk(), World(mixed)
    desk.look(world, found=[e for e in world.evidence() if e.segment == AGENT])
    (entry,) = desk.triage._docket.open.values()
    both = World(mixed, ends)
    effect = both.effect(at(topic="travel"), "request_rate")
    assert effect is not None
    gone = Finding(at(topic="travel"), "request_rate", effect, both.now_ms)
    entry.series[key_of(gone)] = series_of(gone, Severity.WARNING, frozen=True)
    desk.look(later(both, 1), found=[])
    assert [i.incident_type for i in desk.triage.firing] == ["mix_change"]
