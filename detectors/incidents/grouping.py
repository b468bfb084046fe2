"""Which changes have one cause.

A *finding* is the change of one series: one signal of one segment. Of one signal, the finding Y is explained by the
finding X of another segment when they move the same way, began at about the same time, and

* Y holds X, or crosses it, and the part that X has of Y moves Y by at least half of what is seen
  (a parent moves because its child moved: the cause belongs to the child); or
* Y lies within X and shows about the same change (a child that only shows its parent's).

Of crossing segments only sizes are known. X may then have as much of Y as its size allows: users, tenants and
features go together in the real world, and two causes that begin at the same moment in the same signal are rare.

The *owner* of a change is the segment in which it is clearest, among those that explain it: dilution by unaffected
traffic takes evidence away, so a cause confined to a child is clearest there, and one that all children share is
clearest in their parent. A parent that is about as clear and shows as large a change has the name; a part that
carries the whole change, larger, has it if it is about as clear.

Changes of different signals have one cause when their owners agree: the same segment, or one as good an owner of
the other's change as its own. Onsets are estimates. They are near when they differ by at most ``NEAR_MS``, or by
half of the time that it took to see the change.

Everything here is a pure function of findings; their order does not matter.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from detectors.incidents.effects import VOLUME, Effect, Effects
from detectors.incidents.findings import CLEAR_NATS, Finding, by_chance, in_order, near
from detectors.incidents.places import carried, disjoint, relative_size, share_within, size_of, within
from detectors.incidents.shares import displaces, volume_behind
from detectors.records import FLEET, SegmentKey, Signal

ONSET_FACTOR: Final = 4.0
"""What seems to have lasted no more than so many times as long may have begun with the other."""
SAME_SIGNAL: Final = 0.5
"""Share of a parent's change that its part must account for."""
OTHER_SIGNAL: Final = 0.75
"""The same for a change of another signal: its owner must be nearly as good as its own."""
SAME_SIZE: Final = (0.4, 2.0)
"""A child's change relative to its parent's that still is its parent's."""
AS_CLEAR: Final = 0.85
"""A larger segment with this share of the evidence is as clear, if its change is as large."""
AS_LARGE: Final = 0.8
PART_AS_CLEAR: Final = 0.8
"""A part that carries the whole change is about as clear as the whole: without dilution it should be clearer."""
CLEARER: Final = 1.5
"""A segment with so many times the evidence of one that it crosses owns what both show."""
REST: Final = 0.5
"""What the rest of a whole must show of its part's change for the change to be the whole's."""
ALONE: Final = 0.97
"""A part with this share of the whole is all of it."""
AS_LONG: Final = 0.7
"""A whole with this share of the observations that its part's make likely was seen as long."""
HALF_AS_CLEAR: Final = 0.5
"""What is to have moved a segment that it crosses shows the change about as clearly: less is chance's likeliest."""
MAX_DIMENSIONS: Final = 4
"""How often a change is followed into a part of the segment before."""


def explains(x: Finding, y: Finding, signal: Signal, effects: Effects, least: float = SAME_SIGNAL) -> bool:
    """Whether X's change accounts for Y's in the same signal; times are not looked at."""
    if x.up != y.up or disjoint(x.segment, y.segment):
        return False
    if within(y.segment, x.segment):
        ours, theirs = relative_size(signal, x.effect), relative_size(signal, y.effect)
        if ours == 0.0:
            return False
        if theirs / ours < SAME_SIZE[0]:  # the first that a small segment's mix shows is half from before
            return x.effect.label is not None and x.effect.label == y.effect.label
        return theirs / ours <= SAME_SIZE[1] or by_chance(y, 1.0 - ours / theirs)
    share = share_within(x.segment, y.segment, signal, effects)
    size = size_of(signal, y.effect)
    part = carried(signal, share, x.effect) / size if size != 0.0 else 0.0
    return part >= least or (part >= 0.5 * least and by_chance(y, 1.0 - part))


