"""Holds input partitions that are read far ahead of the others, so that what waits for the others has a bound.

Windows that some partitions have sealed wait in DECIDE for those that are behind. DECIDE says how far it has come:
the end of the last closed window, beside the committed offset of its log, once a second. A partition whose
watermark is ``limits.windows_ahead`` windows or more beyond that is not fetched until the others have come up. Its
records wait on the broker, so results do not change. As long as nobody has said how far DECIDE is, nobody is held.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Self

from faust.types import TP

_VERSION: Final = "1"


class Reached(NamedTuple):
    """How far DECIDE is, as it stands beside the committed offset of its log."""

    until_ms: int
    """The end of the last closed window; before the first one, where the first begins that waits."""

    def encode(self) -> str:
        return f"{_VERSION} {self.until_ms}"

    @classmethod
    def decode(cls, metadata: str | None) -> Self | None:
        """None for what ``encode`` did not write."""
        version, _, until_ms = (metadata or "").partition(" ")
        return cls(int(until_ms)) if version == _VERSION and until_ms.isdecimal() else None


class Alignment:
    """The partitions of one worker.

    ``hold`` is told which partitions must not be fetched, whenever that changes; ``reached`` asks how far DECIDE
    is.
    """

    def __init__(
        self,
        ahead_ms: int,
        hold: Callable[[frozenset[TP]], None],
        reached: Callable[[], Awaitable[Reached | None]],
    ) -> None:
        self._ahead_ms = ahead_ms
        self._hold = hold
        self._ask = reached
        self._reached: Reached | None = None
        self.held: frozenset[TP] = frozenset()

    def look(self, tp: TP, watermark_ms: int | None) -> None:
        """A partition has come so far: hold it if that is too far."""
        if tp not in self.held and self._is_ahead(watermark_ms):
            self._set(self.held | {tp})

    async def renew(self, watermarks_ms: Mapping[TP, int | None]) -> None:
        """Ask again, and hold of all partitions those that are ahead now."""
        self._reached = await self._ask()
        self._set(frozenset(tp for tp, at_ms in watermarks_ms.items() if self._is_ahead(at_ms)))

    def _is_ahead(self, watermark_ms: int | None) -> bool:
        if watermark_ms is None or self._reached is None:
            return False
        return watermark_ms >= self._reached.until_ms + self._ahead_ms

    def _set(self, held: frozenset[TP]) -> None:
        if held != self.held:
            self.held = held
            self._hold(held)
