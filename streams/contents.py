"""What an open window holds: sketches of interactions or feedback, or the list of announced changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from detectors.records import OVERFLOW_VALUE
from detectors.sketches.block import Block, empty_block, merge, split
from detectors.sketches.build import build
from detectors.sketches.labels import cap_labels
from detectors.sketches.layout import Layout
from detectors.sketches.translation import signature
from streams.columns import Gatherer
from streams.events import Change
from streams.partials import Notices, Partial
from streams.segments import cap_segments

COMPACT_RECORDS: Final = 32_768
"""Records that an open window keeps as columns before they are summed; twice that is at most MAX_ROWS."""
MAX_CHANGES: Final = 1000
"""Changes kept for one window; more than that in one window is not information."""


class Content(Protocol):
    """Gathers the records of one window, in any order and grouping."""

    dropped: int
    """What a cap has kept out: segments that were folded into ``__other__``, changes that were left out."""

    def add(self, records: Sequence[Any]) -> None: ...

    def pieces(self, source: str, attempt: str, window_start_ms: int) -> list[Partial | Notices]:
        """The log records that carry it, each under the record limit."""


class SketchContent:
    """Interactions or feedback as mergeable sketches per segment."""

    def __init__(self, gatherer: Gatherer, layout: Layout, max_segments: int, max_piece_bytes: int) -> None:
        self._gatherer = gatherer
        self._layout = layout
        self._max_segments = max_segments
        self._max_piece_bytes = max_piece_bytes
        self._block = empty_block(layout)
        self.dropped = 0

    def add(self, records: Sequence[Any]) -> None:
        for lo in range(0, len(records), COMPACT_RECORDS):
            self._gatherer.add(records[lo : lo + COMPACT_RECORDS])
            if len(self._gatherer) >= COMPACT_RECORDS:
                self._sum()

    def pieces(self, source: str, attempt: str, window_start_ms: int) -> list[Partial | Notices]:
        self._sum()
        return [
            Partial(source, attempt, window_start_ms, number, piece, signature(self._layout))
            for number, piece in enumerate(split(self._block, self._layout, self._max_piece_bytes))
        ]

    def _sum(self) -> None:
        if len(self._gatherer):
            block = build(*self._gatherer.take(), self._layout)
            merged = merge([self._block, block], self._layout)
            capped = cap_segments(merged, self._layout, self._max_segments)
            if capped is not merged:
                self.dropped += _named(merged) - _named(capped)
            self._block = cap_labels(capped)


def _named(block: Block) -> int:
    return sum(OVERFLOW_VALUE not in segment.values for segment in block.segments)


class ChangeContent:
    """Announced changes as they came, ordered by id; the first of them, as far as one log record can hold."""

    def __init__(self, max_piece_bytes: int) -> None:
        self._changes: dict[str, dict[str, Any]] = {}
        self._room_bytes = max_piece_bytes
        self.dropped = 0

    def add(self, records: Sequence[Change]) -> None:
        for change in records:
            plain = msgspec.to_builtins(change)
            size = len(msgspec.msgpack.encode(plain))
            if len(self._changes) < MAX_CHANGES and size <= self._room_bytes:
                self._changes[change.change_id] = plain
                self._room_bytes -= size
            else:
                self.dropped += 1

    def pieces(self, source: str, attempt: str, window_start_ms: int) -> list[Partial | Notices]:
        ordered = [self._changes[change_id] for change_id in sorted(self._changes)]
        return [Notices(source, attempt, window_start_ms, ordered)]