def owner_of(found: Finding, segments: Iterable[SegmentKey], signal: Signal, effects: Effects) -> Finding:
    """The finding of the segment to which the change belongs; ``found`` itself if there is no better one."""
    candidates = [found]
    for segment in segments:
        if segment == found.segment or disjoint(segment, found.segment):
            continue
        effect = effects.effect(segment, signal.name)
        if effect is None or effect.nats < CLEAR_NATS:
            continue
        other = Finding(segment, found.signal, effect, found.seen_ms)
        if near(other, found) and explains(other, found, signal, effects):
            candidates.append(other)
    owner = min(candidates, key=lambda c: (-c.effect.nats, len(c.segment.dimensions), c.segment))
    wider = [
        c
        for c in candidates
        if c.effect.nats >= AS_CLEAR * owner.effect.nats
        and as_large(c, owner, signal)
        and not _is_dilution(owner, c, signal, effects)
    ]
    owner = min(wider, key=lambda c: (len(c.segment.dimensions), -c.effect.nats, c.segment))
    for _ in range(MAX_DIMENSIONS):
        parts = [c for c in candidates if within(c.segment, owner.segment)]
        better = [c for c in parts if better_owner(owner, c, signal, effects)]
        if not better:
            break
        owner = min(better, key=lambda c: (-c.effect.nats, len(c.segment.dimensions), c.segment))
    # Where only one part has the signal at all, that part is what the change is about.
    alone = [
        c
        for c in candidates
        if (within(c.segment, owner.segment) and _has_all(c.segment, owner.segment, signal, effects))
        or _has_all_of_it(c, owner, signal, effects)
    ]
    return min(alone, key=lambda c: (len(c.segment.dimensions), -c.effect.nats, c.segment), default=owner)


def _has_all(part: SegmentKey, whole: SegmentKey, signal: Signal, effects: Effects) -> bool:
    """Whether a part has all observations of a signal, and not all interactions."""
    return effects.share(part, whole) < ALONE and share_within(part, whole, signal, effects) >= ALONE


def _has_all_of_it(x: Finding, y: Finding, signal: Signal, effects: Effects) -> bool:
    """Whether X is the whole of a signal that Y, which crosses it, shows a piece of: only agents take steps."""
    crossing = not within(x.segment, y.segment) and not within(y.segment, x.segment)
    clear = x.effect.nats >= HALF_AS_CLEAR * y.effect.nats
    return crossing and clear and _has_all(x.segment, FLEET, signal, effects)


def cause_of(
    found: Finding,
    segments: Iterable[SegmentKey],
    signals: Mapping[str, Signal],
    effects: Effects,
    taken: Container[tuple[SegmentKey, str]],
) -> Finding:
    """The finding to which a change belongs: of the same signal, or the volume that displaced a mix.

    ``segments`` are looked at unless a series of theirs is ``taken`` by an open incident.
    """
    volume = volume_behind(found, effects, taken) if signals[found.signal].kind == "mix" else None
    cause = found if volume is None else volume
    free = [segment for segment in segments if (segment, cause.signal) not in taken]
    return owner_of(cause, free, signals[cause.signal], effects)


def as_large(one: Finding, other: Finding, signal: Signal) -> bool:
    """Whether a change is hardly smaller than another."""
    return abs(relative_size(signal, one.effect)) >= AS_LARGE * abs(relative_size(signal, other.effect))


def better_owner(x: Finding, y: Finding, signal: Signal, effects: Effects) -> bool:
    """Whether the cause of an incident at X is rather at Y: a part that carries it, or a whole that shares it.

    The whole of a signal is the segment that has all of its observations, whatever its name. What began at another
    time has another cause.
    """
    if x.segment == y.segment or x.up != y.up or not near(x, y):
        return False
    if within(y.segment, x.segment):
        as_clear = y.effect.nats >= PART_AS_CLEAR * x.effect.nats
        larger = not as_large(x, y, signal) or _is_dilution(y, x, signal, effects)
        carried = as_clear and larger and explains(y, x, signal, effects, OTHER_SIGNAL)
        return carried and _seen_as_long(x, y, signal, effects)
    if within(x.segment, y.segment):
        shared = as_large(y, x, signal) and explains(y, x, signal, effects)
        apart = not _has_all(x.segment, y.segment, signal, effects)
        return shared and apart and _rest_moved(x, y, signal, effects)
    if _has_all_of_it(y, x, signal, effects):
        return explains(y, x, signal, effects)
    # Of two that cross, the cause is where the other's change follows from, and not the other way round; where both
    # could, it is the one that is clearer by far.
    if (
        signal.kind == "mix"
        and effects.share(x.segment, y.segment, signal.name) * y.effect.n < AS_LONG * x.effect.n
    ):
        return False  # X's pane began before its change did, and is diluted
    if y.effect.nats >= CLEARER * x.effect.nats:
        return explains(y, x, signal, effects)
    as_clear = y.effect.nats >= PART_AS_CLEAR * x.effect.nats
    follows = as_clear and explains(y, x, signal, effects, OTHER_SIGNAL)
    return follows and not explains(x, y, signal, effects)


