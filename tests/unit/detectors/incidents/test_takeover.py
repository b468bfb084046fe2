"""Traffic that one model loses and others take over: a change of the mix, and nobody is paged."""

from __future__ import annotations

from test_causes import later
from world import SIGNALS, Cause, Desk, World, at, back, segments

from detectors.incidents.changes import Changes
from detectors.incidents.effects import Effect
from detectors.incidents.findings import Finding
from detectors.incidents.judging import View, taken_over
from detectors.records import FLEET


def test_traffic_that_went_to_another_model_is_a_change_of_the_mix() -> None:
    moves = [
        Cause(at(provider="acme", model="acme-2"), {"request_rate": 0.0}),
        Cause(at(provider="north", model="pro"), {"request_rate": 4.0}),
        Cause(FLEET, {"model_requested_mix": 0.8, "cost_typical_usd": 0.003, "latency_typical_ms": 1000.0}),
    ]
    desk = Desk()
    desk.look(World(*moves))
    assert {i.incident_type for i in desk.triage.firing} == {"mix_change"}
    assert desk.alerts == [], "information only"


def test_who_fell_silent_is_known_to_those_that_took_over() -> None:
    """A model that has stopped has no records, and its provider's other traffic may take longer to be clear."""
    moves = [
        Cause(at(provider="acme", model="acme-2"), {"request_rate": 0.0}),
        Cause(at(provider="north", model="pro"), {"request_rate": 4.0}),
    ]
    world, pro = World(*moves), at(provider="north", model="pro")
    left = [segment for segment in segments() if "acme" not in segment.label]
    view = View(world.now_ms, left, SIGNALS, world, Changes())
    dearer = Finding(
        at(provider="north"),
        "cost_typical_usd",
        Effect(20.0, world.now_ms - 600_000, 9, 3, 1, 1.1),
        world.now_ms,
    )
    assert taken_over(dearer.segment, {"cost_typical_usd": dearer}, view) == 1.0
    mine = world.effect(pro, "request_rate")
    assert mine is not None
    assert taken_over(pro, {"request_rate": Finding(pro, "request_rate", mine, world.now_ms)}, view) == 1.0


def test_a_fallback_stays_one_while_the_traffic_returns() -> None:
    world = World(
        Cause(at(provider="acme", model="acme-2"), {"request_rate": 0.0}),
        Cause(at(provider="north", model="pro"), {"request_rate": 4.0}),
        Cause(FLEET, {"model_requested_mix": 0.8, "cost_typical_usd": 0.003}),
    )
    desk = Desk()
    for minutes in (0, 8, 16):
        desk.look(later(world, minutes))
    dearer = World(Cause(FLEET, {"model_requested_mix": 0.8, "cost_typical_usd": 0.003}, minutes_ago=30.0))
    dearer.now_ms = world.now_ms + 1_200_000
    silent = at(provider="acme", model="acme-2")
    desk.look(dearer, found=[back(silent, "request_rate", dearer.now_ms), *dearer.evidence()])
    assert {i.incident_type for i in desk.triage.firing} == {"mix_change"}
    assert desk.alerts == []
