"""How much of the fleet's traffic is that of known segments.

A flood of new names (a tenant of its own in every record) is a part of the whole fleet, and beside it every segment
looks small. What hits a tenth of everybody who was there before is no smaller for it. Of one segmentation, say by
tenant, the fleet's interactions are

    known       of segments that are known well (``Rows.known_well``)
    strange     of those which are not, and of what is folded together
    nameless    without these dimensions: the rest

Interactions are strangers' if no segmentation knows them. How the names of one segmentation lie in those of another
is not known, but they are at most what is strange where most is, and at most what is not known where most is known:

    known traffic = fleet - min(max over segmentations of strange, fleet - max over segmentations of known)

So a fleet whose every user is a tenant of its own is known by its models, and one that sends few names has no
strangers.
"""

from __future__ import annotations

from collections.abc import Iterable

from detectors.records import SegmentKey


def known_traffic(fleet: float, segments: Iterable[tuple[SegmentKey, float, bool]]) -> float:
    """Interactions of ``fleet`` (of all) that are not strangers'.

    ``segments``: all but the whole fleet, with their interactions, and whether each is known well.
    """
    known: dict[tuple[str, ...], float] = {}
    strange: dict[tuple[str, ...], float] = {}
    for segment, events, is_known in segments:
        of = known if is_known else strange
        of[segment.dimensions] = of.get(segment.dimensions, 0.0) + events
    unknown = max(0.0, fleet - max(known.values(), default=0.0))
    return fleet - min(max(strange.values(), default=0.0), unknown)