def _seen_as_long(whole: Finding, part: Finding, signal: Signal, effects: Effects) -> bool:
    """Whether a whole has been seen for about as long as its part: mixes gather, each is read in its own time."""
    if signal.kind != "mix":
        return True
    share = share_within(part.segment, whole.segment, signal, effects)
    return share * whole.effect.n >= AS_LONG * part.effect.n


def _rest_moved(part: Finding, whole: Finding, signal: Signal, effects: Effects) -> bool:
    """Whether what is left of a whole without a part shows the part's change, too, as far as that can be told.

    By how much, and clearly: with as many nats an observation and unit of squared change as in the part.
    """
    rest = rest_of(part, whole, signal, effects)
    if rest is None:
        return True
    share = share_within(part.segment, whole.segment, signal, effects)
    return rest >= REST and part.effect.nats * rest**2 * (1.0 - share) >= CLEAR_NATS * share


def rest_of(part: Finding, whole: Finding, signal: Signal, effects: Effects) -> float | None:
    """The change of what is left of a whole without a part, over the part's; None where that cannot be told.

    A large part shows in the whole almost as large as it is, on a logarithm all the more.
    """
    share = share_within(part.segment, whole.segment, signal, effects)
    if signal.kind == "rate" or share >= ALONE:
        return None
    one, other = _at_once(part, whole, effects)
    size = size_of(signal, one)
    if size == 0.0:
        return None
    return (size_of(signal, other) - carried(signal, share, one)) / size / (1.0 - share)


def _at_once(one: Finding, other: Finding, effects: Effects) -> tuple[Effect, Effect]:
    """Both changes over the same time, if that is most of both: before an onset everything is diluted."""
    known = one.effect, other.effect
    if one.effect.since_ms == other.effect.since_ms or one.effect.label is not None:
        return known
    since_ms = max(one.effect.since_ms, other.effect.since_ms)
    mine, theirs = (effects.since(f.segment, f.signal, since_ms) for f in (one, other))
    if mine is None or theirs is None or 2.0 * mine.n < one.effect.n or 2.0 * theirs.n < other.effect.n:
        return known
    return mine, theirs


def _is_dilution(part: Finding, whole: Finding, signal: Signal, effects: Effects) -> bool:
    """Whether a whole certainly only shows its part's change: the rest of it did not move."""
    if part.segment == whole.segment or not within(part.segment, whole.segment) or signal.kind == "quantile":
        return False
    rest = rest_of(part, whole, signal, effects)
    return rest is not None and rest < REST


def shows(own: Mapping[str, Finding], found: Finding, signal: Signal, effects: Effects) -> bool:
    """Whether a finding only shows the change that an incident's owner, with the findings ``own``, has itself."""
    volume = own.get(VOLUME)
    if signal.kind == "mix" and volume is not None and displaces(volume, found, effects):
        return True
    known = own.get(found.signal)
    if known is None:
        return False
    return began_within(known, found) and explains(known, found, signal, effects)


def carries(part: Finding, known: Finding | None, signal: Signal, effects: Effects) -> bool:
    """Whether a change in a part of a segment is what moved that, clear enough to have the incident or not."""
    if known is None or not within(part.segment, known.segment) or not near(part, known):
        return False
    return explains(part, known, signal, effects, OTHER_SIGNAL)


def began_within(known: Finding, found: Finding) -> bool:
    """Whether a change began while another was there, as far as its onset can tell.

    What is sparse is told in long panes, and the candidates for an onset lie a factor of up to three apart.
    """
    if found.effect.since_ms >= known.effect.since_ms or near(known, found):
        return True
    lasts_ms = found.seen_ms - known.effect.since_ms
    return found.seen_ms - found.effect.since_ms <= ONSET_FACTOR * lasts_ms


