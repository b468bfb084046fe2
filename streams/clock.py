"""Event time of a source where nothing is open, as it is kept beside the committed offset.

While a window is open, its records are read again after a restart, and tell the time again. When all is sealed
(a quiet source) nothing would: a late record would open a window that was sealed long ago, and be ignored. So the
time goes with the offset, as the commit's metadata.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

_VERSION: Final = "1"


class Clock(NamedTuple):
    """How far event time has come."""

    max_event_ms: int
    sealed_until_ms: int

    def encode(self) -> str:
        return f"{_VERSION} {self.max_event_ms} {self.sealed_until_ms}"

    @classmethod
    def decode(cls, metadata: str | None) -> Self | None:
        """None for what ``encode`` did not write: other tools may move a group's offsets."""
        match (metadata or "").split(" "):
            case [version, event_ms, sealed_ms] if version == _VERSION and (event_ms + sealed_ms).isdecimal():
                return cls(int(event_ms), int(sealed_ms))
        return None
