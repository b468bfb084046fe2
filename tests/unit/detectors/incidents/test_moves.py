"""Where an incident is: whole and part are compared over the same time, and one signal alone moves nothing."""

from __future__ import annotations

import pytest
from test_causes import OUTAGE, later
from world import ACME, Cause, Desk, World, at

from detectors.incidents.effects import Effect
from detectors.incidents.findings import Finding
from detectors.incidents.grouping import agrees, better_owner, rest_of
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


def test_an_excursion_of_the_whole_does_not_take_what_began_long_before() -> None:
    effects = Diluted()
    part = found(HALF, 2400, 1.15, 106.0)
    assert not better_owner(part, found(FLEET, 10, 1.15, 10.0), LATENCY, effects)  # type: ignore[arg-type]
    assert better_owner(part, found(FLEET, 2400, 1.15, 190.0), LATENCY, effects)  # type: ignore[arg-type]


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


class Released(World):
    """A region stops, and one that is known for five minutes has so many interactions a second."""

    NEW = at(region="eu-2")

    def __init__(self, takes: float) -> None:
        super().__init__(Cause(at(region="eu"), {"request_rate": 0.0}))
        self._takes = takes

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        return None if segment == self.NEW else super().effect(segment, signal)

    def known_for_ms(self, segment: SegmentKey) -> int:
        return 300_000 if segment == self.NEW else super().known_for_ms(segment)

    def rate(self, segment: SegmentKey) -> float:
        return self._takes if segment == self.NEW else 0.0


def test_what_a_release_takes_over_is_no_silence() -> None:
    for takes, kind in ((0.3, "mix_change"), (0.02, "no_data")):
        desk = Desk()
        desk.look(Released(takes), newcomers=[Released.NEW])
        assert [i.incident_type for i in desk.triage.firing] == [kind]


STEPS = SIGNALS["steps_mean"]
AGENTS, EU = SegmentKey(("feature",), ("agent",)), SegmentKey(("region",), ("eu",))


class OnlyAgents:
    """A tenth of the interactions are agents', and these alone take steps; a third of everything is European."""

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> None:
        return None

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = "") -> float:
        sizes = {FLEET: 1.0, AGENTS: 0.1, EU: 0.3}
        if signal == STEPS.name:
            sizes |= {FLEET: 0.1, EU: 0.03}
        return sizes[child] / sizes[parent]


def test_the_whole_of_a_signal_is_the_segment_that_has_all_of_it() -> None:
    def steps(segment: SegmentKey, observed: float, nats: float) -> Finding:
        return Finding(segment, STEPS.name, Effect(nats, NOW_MS - 60_000, 50.0, observed, 4.0, 1.0), NOW_MS)

    agents, europe, fleet = steps(AGENTS, 8.0, 10.0), steps(EU, 12.0, 12.0), steps(FLEET, 8.0, 10.0)
    effects = OnlyAgents()
    assert better_owner(europe, agents, STEPS, effects)  # type: ignore[arg-type]
    assert not better_owner(agents, europe, STEPS, effects)  # type: ignore[arg-type]
    assert not better_owner(agents, fleet, STEPS, effects)  # type: ignore[arg-type]
    unsure = steps(AGENTS, 8.0, 5.0)
    assert not better_owner(europe, unsure, STEPS, effects)  # type: ignore[arg-type]


MIX = SIGNALS["evaluator_version_mix"]


class OfMixes:
    """Half of everything is at the part; mixes cannot be asked about a time."""

    def effect(self, segment: SegmentKey, signal: str) -> None:
        return None

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = "") -> float:
        return 0.5


def mix(segment: SegmentKey, observed: float, n: float, nats: float) -> Finding:
    effect = Effect(nats, NOW_MS - 600_000, n, observed, 0.0, observed, "v2")
    return Finding(segment, MIX.name, effect, NOW_MS)


def test_a_part_whose_mix_is_read_later_does_not_take_the_incident() -> None:
    part = mix(HALF, 0.24, 40.0, 40.0)
    assert not better_owner(mix(FLEET, 0.12, 20.0, 25.0), part, MIX, OfMixes())  # type: ignore[arg-type]
    assert better_owner(mix(FLEET, 0.12, 80.0, 45.0), part, MIX, OfMixes())  # type: ignore[arg-type]


def test_what_hardly_shows_does_not_draw_a_clear_mix_to_it() -> None:
    signals = {name: SIGNALS[name] for name in (MIX.name, LATENCY.name)}
    slow = found(EU, 10, 1.5, 8.5)
    own = {LATENCY.name: slow}
    assert not agrees(EU, own, mix(HALF, 0.04, 200.0, 23.0), signals, OfMixes())  # type: ignore[arg-type]
    own = {LATENCY.name: found(EU, 10, 1.5, 30.0)}
    assert agrees(EU, own, mix(HALF, 0.04, 200.0, 23.0), signals, OfMixes())  # type: ignore[arg-type]


class Creeping(World):
    """Prompts are a seventh longer in the mean since the onset, and by now as much longer as is said."""

    def __init__(self, minutes_ago: float, by_now: float) -> None:
        grown = {"tokens_in_typical": 700.0 * 1.15}
        super().__init__(Cause(at(feature="search"), grown, minutes_ago=minutes_ago), nats=400.0)
        self.now_ms += round(minutes_ago * 60_000)
        self._by_now = by_now

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> Effect | None:
        effect = self.effect(segment, signal)
        return None if effect is None else effect._replace(observed=700.0 * self._by_now)


@pytest.mark.parametrize(("days", "severity"), [(2, "warning"), (0.5, "info")])
def test_what_grows_for_days_warns_by_where_it_is_heading(days: float, severity: str) -> None:
    """A fifth by now is information, twice that is a warning; what grows for half a day may be the time of day."""
    desk = Desk()
    desk.look(Creeping(days * 1440, 1.25))
    (now,) = desk.triage.firing
    assert (now.incident_type, now.severity.label) == ("context_growth", severity)


def test_what_grows_steadily_for_a_week_is_no_new_normal_when_a_day_adds_little() -> None:
    desk = Desk(max_firing_secs=86_400)
    for day in range(5, 12):
        world = Creeping(day * 1440, 1.05 + 0.05 * day)
        desk.look(world)
        assert desk.triage.firing, day
    for more in (0.5, 1.1):
        desk.look(Creeping((11 + more) * 1440, 1.6))
    assert not desk.triage.firing, "it has stopped to grow"


@pytest.mark.parametrize(("by_now", "firing"), [(1.15, False), (1.35, True)])
def test_what_still_grows_is_no_new_normal(by_now: float, firing: bool) -> None:
    desk = Desk(max_firing_secs=3600)
    desk.look(Creeping(30, 1.15))
    desk.look(Creeping(60, by_now))
    desk.look(Creeping(95, by_now))
    assert bool(desk.triage.firing) == firing
