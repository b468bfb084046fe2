"""What an incident is: from the changes at its segment, and what was announced, to type, verdict and severity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from detectors.incidents.changes import Changes, Place, is_planned, suspect
from detectors.incidents.classification import classify
from detectors.incidents.effects import Effect, Effects
from detectors.incidents.findings import CLEAR_NATS, NEAR_MS, Finding, near, outshone, strongest
from detectors.incidents.grouping import as_large
from detectors.incidents.places import disjoint, relative_size
from detectors.incidents.scene import Scene
from detectors.incidents.severity import DAY_MS, severity_of_incident
from detectors.incidents.verdicts import Judgement, judge
from detectors.records import FLEET, AnnouncedChange, IncidentType, SegmentKey, Severity, Signal

MOVED_NATS: Final = 5.0
"""What has fired draws attention to a segment; there, less evidence will do for what else moved."""
FLAT_NATS: Final = 3.0
LARGE: Final = 0.3
"""What looks as large as this counts before it is as sure: detectors bound what the first values can say."""
GROWING: Final = 1.2
"""A level that lies by so much beyond the mean since the onset is still rising."""
_DOUBT: Final = 2.0
"""Standard errors of the level of the last quarter that are taken off before it counts as beyond the mean."""
CLEAR_MIX_NATS: Final = 12.0
"""A mix shows a type from here on: it has the evidence of that one of its many labels that has most."""
_ALIAS: Final = (0.8, 1.25)
"""Segments that cross have the same interactions when the number of them says so."""
_MODELS: Final = ({"provider"}, {"model"}, {"provider", "model"})


class View(NamedTuple):
    """One step, as triage sees it."""

    now_ms: int
    segments: Sequence[SegmentKey]
    signals: Mapping[str, Signal]
    effects: Effects
    changes: Changes


class Conclusion(NamedTuple):
    """What an incident is taken for."""

    type: IncidentType
    signal: str | None
    """The signal that shows the type best."""
    judgement: Judgement
    severity: Severity
    change: AnnouncedChange | None
    planned: bool
    taken_over: float
    """Share of a model's or segment's traffic that others have taken over."""


def conclude(
    owner: SegmentKey,
    own: Mapping[str, Finding],
    worst: Severity,
    view: View,
    *,
    rule: bool,
    of_another: Callable[[Finding], bool] | None = None,
    taken_over_before: float = 0.0,
) -> Conclusion:
    """Judge an incident at ``owner`` whose findings there are ``own``; ``worst`` is its evidence's severity.

    ``of_another`` says which changes there are another incident's, where that is to be left out.
    ``taken_over_before``: what is known of that, also when the traffic is about to return.
    """
    first = min(own.values(), key=lambda f: f.effect.since_ms) if own else None
    since_ms = view.now_ms if first is None else first.effect.since_ms
    place = Place(owner)
    if view.changes.timely(since_ms, view.now_ms):
        place = Place(owner, tuple(aliases(owner, view)), watched(view.segments))
    fitting = view.changes.fitting(place, since_ms, view.now_ms)
    scene = scene_at(owner, own, view, fitting, of_another)
    scene = scene._replace(taken_over=max(scene.taken_over, taken_over_before))
    named = classify(scene, rule=rule)
    change = suspect(named.type, place, fitting)
    planned = is_planned(named.type, place, change)
    share = 1.0 if owner == FLEET else view.effects.weight(owner)
    severity = severity_of_incident(named.type, scene, share, view.effects.known_for_ms(owner), worst)
    if planned:
        severity = min(severity, Severity.WARNING)
    return Conclusion(
        named.type, named.signal, judge(named.type, scene), severity, change, planned, scene.taken_over
    )


def scene_at(
    owner: SegmentKey,
    own: Mapping[str, Finding],
    view: View,
    changes: tuple[AnnouncedChange, ...],
    of_another: Callable[[Finding], bool] | None,
) -> Scene:
    """Everything that is known at the owner."""
    moved = {name: seen_now(found, view).effect for name, found in own.items()}
    flat = set()
    for name in view.signals:
        effect = None if name in own else view.effects.effect(owner, name)
        if effect is None:
            continue
        found = Finding(owner, name, effect, view.now_ms)
        if effect.nats < FLAT_NATS:
            flat.add(name)
        elif _counts(found, view) and _belongs(found, own, view) and not (of_another and of_another(found)):
            moved[name] = effect
    now = {name: by_now(owner, name, effect, view) for name, effect in moved.items()}
    ahead = {name: _ahead(effect, now[name], view) for name, effect in moved.items()}
    clear = _clear(now, own, view)
    return Scene(
        owner, now, frozenset(flat), changes, taken_over(owner, own, view), view.signals, clear, ahead
    )


def seen_now(found: Finding, view: View) -> Finding:
    """A finding with what its series shows now, if that is as clear: what was seen earlier does not compare."""
    effect = view.effects.effect(found.segment, found.signal)
    if effect is None:
        return found
    now = Finding(found.segment, found.signal, effect, view.now_ms)
    if effect.nats < found.effect.nats or now.up != found.up:  # what is stored has no memory of what came
        return found._replace(effect=found.effect._replace(came=effect.came))
    return now


def by_now(owner: SegmentKey, name: str, effect: Effect, view: View) -> Effect:
    """A change as large as it surely is by now, where it grows: the mean since the onset of what grows is half.

    N nats are a deviation of sqrt(2 N) standard errors; a quarter of the time knows its level half as well.
    """
    age_ms = view.now_ms - effect.since_ms
    if effect.nats < CLEAR_NATS or age_ms < NEAR_MS:
        return effect
    late = view.effects.since(owner, name, view.now_ms - age_ms // 4)
    if late is None:
        return effect
    size, lately = (relative_size(view.signals[name], one) for one in (effect, late))
    doubt = _DOUBT * 2.0 * abs(size) / math.sqrt(2.0 * effect.nats)
    if late.label != effect.label or lately * size <= 0.0 or abs(lately) - doubt < GROWING * abs(size):
        return effect
    sure = 1.0 - doubt / abs(lately)
    observed = late.expected + sure * (late.observed - late.expected)
    return effect._replace(observed=observed, expected=late.expected, shift=sure * late.shift)


def _ahead(mean: Effect, now: Effect, view: View) -> Effect:
    """A change as it will be if it goes on for as long again; what is younger than a day may be the time of day.

    The mean since the onset is that of the middle, and ``now`` that of the last quarter: three eighths lie between
    the two, and nine eighths between the latter and then.
    """
    if view.now_ms - mean.since_ms < DAY_MS:
        return now
    grown = (now.observed - now.expected) - (mean.observed - mean.expected)
    return now._replace(observed=now.observed + 3.0 * grown)


def _clear(moved: Mapping[str, Effect], own: Mapping[str, Finding], view: View) -> frozenset[str]:
    """Which changes are sure enough to show what happened."""
    clearest = strongest(own.values())
    head = max(own, key=lambda n: (own[n].effect.nats, n), default=None)

    def is_clear(name: str, effect: Effect) -> bool:
        if clearest is not None and name != clearest.signal and outshone(effect, clearest.effect):
            return False
        if view.signals[name].kind == "mix":
            return name == head or effect.nats >= CLEAR_MIX_NATS
        return name in own or effect.nats >= CLEAR_NATS

    return frozenset(name for name, effect in moved.items() if is_clear(name, effect))


def _counts(found: Finding, view: View) -> bool:
    """Whether what else moved is sure, or large, enough to bear out what happened."""
    large = abs(relative_size(view.signals[found.signal], found.effect)) >= LARGE
    return found.effect.nats >= (FLAT_NATS if large else MOVED_NATS)


def _belongs(found: Finding, own: Mapping[str, Finding], view: View) -> bool:
    """Whether what else moved at the owner began with the incident, and not everywhere else as well."""
    if not any(near(found, other) for other in own.values()):
        return False
    everywhere = None if found.segment == FLEET else view.effects.effect(FLEET, found.signal)
    if everywhere is None or everywhere.nats < CLEAR_NATS:
        return True
    return not as_large(
        Finding(FLEET, found.signal, everywhere, view.now_ms), found, view.signals[found.signal]
    )


def aliases(owner: SegmentKey, view: View) -> Iterator[SegmentKey]:
    """Other segments that consist of the same interactions, as far as their number can tell."""
    if owner == FLEET:
        return
    for segment in view.segments:
        if segment in (owner, FLEET) or disjoint(segment, owner):
            continue
        if _ALIAS[0] <= view.effects.share(segment, owner) <= _ALIAS[1]:
            yield segment


def watched(segments: Sequence[SegmentKey]) -> frozenset[str]:
    """The dimensions of any segment."""
    return frozenset(dimension for segment in segments for dimension in segment.dimensions)


def taken_over(owner: SegmentKey, own: Mapping[str, Finding], view: View) -> float:
    """Share of its traffic that a sibling, or else a model, lost to the others since the incident began."""
    if not own:
        return 0.0
    reference = next(iter(own.values()))
    rates = _rates(owner, reference, view, siblings="request_rate" in own)
    # Providers or their models: what one model gains is clear before it is in all that its provider has.
    kinds = {segment.dimensions for segment in rates}
    return max(
        (_lost([e for s, e in rates.items() if s.dimensions == kind]) for kind in kinds),
        default=0.0,
    )


def _lost(rates: Sequence[Effect]) -> float:
    """The largest share of its traffic that one of some segments lost, if the others gained about as much."""
    gained = sum(max(0.0, e.observed - e.expected) for e in rates)
    losses = [(e.expected - e.observed, e.expected) for e in rates if e.expected > e.observed]
    return max((loss / of for loss, of in losses if 0.5 * loss <= gained <= 2.0 * loss), default=0.0)


def _newcomer(segment: SegmentKey, reference: Finding, view: View) -> Effect | None:
    """The traffic of a segment that came with the incident, for which all of it is usual: a release takes over."""
    age_ms = view.effects.known_for_ms(segment)
    if age_ms > view.now_ms - reference.effect.since_ms + NEAR_MS:
        return None
    rate = view.effects.rate(segment)
    return Effect(CLEAR_NATS, view.now_ms - age_ms, rate * age_ms / 1000.0, rate, 0.0, 0.0)


def _rates(owner: SegmentKey, reference: Finding, view: View, *, siblings: bool) -> dict[SegmentKey, Effect]:
    """Changes of traffic among the ``siblings`` of a segment, and among models."""
    found = {}
    # Those that have stopped have no records in this window, and those that are new no usual rate.
    for segment in dict.fromkeys((owner, *view.effects.changed("request_rate", MOVED_NATS), *view.segments)):
        sibling = siblings and segment.dimensions == owner.dimensions
        if segment == FLEET or not (sibling or set(segment.dimensions) in _MODELS):
            continue
        new = _newcomer(segment, reference, view)
        effect = new or view.effects.effect(segment, "request_rate")
        if effect is None or effect.nats < MOVED_NATS:
            continue
        # Traffic comes in bursts, and what is clearest may be the last one: all are seen over the incident's time.
        since_ms = reference.effect.since_ms
        if effect.since_ms < since_ms and not near(
            Finding(segment, "request_rate", effect, view.now_ms), reference
        ):
            continue
        found[segment] = new or view.effects.since(segment, "request_rate", since_ms) or effect
    return found
