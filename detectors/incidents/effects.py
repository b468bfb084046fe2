"""What TRIAGE may ask DETECT about any series of the present step, whether it has fired or not."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final, NamedTuple, Protocol

from detectors.records import SegmentKey

VOLUME: Final = "request_rate"
"""The signal whose count is the number of interactions."""


class Effect(NamedTuple):
    """The likeliest change of one series."""

    nats: float
    """How surely it changed: the log-likelihood ratio. Below about 6 it is noise."""
    since_ms: int
    """Estimated onset."""
    n: float
    """Observations since then; of a rate, events."""
    observed: float
    """The signal since the onset, in its unit."""
    expected: float
    """What the baseline says it should be, in its unit."""
    shift: float
    """Observed minus expected on the signal's comparison scale (``detectors.scales``): a difference of ratios and
    scores, a difference of logarithms of everything else."""
    label: str | None = None
    """Of a mix: the category whose share this is; the one that moved most."""
    came: float = 0.0
    """Of a mix: the largest share that a category surely has which was hardly there before."""


class Effects(Protocol):
    """DETECT as TRIAGE sees it, at the close of one window."""

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        """The likeliest change of a series in either direction; None while it learns or where nothing is known.

        Of a frozen series: what it was when it was frozen, or since.
        """
        ...

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> Effect | None:
        """What a series shows since a time or soon after, without evidence; None for what is unknown.

        Of a mix: the label that moved most by now.
        """
        ...

    def changed(self, signal: str, least_nats: float) -> Sequence[SegmentKey]:
        """The segments in which a signal has changed this surely, also those that have stopped; in their order."""
        ...

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = ...) -> float:
        """Recent interactions of ``child`` over those of ``parent``, whatever their relation; 0 where unknown.

        With a ``signal`` only those interactions count that have it.
        """
        ...

    def weight(self, segment: SegmentKey) -> float:
        """Recent interactions of a segment for each of the fleet's known segments, at most 1: how much it hits.

        Other than ``share``, a flood of new names makes nobody smaller.
        """
        ...

    def known_for_ms(self, segment: SegmentKey) -> int:
        """How long the segment has been watched; 0 for one that is not."""
        ...

    def rate(self, segment: SegmentKey) -> float:
        """Interactions a second in the last hours, or since the segment is watched; 0 where unknown."""
        ...


class Without:
    """The same, of all but some series: their level is back, and what their past shows is over."""

    def __init__(self, effects: Effects, returned: Container[tuple[SegmentKey, str]]) -> None:
        self._effects = effects
        self._returned = returned

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        return None if (segment, signal) in self._returned else self._effects.effect(segment, signal)

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> Effect | None:
        if (segment, signal) in self._returned:
            return None
        return self._effects.since(segment, signal, since_ms)

    def changed(self, signal: str, least_nats: float) -> Sequence[SegmentKey]:
        found = self._effects.changed(signal, least_nats)
        return [segment for segment in found if (segment, signal) not in self._returned]

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = VOLUME) -> float:
        return self._effects.share(child, parent, signal)

    def weight(self, segment: SegmentKey) -> float:
        return self._effects.weight(segment)

    def known_for_ms(self, segment: SegmentKey) -> int:
        return self._effects.known_for_ms(segment)

    def rate(self, segment: SegmentKey) -> float:
        return self._effects.rate(segment)


class _Nothing:
    """Nobody to ask: evidence must speak for itself."""

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        return None

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> Effect | None:
        return None

    def changed(self, signal: str, least_nats: float) -> Sequence[SegmentKey]:
        return ()

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = VOLUME) -> float:
        return 0.0

    def weight(self, segment: SegmentKey) -> float:
        return 0.0

    def known_for_ms(self, segment: SegmentKey) -> int:
        return 0

    def rate(self, segment: SegmentKey) -> float:
        return 0.0


NOTHING: Final[Effects] = _Nothing()
