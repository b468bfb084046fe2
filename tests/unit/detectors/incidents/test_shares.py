"""A mix that moves because the traffic of a segment does belongs to that traffic."""

from __future__ import annotations

import math

import pytest
from world import Desk, at, evidence

from detectors.incidents.effects import Effect
from detectors.incidents.findings import Finding
from detectors.incidents.shares import displaces, volume_behind
from detectors.records import FLEET, Evidence, SegmentKey, Severity

NOW_MS = 1_790_000_000_000
SEARCH, EU, PROMPT = at(feature="search"), at(region="eu"), at(prompt_name="answer", prompt_version="v31")
MIX = "model_requested_mix"


class Known:
    """DETECT's answers, given one by one; traffic as usual where nothing else is said."""

    def __init__(self, rates: dict[SegmentKey, tuple[float, float]]) -> None:
        self.now_ms = NOW_MS
        self._rates = rates
        """Segment -> (expected, observed) interactions a second."""
        self.mixes: dict[SegmentKey, Effect] = {}

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        if signal == MIX:
            return self.mixes.get(segment)
        return rate(*self._rates[segment]) if signal == "request_rate" and segment in self._rates else None

    def changed(self, signal: str, least_nats: float) -> list[SegmentKey]:
        found = ((s, self.effect(s, signal)) for s in sorted(self._rates))
        return [s for s, effect in found if effect is not None and effect.nats >= least_nats]

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = "") -> float:
        return self._rates[child][0] / self._rates[parent][0]

    def weight(self, segment: SegmentKey) -> float:
        return self.share(segment, FLEET)

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> None:
        return None

    def rate(self, segment: SegmentKey) -> float:
        return 0.0

    def known_for_ms(self, segment: SegmentKey) -> int:
        return 14 * 86_400_000


def rate(expected: float, observed: float) -> Effect:
    nats = 0.0 if expected == observed else 12.0
    shift = math.log(max(observed, 1e-6) / expected)
    return Effect(nats, NOW_MS - 300_000, 300.0 * observed, observed, expected, shift)


def share(expected: float, observed: float, nats: float = 40.0, minutes_ago: float = 5.0) -> Effect:
    since_ms = NOW_MS - round(minutes_ago * 60_000)
    return Effect(nats, since_ms, 400.0, observed, expected, observed - expected, "b")


def explained(
    volume: tuple[float, float], moved: Effect, segment: SegmentKey = FLEET, of: SegmentKey = SEARCH
) -> bool:
    known = Known({FLEET: (1.0, 1.0), EU: (0.3, 0.3), SEARCH: (0.2, 0.2)} | {of: volume})
    return displaces(
        Finding(of, "request_rate", rate(*volume), NOW_MS), Finding(segment, MIX, moved, NOW_MS), known
    )


@pytest.mark.parametrize(
    ("volume", "moved"),
    [
        ((0.2, 0.04), share(0.196, 0.047)),  # a fifth of the traffic nearly stops, and its label with it
        ((0.2, 0.0), share(0.2, 0.0)),
        ((0.2, 0.0), share(0.4, 0.5)),  # what is left has more of the whole
        ((0.2, 0.0), share(0.3, 0.15)),  # a part of the label's interactions
        ((0.05, 0.25), share(0.05, 0.21)),  # a tenant sends five times as much
    ],
)
def test_a_volume_explains_shares_as_far_as_it_can_move_them(
    volume: tuple[float, float], moved: Effect
) -> None:
    assert explained(volume, moved)


@pytest.mark.parametrize(
    ("volume", "moved"),
    [
        ((0.2, 0.18), share(0.196, 0.047)),  # too small a change
        ((0.2, 0.04), share(0.2, 0.5)),  # more than what is left can gain
        ((0.2, 0.04), share(0.0, 0.2)),  # a release: the label is new
        ((0.05, 0.25), share(0.4, 0.2)),  # the others lose, but not half of what they had
        ((0.2, 0.04), share(0.196, 0.047, minutes_ago=200.0)),  # hours before
    ],
)
def test_other_changes_of_shares_have_another_cause(volume: tuple[float, float], moved: Effect) -> None:
    assert not explained(volume, moved)


def test_of_segments_that_cross_a_volume_may_lie_as_it_must() -> None:
    assert explained((0.2, 0.04), share(0.3, 0.08), segment=EU)
    # No more of it is missing than the segment sent at all.
    assert not explained((0.02, 0.0), share(0.5, 0.2, nats=200.0), segment=EU)


