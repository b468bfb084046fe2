"""What TRIAGE may ask about any series at the close of a window, whether it has fired or not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detectors.baseline import Baseline
from detectors.drift.glr import Glr
from detectors.incidents.effects import Effect
from detectors.records import SegmentKey
from detectors.rows import Rows
from detectors.scales import Scales
from detectors.volumes import Volumes


class View:
    """Changes and shares as of the last window; computed for a segment when it is first asked about."""

    def __init__(
        self,
        column: Mapping[str, int],
        rows: Rows,
        glr: Glr,
        baseline: Baseline,
        scales: Scales,
        volumes: Volumes,
    ) -> None:
        """``column`` is the position of each monitored signal."""
        self._column = column
        self._rows = rows
        self._glr = glr
        self._baseline = baseline
        self._scales = scales
        self._volumes = volumes
        self._now_ms = 0
        self._known: dict[int, list[Effect | None]] = {}

    def renew(self, now_ms: int) -> None:
        """A window has ended: what was known is old."""
        self._now_ms = now_ms
        self._known.clear()

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        """The likeliest change of a series in either direction; None while it learns."""
        row, column = self._rows.row(segment), self._column.get(signal)
        if row is None or column is None:
            return None
        if row not in self._known:
            self._known[row] = self._effects_of(row)
        return self._known[row][column]

    def share(self, child: SegmentKey, parent: SegmentKey) -> float:
        """Interactions of ``child`` in the last hours over those of ``parent``; 0 where unknown."""
        one, other = self._rows.row(child), self._rows.row(parent)
        if one is None or other is None:
            return 0.0
        whole = self._volumes.recent(other, self._now_ms)
        return self._volumes.recent(one, self._now_ms) / whole if whole > 0 else 0.0

    def known_for_ms(self, segment: SegmentKey) -> int:
        """How long the segment has been watched; 0 for one that is not."""
        row = self._rows.row(segment)
        return 0 if row is None else self._now_ms - self._rows.born_ms(row)

    def _effects_of(self, row: int) -> list[Effect | None]:
        """Of all signals of one segment."""
        columns = np.arange(len(self._column))
        index = row * len(columns) + columns
        change = self._glr.change(index)
        ref = self._baseline.reference(index, self._now_ms)
        n = np.maximum(change.n, 1e-12)
        total = change.deviation + change.expected
        rate, ratio = self._scales.is_rate, self._scales.is_ratio
        grown = np.log(np.maximum(total, 1e-6) / np.maximum(change.expected, 1e-6))
        shift = np.where(rate, grown, change.deviation / n)
        expected = np.where(ratio, change.expected / n, ref.expected)
        x = expected + shift
        observed = self._scales.inverse(columns, x).tolist()
        hoped = self._scales.inverse(columns, expected).tolist()
        known = ref.ready & (change.n > 0)
        return [
            Effect(
                nats=float(change.nats[at]), since_ms=int(change.since_ms[at]), n=float(change.n[at]),
                observed=observed[at], expected=hoped[at], shift=float(shift[at]),
            )
            if known[at]
            else None
            for at in columns.tolist()
        ]  # fmt: skip
