"""Where an incident is: whole and part are compared over the same time, and one signal alone moves nothing."""

from __future__ import annotations

from test_causes import OUTAGE, later
from world import ACME, Cause, Desk, World, at

from detectors.incidents.effects import Effect
from detectors.incidents.findings import Finding
from detectors.incidents.grouping import better_owner, rest_of
from detectors.records import FLEET, SegmentKey
from streams.signals import SIGNALS

HALF = SegmentKey(("provider",), ("acme",))
LATENCY = SIGNALS["latency_typical_ms"]
NOW_MS = 10_000_000


class Diluted:
    """Half of the fleet became three times as slow ten minutes ago; its own onset is dated twenty minutes back."""

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> Effect:
        slow = 3.0 if segment == HALF else 3.0**0.5
        return Effect(0.0, since_ms, 500.0, 800.0 * slow, 800.0, 1.1)

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = "") -> float:
        return 0.5


def found(segment: SegmentKey, minutes: float, factor: float, nats: float = 200.0) -> Finding:
    since_ms = NOW_MS - round(minutes * 60_000)
    effect = Effect(nats, since_ms, 50.0 * minutes, 800.0 * factor, 800.0, 1.0)
    return Finding(segment, LATENCY.name, effect, NOW_MS)


def test_what_is_diluted_by_the_time_before_is_not_taken_for_shared() -> None:
    part, whole = found(HALF, 20, 3.0**0.5), found(FLEET, 10, 3.0**0.5)
    effects = Diluted()
    rest = rest_of(part, whole, LATENCY, effects)  # type: ignore[arg-type]
    assert rest is not None
    assert abs(rest) < 1e-9, "the other half of the fleet did not move"
    assert not better_owner(part, whole, LATENCY, effects)  # type: ignore[arg-type]


def test_the_whole_needs_evidence_of_its_own() -> None:
    effects = Diluted()
    for nats, moves in ((8.0, False), (200.0, True)):
        part, whole = found(HALF, 10, 1.2, nats), found(FLEET, 10, 1.18, nats)
        assert better_owner(part, whole, LATENCY, effects) == moves  # type: ignore[arg-type]


def test_one_signal_of_several_does_not_move_an_incident() -> None:
    """The whole fleet happens to show more errors than its part carries, but none of the retries."""
    desk, world = Desk(), World(OUTAGE)
    assert [i.segment for i in desk.look(world).incidents] == [ACME]
    uneven = later(world, 5)
    usual = uneven.effect

    def effect(segment: SegmentKey, signal: str) -> Effect | None:
        if (segment, signal) == (FLEET, "error_ratio"):
            return usual(ACME, signal)
        return usual(segment, signal)

    uneven.effect = effect  # type: ignore[method-assign]
    desk.look(uneven)
    assert [i.segment for i in desk.triage.firing] == [ACME]


def test_what_grows_for_days_is_as_severe_as_it_is_by_now() -> None:
    """Prompts grow: a seventh more in the mean since the onset, a third more by now."""
    slow = Cause(at(feature="search"), {"tokens_in_typical": 700.0 * 1.15}, minutes_ago=1440)
    world, desk = World(slow, nats=400.0), Desk()
    (opened,) = desk.look(world).incidents
    assert (opened.incident_type, opened.severity.label) == ("context_growth", "info")
    grown = later(world, 10)

    def since(segment: SegmentKey, signal: str, since_ms: int) -> Effect | None:
        effect = grown.effect(segment, signal)
        at_quarter = grown.now_ms - (grown.now_ms - effect.since_ms) // 4 if effect else 0
        assert effect is None or since_ms == at_quarter
        return None if effect is None else effect._replace(observed=700.0 * 1.35)

    grown.since = since  # type: ignore[method-assign]
    desk.look(grown)
    (now,) = desk.triage.firing
    assert (now.incident_type, now.severity.label) == ("context_growth", "warning")
