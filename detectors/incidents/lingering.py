"""What is left of resolved incidents: series whose level is not back yet, and which returns are no news.

An incident resolves when its own segment is back to normal. Others that moved with it may need longer; they stay
frozen until they are back as well. And when a level returns, what had adapted to it moves the other way: that is
the end of the incident, not the beginning of another.
"""

from __future__ import annotations

from typing import Final

import msgspec

from detectors.base import State
from detectors.incidents.findings import NEAR_MS, Finding
from detectors.incidents.firing import Open, SeriesKey
from detectors.incidents.places import disjoint
from detectors.records import SegmentKey

MAX_SERIES: Final = 20_000
MAX_RETURNS: Final = 1_000
_RETURN_MS: Final = 2 * NEAR_MS


class Waiting(msgspec.Struct):
    """A series that is still frozen."""

    key: SeriesKey
    fingerprint: str
    until_ms: int


class Return(msgspec.Struct):
    """A resolved incident: where it was, and which way its signals will move on their return."""

    segment: SegmentKey
    rises: dict[str, bool]
    resolved_at_ms: int


class Lingering:
    """What is left of resolved incidents."""

    def __init__(self) -> None:
        self._waiting: dict[SeriesKey, Waiting] = {}
        self._returns: list[Return] = []

    def add(self, key: SeriesKey, fingerprint: str, until_ms: int) -> bool:
        """Wait for a series of a resolved incident; False if there is no room."""
        if len(self._waiting) >= MAX_SERIES:
            return False
        self._waiting[key] = Waiting(key, fingerprint, until_ms)
        return True

    def remove(self, key: SeriesKey) -> bool:
        """The series is back; whether anyone waited for it."""
        return self._waiting.pop(key, None) is not None

    def fingerprint_of(self, key: SeriesKey) -> str | None:
        """The resolved incident that a series belonged to."""
        waiting = self._waiting.get(key)
        return None if waiting is None else waiting.fingerprint

    def expire(self, now_ms: int) -> list[SeriesKey]:
        """The series that need not be waited for any longer: they have another level now."""
        old = [key for key, waiting in self._waiting.items() if now_ms >= waiting.until_ms]
        for key in old:
            del self._waiting[key]
        self._returns = [r for r in self._returns if now_ms - r.resolved_at_ms <= _RETURN_MS]
        return old

    def remember(self, entry: Open, now_ms: int) -> None:
        """An incident has been resolved."""
        # A mix has no direction: it counts as rising, whichever label is named.
        rises = {s.signal: s.label is not None or s.observed < s.expected for s in entry.series.values()}
        self._returns.append(Return(entry.incident.segment, rises, now_ms))
        del self._returns[:-MAX_RETURNS]

    def is_return(self, found: Finding) -> bool:
        """Whether a change is the return of a level after an incident that has just been resolved."""
        return any(
            r.rises.get(found.signal) == found.up
            and abs(found.effect.since_ms - r.resolved_at_ms) <= NEAR_MS
            and not disjoint(r.segment, found.segment)
            for r in self._returns
        )

    def to_state(self) -> State:
        return {
            "waiting": [msgspec.msgpack.encode(waiting) for waiting in self._waiting.values()],
            "returns": [msgspec.msgpack.encode(found) for found in self._returns],
        }

    @classmethod
    def from_state(cls, state: State) -> Lingering:
        lingering = cls()
        for data in state["waiting"]:
            waiting = _WAITING.decode(data)
            lingering._waiting[waiting.key] = waiting
        lingering._returns = [_RETURN.decode(data) for data in state["returns"]]
        return lingering


_WAITING: Final = msgspec.msgpack.Decoder(Waiting)
_RETURN: Final = msgspec.msgpack.Decoder(Return)
