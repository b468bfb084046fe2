"""What TRIAGE may ask about any series at the close of a window, whether it has fired or not.

The first question of a window is answered for all series at once: grouping looks at the same signal everywhere,
judging at all signals of one segment, and an array operation costs as much for one series as for a thousand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detectors.base import Bools, Change, Floats, Ints
from detectors.baseline import Baseline
from detectors.drift.glr import Glr
from detectors.incidents.effects import VOLUME, Effect
from detectors.mixes.monitor import Mixes
from detectors.observed import Observed
from detectors.records import FLEET, SegmentKey
from detectors.rows import Rows
from detectors.scales import Scales
from detectors.strangers import known_traffic
from detectors.volumes import Volumes


class _Changes(NamedTuple):
    """The likeliest change of every series; aligned arrays."""

    known: Bools
    nats: Floats
    since_ms: Ints
    n: Floats
    observed: Floats
    expected: Floats
    shift: Floats


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
        observed: Observed,
        mixes: Mixes,
    ) -> None:
        """``column`` is the position of each monitored signal."""
        self._column = column
        self._rows = rows
        self._glr = glr
        self._baseline = baseline
        self._scales = scales
        self._volumes = volumes
        self._observed = observed
        self._mixes = mixes
        self._now_ms = 0
        self._changes: _Changes | None = None
        self._known_traffic: float | None = None
        self._effects: dict[int, Effect | None] = {}
        self._of_mixes: dict[tuple[int, str], Effect | None] = {}

    def renew(self, now_ms: int) -> None:
        """A window has ended: what was known is old."""
        self._now_ms = now_ms
        self._changes = None
        self._known_traffic = None
        self._effects.clear()
        self._of_mixes.clear()

    def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
        """The likeliest change of a series in either direction; None while it learns."""
        row, column = self._rows.row(segment), self._column.get(signal)
        if row is not None and signal in self._mixes.column:
            if (row, signal) not in self._of_mixes:
                self._of_mixes[row, signal] = self._mixes.effect(row, signal)
            return self._of_mixes[row, signal]
        if row is None or column is None:
            return None
        series = row * len(self._column) + column
        if series not in self._effects:
            self._effects[series] = _effect_at(self._changes_now(), series)
        return self._effects[series]

    def changed(self, signal: str, least_nats: float) -> list[SegmentKey]:
        """The segments in which a signal has changed this surely, also those that have stopped; none for mixes."""
        column = self._column.get(signal)
        if column is None:
            return []
        found, step = self._changes_now(), len(self._column)
        rows = set(
            np.flatnonzero(found.known[column::step] & (found.nats[column::step] >= least_nats)).tolist()
        )
        return (
            sorted(segment for segment in self._rows.known if self._rows.row(segment) in rows) if rows else []
        )

    def share(self, child: SegmentKey, parent: SegmentKey, signal: str = VOLUME) -> float:
        """Interactions of ``child`` in the last hours over those of ``parent``; 0 where unknown.

        With a ``signal``: of those interactions that have it, as far as the last day tells.
        """
        one, other = self._rows.row(child), self._rows.row(parent)
        if one is None or other is None:
            return 0.0
        whole = self._volumes.recent(other, self._now_ms)
        share = self._volumes.recent(one, self._now_ms) / whole if whole > 0 else 0.0
        column = self._column.get(signal)
        if column is None:
            return share
        mine, theirs = (self._observed.known_share(row, column, self._column[VOLUME]) for row in (one, other))
        lately = share * mine / theirs if theirs > 0.0 else 0.0
        # Where the hours differ the product is not that of the observations: who has them all must be seen to.
        return max(lately, self._observed.share(one, other, column, self._now_ms))

    def weight(self, segment: SegmentKey) -> float:
        """Interactions of a segment in the last hours for each of known segments, at most 1; 0 where unknown."""
        row, fleet = self._rows.row(segment), self._rows.row(FLEET)
        if row is None or fleet is None:
            return 0.0
        if self._known_traffic is None:
            self._known_traffic = self._known_traffic_of(self._volumes.recent(fleet, self._now_ms))
        whole = self._known_traffic
        return min(1.0, self._volumes.recent(row, self._now_ms) / whole) if whole > 0.0 else 0.0

    def _known_traffic_of(self, fleet: float) -> float:
        placed = [(segment, row) for segment, row in self._rows.placed if segment != FLEET]
        rows = np.array([row for _, row in placed], np.int64)
        recent, known = self._volumes.recent_of(rows, self._now_ms), self._rows.known_well(rows)
        segments = [segment for segment, _ in placed]
        return known_traffic(fleet, zip(segments, recent.tolist(), known.tolist(), strict=True))

    def known_for_ms(self, segment: SegmentKey) -> int:
        """How long the segment has been watched; 0 for one that is not."""
        row = self._rows.row(segment)
        return 0 if row is None else self._now_ms - self._rows.born_ms(row)

    def rate(self, segment: SegmentKey) -> float:
        """Interactions a second in the last hours, or since the segment is watched; 0 where unknown."""
        row = self._rows.row(segment)
        if row is None:
            return 0.0
        return self._volumes.rate(row, self._rows.born_ms(row), self._now_ms)

    def since(self, segment: SegmentKey, signal: str, since_ms: int) -> Effect | None:
        """What a series shows since a time or soon after, without evidence; None for what is unknown."""
        row, column = self._rows.row(segment), self._column.get(signal)
        if row is not None and signal in self._mixes.column:
            return self._mixes.since(row, signal, since_ms)
        if row is None or column is None:
            return None
        index = np.array([row * len(self._column) + column], np.int64)
        return _effect_at(self._read(index, self._glr.since_ms(index, since_ms)), 0)

    def _changes_now(self) -> _Changes:
        if self._changes is None:
            self._changes = self._all_changes()
        return self._changes

    def _all_changes(self) -> _Changes:
        index = np.arange(self._rows.size * len(self._column))
        return self._read(index, self._glr.change(index))

    def _read(self, index: Ints, change: Change) -> _Changes:
        """What some series' changes mean, beside what is expected of them now."""
        columns = index % len(self._column)
        ref = self._baseline.reference(index, self._now_ms)
        n = np.maximum(change.n, 1e-12)
        total = change.deviation + change.expected
        rate, ratio = self._scales.is_rate[columns], self._scales.is_ratio[columns]
        grown = np.log(np.maximum(total, 1e-6) / np.maximum(change.expected, 1e-6))
        shift = np.where(rate, grown, change.deviation / n)
        expected = np.where(ratio, change.expected / n, ref.expected)
        return _Changes(
            known=ref.judged & (change.n > 0),
            nats=change.nats,
            since_ms=change.since_ms,
            n=change.n,
            observed=self._scales.inverse(columns, expected + shift),
            expected=self._scales.inverse(columns, expected),
            shift=shift,
        )


def _effect_at(found: _Changes, at: int) -> Effect | None:
    if not found.known[at]:
        return None
    return Effect(
        nats=float(found.nats[at]),
        since_ms=int(found.since_ms[at]),
        n=float(found.n[at]),
        observed=float(found.observed[at]),
        expected=float(found.expected[at]),
        shift=float(found.shift[at]),
    )