def agrees(
    owner: SegmentKey,
    own: Mapping[str, Finding],
    other: Finding,
    signals: Mapping[str, Signal],
    effects: Effects,
) -> bool:
    """Whether the owner of another signal's change, ``other``, and that of an incident are one.

    One of them must be as good an owner of the other's change as the other is itself.
    """
    if other.signal in own or disjoint(owner, other.segment):
        return False
    if not any(near(other, found) for found in own.values()):
        return False
    if owner == other.segment:
        return True
    clearest = max((found.effect.nats for found in own.values()), default=0.0)
    return _as_good(owner, clearest, other, signals, effects) or narrows(owner, own, other, signals, effects)


def narrows(
    owner: SegmentKey,
    own: Mapping[str, Finding],
    other: Finding,
    signals: Mapping[str, Signal],
    effects: Effects,
) -> bool:
    """Whether the owner of ``other`` is a part of an incident's owner that carries all of its changes as well."""
    return within(other.segment, owner) and all(
        _as_good(other.segment, other.effect.nats, found, signals, effects) for found in own.values()
    )


def _as_good(
    segment: SegmentKey, nats: float, found: Finding, signals: Mapping[str, Signal], effects: Effects
) -> bool:
    """Whether a segment is nearly as good an owner of a change as the one that has it.

    ``nats``: how sure it is that anything happened at that segment.
    """
    signal = signals[found.signal]
    effect = effects.effect(segment, found.signal)
    if effect is None:
        sure = nats >= HALF_AS_CLEAR * found.effect.nats
        return signal.kind == "mix" and sure and _could_carry(segment, found, signal, effects)
    here = Finding(segment, found.signal, effect, found.seen_ms)
    if not near(here, found):
        return False
    if within(found.segment, segment):
        return effect.nats >= CLEAR_NATS and as_large(here, found, signal)
    as_clear = effect.nats >= HALF_AS_CLEAR * found.effect.nats
    return as_clear and explains(here, found, signal, effects, OTHER_SIGNAL)


def _could_carry(segment: SegmentKey, mix: Finding, signal: Signal, effects: Effects) -> bool:
    """Whether a segment whose own mix is not known yet is large enough to have moved another's.

    A mix gathers for a while before it is judged: in a small segment longer than in what holds it.
    """
    if within(mix.segment, segment) or disjoint(mix.segment, segment):
        return False
    share = share_within(segment, mix.segment, signal, effects)
    return share >= OTHER_SIGNAL * relative_size(signal, mix.effect)


class Group(NamedTuple):
    """Findings of one cause."""

    owner: SegmentKey
    own: dict[str, Finding]
    """Findings at the owner, by signal."""
    members: list[Finding]
    """All findings that were given and belong to it, clearest first."""


def group(
    findings: Sequence[Finding],
    segments: Sequence[SegmentKey],
    signals: Mapping[str, Signal],
    effects: Effects,
    taken: Container[tuple[SegmentKey, str]] = frozenset(),
) -> list[Group]:
    """Findings of one step as causes; every finding is in exactly one group, the clearest first.

    ``segments`` are looked at for owners, unless a series of theirs is ``taken`` by an open incident.
    """
    groups: list[Group] = []
    for found in in_order(findings):
        signal = signals[found.signal]
        home = next((g for g in groups if shows(g.own, found, signal, effects)), None)
        if home is None:
            owner = cause_of(found, segments, signals, effects, taken)
            home = next(
                (
                    g
                    for g in groups
                    if agrees(g.owner, g.own, owner, signals, effects)
                    or carries(owner, g.own.get(owner.signal), signals[owner.signal], effects)
                ),
                None,
            )
            if home is None:
                home = Group(owner.segment, {}, [])
                groups.append(home)
            elif owner.segment != home.owner and narrows(home.owner, home.own, owner, signals, effects):
                at, home = groups.index(home), _at(owner.segment, home, effects)
                groups[at] = home
            if owner.segment == home.owner:
                home.own[owner.signal] = owner
        home.members.append(found)
        if found.segment == home.owner:
            home.own.setdefault(found.signal, found)
    return groups


def _at(segment: SegmentKey, cause: Group, effects: Effects) -> Group:
    """The same cause with an owner that is a part of the first one."""
    own = {}
    for name, found in cause.own.items():
        effect = effects.effect(segment, name)
        if effect is not None:
            own[name] = Finding(segment, name, effect, found.seen_ms)
    return Group(segment, own, cause.members)
