"""The interactions of the last windows that show each measure worst: what an alert points to."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from detectors.records import SegmentKey
from detectors.sketches.block import Block, Exemplar

WINDOWS: Final = 6
"""Windows that are looked back on: a minute at the default length, which is when evidence gathers."""
MOST: Final = 5
"""Exemplars of one answer."""

_Window = dict[SegmentKey, dict[int, Exemplar]]


class RecentExemplars:
    """Exemplars of the last windows (one a window, segment and measure); part of DECIDE's checkpoint."""

    def __init__(self) -> None:
        self._windows: deque[_Window] = deque(maxlen=WINDOWS)

    def add(self, block: Block) -> None:
        """Take in the next closed window."""
        found: _Window = {}
        for (row, measure), exemplar in block.exemplars.items():
            found.setdefault(block.segments[row], {})[measure] = exemplar
        self._windows.append(found)

    def find(self, segment: SegmentKey, measure: int) -> tuple[str, ...]:
        """Event ids, worst first, without repeats."""
        known = (window.get(segment, {}).get(measure) for window in self._windows)
        worst = sorted((exemplar for exemplar in known if exemplar is not None), reverse=True)
        return tuple(dict.fromkeys(exemplar.event_id for exemplar in worst))[:MOST]

    def to_state(self) -> list[Any]:
        return [
            [
                (tuple(segment), [(m, tuple(e)) for m, e in sorted(exemplars.items())])
                for segment, exemplars in w.items()
            ]
            for w in self._windows
        ]

    def from_state(self, state: list[Any]) -> None:
        self._windows.clear()
        for window in state:
            self._windows.append(
                {
                    SegmentKey(tuple(dimensions), tuple(values)): {m: Exemplar(*e) for m, e in exemplars}
                    for (dimensions, values), exemplars in window
                }
            )
