"""Users and what they cost, over ten minutes at a time.

In a window of seconds nearly every user has one request, and what a user costs is what a request costs. So the
cells of every segment that has any (``detectors.sketches.spreads``) are added up over ten minutes of event time,
beginning at whole ones; what a span says is given to the next window in which its segment appears. A span with
fewer than 20 users, or of which a tenth is missing, says nothing: who is heavy among five is no question.

State is the sums of the running span, at most ``Spread.cells`` for a segment that has them.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.base import Columns, Ints, State
from detectors.sketches.entries import Entries, only, sum_entries
from detectors.sketches.layout import Layout
from detectors.sketches.spreads import spreads
from detectors.sketches.window import WindowBlock

SPAN_MS: Final = 600_000
MIN_PEOPLE: Final = 20
_MISSING: Final = 0.1
"""Of a span."""
_COMPACT: Final = 4096
"""Sums that are gathered before they are added up, at least."""


class People:
    """The spreads of all rows; the columns of their signals are filled in here."""

    def __init__(self) -> None:
        self._rows = Columns(known=(np.int64, 0))
        """Observations of the value that is spread; without one there is no cost."""
        self._sums: list[Entries] = []
        self._began_ms = self._ends_ms = -1
        self._due: dict[int, tuple[dict[str, float], int]] = {}
        """Row -> what its last span said and nobody was told yet: the value of each signal; observations."""

    def grow(self, rows: int) -> None:
        self._rows.grow(rows)

    def reset(self, rows: Ints) -> None:
        self._rows.reset(rows)
        gone = set(rows.tolist())
        self._due = {row: said for row, said in self._due.items() if row not in gone}
        self._sums = [only(sums, ~np.isin(sums.row, rows)) for sums in self._sums]

    def add(self, block: WindowBlock, rows: Ints) -> None:
        """Take in a window, and write what is due into its columns; ``rows`` are those of its segments."""
        layout = block.layout
        if not layout.who:
            return
        if block.window_start_ms >= self._ends_ms:
            self._end(layout)
            self._began_ms = block.window_start_ms
            self._ends_ms = (block.window_start_ms // SPAN_MS + 1) * SPAN_MS
        self._gather(block, rows)
        if block.window_end_ms >= self._ends_ms:
            self._end(layout)
        if self._due:
            columns = {layout.numeric_signals[at]: at for at, _ in layout.who}
            for at, row in enumerate(rows.tolist()):
                values, observations = self._due.pop(row, ({}, 0))
                for name in columns.keys() & values.keys():
                    block.values[at, columns[name]] = values[name]
                    block.counts[at, columns[name]] = observations

    def _gather(self, block: WindowBlock, rows: Ints) -> None:
        layout, entries = block.layout, block.block.histograms
        mine = only(entries, entries.slot >= len(layout.histogram))
        if not len(mine.row):
            return
        # Kept in slot 0: that of the layout may be another in the next version.
        self._sums.append(mine._replace(row=rows[mine.row].astype(np.int32), slot=np.zeros_like(mine.slot)))
        (spread,) = layout.spreads.values()
        self._rows["known"][rows] += block.block.counters[:, layout.column[f"{spread.value}.count"]]
        if sum(len(sums.row) for sums in self._sums[1:]) > len(self._sums[0].row) + _COMPACT:
            self._sums = [sum_entries(self._sums)]

    def _end(self, layout: Layout) -> None:
        """What the span that ends now says."""
        whole = self._began_ms <= self._ends_ms - SPAN_MS * (1.0 - _MISSING)
        entries = sum_entries(self._sums)
        if whole and len(entries.row):
            (spread,) = layout.spreads.values()
            found = spreads(entries, spread.cells)
            known = self._rows["known"][found.row]
            said = {
                layout.numeric_signals[at]: found.read(reading.who, known, layout.quantum[spread.value])
                for at, reading in layout.who
            }
            observations = found.observations
            for at in np.flatnonzero(observations >= MIN_PEOPLE).tolist():
                values = {name: float(column[at]) for name, column in said.items()}
                self._due[int(found.row[at])] = values, int(observations[at])
        self._sums = []
        self._rows["known"][:] = 0

    def to_state(self) -> State:
        sums = sum_entries(self._sums)
        return {
            "rows": self._rows.to_state(),
            "sums": [np.asarray(column).astype("<i8").tobytes() for column in sums],
            "began_ms": self._began_ms,
            "ends_ms": self._ends_ms,
            "due": [[row, *said] for row, said in sorted(self._due.items())],
        }

    def from_state(self, state: State) -> None:
        self._rows.from_state(state["rows"])
        row, slot, item, count = (np.frombuffer(column, "<i8").astype(np.int64) for column in state["sums"])
        sums = Entries(row.astype(np.int32), slot.astype(np.int32), item.astype(np.int32), count)
        self._sums = [sums] if len(row) else []
        self._began_ms, self._ends_ms = int(state["began_ms"]), int(state["ends_ms"])
        self._due = {row: (values, observations) for row, values, observations in state["due"]}