def test_the_volume_of_the_segment_itself_or_above_it_says_nothing_about_its_mix() -> None:
    moved = share(0.196, 0.047)
    assert not explained((0.2, 0.04), moved, segment=SEARCH)
    assert not explained((0.2, 0.04), moved, segment=at(feature="search", region="eu"))
    assert not explained((0.2, 0.04), moved, segment=at(feature="chat"))


def test_the_clearest_volume_that_is_free_is_behind_a_mix() -> None:
    known = Known({FLEET: (1.0, 0.84), SEARCH: (0.2, 0.04), PROMPT: (0.2, 0.04)})
    mix = Finding(FLEET, MIX, share(0.196, 0.047), NOW_MS)
    found = volume_behind(mix, known, frozenset())
    assert found is not None
    assert found.segment == SEARCH
    taken = frozenset({(SEARCH, "request_rate"), (PROMPT, "request_rate")})
    assert volume_behind(mix, known, taken) is None


def mix_of(known: Known, segment: SegmentKey, effect: Effect) -> Evidence:
    known.mixes[segment] = effect
    return evidence(segment, MIX, effect, NOW_MS, false_per_week=1e-9)


def fell(known: Known, segment: SegmentKey) -> Evidence:
    """The traffic of a segment alone: too little to open an incident."""
    effect = known.effect(segment, "request_rate")
    assert effect is not None
    return evidence(segment, "request_rate", effect, NOW_MS, severity=Severity.INFO, false_per_week=50.0)


def silent() -> Known:
    return Known({FLEET: (1.0, 0.84), EU: (0.3, 0.26), SEARCH: (0.2, 0.04), PROMPT: (0.2, 0.04)})


def test_a_mix_that_a_silent_feature_moved_opens_the_incident_of_the_feature() -> None:
    known, desk = silent(), Desk()
    desk.look(known, found=[mix_of(known, FLEET, share(0.196, 0.047))])  # type: ignore[arg-type]
    (incident,) = desk.triage.firing
    assert (incident.incident_type, incident.segment, incident.signal) == ("no_data", SEARCH, "request_rate")
    assert incident.peak.evidence.segment == SEARCH
    assert desk.alerts == [("firing", "critical", "no_data")]


def test_the_incident_of_a_mix_becomes_that_of_the_volume_behind_it() -> None:
    before, desk = Known({FLEET: (1.0, 1.0), SEARCH: (0.2, 0.2)}), Desk()
    desk.look(before, found=[mix_of(before, FLEET, share(0.196, 0.047))])  # type: ignore[arg-type]
    (incident,) = desk.triage.firing
    assert (incident.incident_type, incident.segment) == ("mix_change", FLEET)
    assert desk.alerts == []

    known = silent()
    known.mixes = before.mixes
    step = desk.look(known, found=[fell(known, SEARCH), fell(known, PROMPT)])  # type: ignore[arg-type]
    (incident,) = desk.triage.firing
    assert (incident.incident_type, incident.segment, incident.signal) == ("no_data", SEARCH, "request_rate")
    assert incident.peak.evidence.signal == "request_rate"
    assert {(m.segment, m.signal) for m in incident.members} == {(FLEET, MIX), (PROMPT, "request_rate")}
    assert desk.alerts == [("firing", "critical", "no_data")]
    assert "request_rate of feature=search" in step.alerts[0].summary

    more = [mix_of(known, EU, share(0.2, 0.05))]
    desk.look(known, found=more)  # type: ignore[arg-type]
    assert len(desk.triage.firing) == 1, "mixes of other segments belong to it"


def test_a_mix_without_a_volume_behind_it_stays_a_change_of_the_mix() -> None:
    known, desk = Known({FLEET: (1.0, 1.0), SEARCH: (0.2, 0.04)}), Desk()
    desk.look(known, found=[mix_of(known, FLEET, share(0.0, 0.3))])  # type: ignore[arg-type]
    assert [(i.incident_type, i.segment) for i in desk.triage.firing] == [("mix_change", FLEET)]


def test_a_label_that_came_new_is_not_made_by_a_volume() -> None:
    silent, falls = (0.2, 0.0), share(0.2, 0.0)
    assert explained(silent, falls)
    assert explained(silent, falls._replace(came=0.02))
    assert not explained(silent, falls._replace(came=0.2)), (
        "a release: the new version has what the old one lost"
    )
