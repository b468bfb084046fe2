"""What happens beside an incident does not rename it."""

from __future__ import annotations

from builders import BASE_MS, matrix
from world import ACME, SIGNALS, Cause, World, at, segments

from detectors.incidents.classification import classify
from detectors.incidents.docket import Docket, TriageParams
from detectors.incidents.effects import Effect
from detectors.incidents.findings import Finding
from detectors.incidents.homes import of_an_incident
from detectors.incidents.judging import View
from detectors.incidents.scene import Scene
from detectors.incidents.step import Step

BILLING = at(model="acme-2", topic="billing")
NOW_MS = 1_790_000_000_000


def test_what_a_segment_shows_of_an_open_incident_elsewhere_is_known() -> None:
    world = World(Cause(BILLING, {"latency_typical_ms": 4800.0}))
    docket = Docket(TriageParams(), "test")
    step = Step(docket, matrix(world.now_ms - BASE_MS, segments()), SIGNALS, world)
    step.run(world.evidence(), [])
    (entry,) = docket.open.values()
    assert entry.incident.segment == BILLING
    view = View(world.now_ms, segments(), SIGNALS, world, docket.changes)

    def seen(signal: str, **became: float) -> Finding:
        effect = World(Cause(ACME, became or {signal: 4800.0})).effect(ACME, signal)
        assert effect is not None
        return Finding(ACME, signal, effect, world.now_ms)

    shown = world.effect(ACME, "latency_typical_ms")
    assert shown is not None
    diluted = Finding(ACME, "latency_typical_ms", shown, world.now_ms)
    assert of_an_incident(docket, view, diluted)
    assert not of_an_incident(docket, view, diluted, but=entry), "its own"
    assert not of_an_incident(docket, view, seen("latency_typical_ms")), "more than a part would show"
    assert not of_an_incident(docket, view, seen("error_ratio", error_ratio=0.1)), "another signal"


def test_a_price_is_not_the_length_of_prompts_that_grew_by_chance() -> None:
    moved = {
        "cost_per_1k_typical_usd": Effect(200.0, NOW_MS - 600_000, 500.0, 0.0045, 0.003, 0.4),
        "tokens_in_typical": Effect(6.0, NOW_MS - 600_000, 500.0, 785.0, 700.0, 0.11),
    }
    clear = frozenset({"cost_per_1k_typical_usd"})
    scene = Scene(ACME, moved, frozenset(), (), 0.0, SIGNALS, clear)
    assert classify(scene).type == "cost_per_token"
