"""From the label counts of windows to panes: enough observations of a group at a time to look at its shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.base import Bools, Columns, Floats, Ints, State
from detectors.mixes.directory import LEARN, NONE, Directory, Series, Stage
from detectors.observed import Observed
from detectors.panes import Completed
from detectors.records import OVERFLOW_VALUE
from detectors.sketches.window import WindowBlock

MAX_DIMENSIONS: Final = 1
"""Segments of more dimensions have too little traffic for a mix of many labels."""
_SURPRISE: Final = 4.0
"""Standard deviations of a count (and one observation) that end a pane before its time."""
_SETTLE: Final = 10
"""Times ``LEARN``: for how long labels that were counted as ``__other__`` may turn up."""
NAMED: Final = "attributes"
"""The category whose labels are ``name=value``: each name is a whole."""


class New(NamedTuple):
    """What is known of a series that has just begun."""

    series: int
    share: float
    """Of its label so far; NaN where it may have been counted as ``__other__``."""
    seen: float
    """Observations of its group so far."""
    panes: int
    siblings: Ints
    """Series of the group that were there before."""


class Counts:
    """The open panes of all groups."""

    def __init__(self, mixes: Sequence[str], pane_events: int, pane_secs: int) -> None:
        """``mixes`` are the names of the signals, in the order of their columns."""
        self.directory = Directory()
        self._mixes = tuple(mixes)
        self._pane_events = pane_events
        self._pane_ms = pane_secs * 1000
        self._groups = Columns(
            stage=(np.int8, -1), other=(np.int64, NONE), n=(np.int64, 0), start=(np.int64, -1),
            seen=(np.float64, 0.0), panes=(np.int64, 0), settled=(np.float64, 0.0),
        )  # fmt: skip
        self._series = Columns(
            group=(np.int64, NONE),
            pair=(np.int64, NONE),
            held=(np.int64, 0),
            first=(np.int64, -1),
            usual=(np.float64, np.nan),
        )
        self._observed = Observed(1)
        self._mix_of_slot: Ints | None = None

    @property
    def size(self) -> int:
        """Series in use or once used: the length that state arrays need."""
        return self.directory.size

    def pair_of(self, series: Ints) -> Ints:
        result: Ints = self._series["pair"][series]
        return result

    def group_of(self, series: Ints) -> Ints:
        result: Ints = self._series["group"][series]
        return result

    def per_hour(self, series: Ints, now_ms: int) -> Floats:
        """Observations an hour of the whole that each series is a part of, averaged over the last day or so."""
        group = self.group_of(series)
        return self._observed.per_hour(group, np.zeros_like(group), now_ms)

    def add(self, block: WindowBlock, rows: Ints) -> tuple[Ints, list[New]]:
        """Take in a window: (groups that it has labels of, series that began with it)."""
        new: list[New] = []
        row, slot, item, count = block.block.categories
        small = np.array([len(s.dimensions) <= MAX_DIMENSIONS for s in block.segments], bool)
        keep = np.flatnonzero(small[row]) if len(row) else row
        if not len(keep):
            return np.empty(0, np.int64), new
        labels, count = block.block.labels, count[keep].astype(np.int64)
        which: Ints = item[keep].astype(np.int64)
        named = slot[keep] == block.layout.category[NAMED]
        pair = rows[row[keep]] * len(self._mixes) + self._mix_of(block)[slot[keep]]
        name = np.where(named, self.directory.name_ids(labels)[which], 0)
        group = self.directory.find_groups(pair, name)
        for at in np.flatnonzero(group == NONE).tolist():
            group[at] = self._open(int(pair[at]), labels[which[at]], named=bool(named[at]))
        if (group == NONE).any():
            room = group != NONE
            group, which, count = group[room], which[room], count[room]
        totals = np.bincount(group, count).astype(np.int64)
        touched = np.flatnonzero(totals)
        self._observed.add(touched, totals[touched, None], block.window_start_ms, block.window_end_ms)
        groups = self._groups
        series = self._find(group, labels, which)
        unknown = np.flatnonzero(series == NONE)
        learning = groups["stage"][group[unknown]] == Stage.LEARNING
        at = unknown[learning]
        for one, label, seen in zip(group[at].tolist(), which[at].tolist(), count[at].tolist(), strict=True):
            self.directory.count(one, labels[label], seen)
        for one in unknown[~learning].tolist():
            self._admit(int(group[one]), labels[which[one]], new)
        if new:
            series = self._find(group, labels, which)
        np.add.at(groups["n"], group, count)
        starts = groups["start"]
        starts[touched] = np.where(starts[touched] < 0, block.window_start_ms, starts[touched])
        followed = series >= 0
        series, first = series[followed], self._series["first"]
        np.add.at(self._series["held"], series, count[followed])
        first[series] = np.where(first[series] < 0, block.window_start_ms, first[series])
        return touched, new

    def _find(self, group: Ints, labels: Sequence[str], which: Ints) -> Ints:
        """The series that takes in each entry; ``NONE`` where that is not known."""
        series = self.directory.find_series(group, self.directory.label_ids(labels)[which])
        result: Ints = np.where(series == NONE, self._groups["other"][group], series)
        return result

    def _mix_of(self, block: WindowBlock) -> Ints:
        """Slot of a category -> the mix that is read from it."""
        if self._mix_of_slot is None:
            layout = block.layout
            self._mix_of_slot = np.zeros(len(layout.categories), np.int64)
            for at, name in enumerate(self._mixes):
                self._mix_of_slot[layout.category[layout.readings[name].measure]] = at
        return self._mix_of_slot

    def _open(self, pair: int, label: str, *, named: bool) -> int:
        at = self.directory.open(pair, label, named=named)
        if at != NONE:
            self._groups.grow(len(self.directory.groups))
            self._observed.grow(len(self.directory.groups))
            if self._groups["stage"][at] < 0:
                self._groups["stage"][at] = Stage.LEARNING
        return at

    def _admit(self, group: int, label: str, new: list[New]) -> None:
        """A label that is not followed will be, if there is room."""
        stage = self._groups["stage"][group]
        begun = self.directory.admit(group, label)
        self._begin(group, begun, new)
        if stage == Stage.CONSTANT and begun:
            self._series["held"][begun[0].index] = self._groups["n"][group]  # all there was in this pane

    def _begin(self, group: int, begun: list[Series], new: list[New]) -> None:
        if not begun:
            return
        self._series.grow(self.size)
        indices = [one.index for one in begun]
        known = self.directory.group(group)
        siblings = np.array(sorted(set(known.series.values()) - set(indices)), np.int64)
        seen, panes = float(self._groups["seen"][group]), int(self._groups["panes"][group])
        total = sum(one.count for one in begun)
        for one in begun:
            self._series["group"][one.index], self._series["pair"][one.index] = group, known.pair
            share = (
                one.count / total if total else 0.0 if seen >= self._groups["settled"][group] else math.nan
            )
            new.append(New(one.index, share, seen, panes, siblings))
        self._groups["stage"][group] = known.stage
        self._groups["other"][group] = known.series.get(OVERFLOW_VALUE, NONE) if known.full else NONE

    def close(self, touched: Ints, start_ms: int, now_ms: int) -> tuple[Completed, list[New]]:
        """The panes that are complete after a window, and the series that begin with them.

        Panes end together, when the clock says so: to look at many costs little more than to look at one. Those of
        the groups that the window ``touched`` end before if they show much already.
        """
        groups, new = self._groups, list[New]()
        if start_ms // self._pane_ms != now_ms // self._pane_ms:
            full = np.flatnonzero(groups["n"] >= self._pane_events)
        else:
            full = touched[groups["n"][touched] >= self._pane_events]
            full = full[self._surprising(full)] if len(full) else full
        if not len(full):
            return _nothing(), new
        n, start = groups["n"].copy(), groups["start"].copy()
        groups["seen"][full] += n[full]
        groups["panes"][full] += 1
        groups["n"][full], groups["start"][full] = 0, -1
        learned = full[(groups["stage"][full] == Stage.LEARNING) & (groups["seen"][full] >= LEARN)]
        done = np.zeros(len(groups) + 1, bool)
        done[full] = groups["stage"][full] == Stage.JUDGED
        series = np.flatnonzero(
            done[self._series["group"]]
        )  # free series have group -1: the last, never done
        held, first = self._series["held"][series], self._series["first"][series]
        self._series["held"][series], self._series["first"][series] = 0, -1
        group = self._series["group"][series]
        for at in learned.tolist():
            self._begin(at, self.directory.graduate(at), new)
            groups["stage"][at] = self.directory.group(at).stage
        counted = n[group]
        # A pane of a sparse segment is long: what came new in it came when it was first seen.
        begun = np.where(first >= 0, first, start[group])
        return Completed(series, held / counted, counted.astype(np.float64), counted, begun), new

    def expect(self, series: Ints, usual: Floats) -> None:
        """Which share is expected of each series, NaN for what is not known yet."""
        self._series["usual"][series] = np.clip(usual, 0.0, 1.0)

    def _surprising(self, full: Ints) -> Bools:
        """Which groups show so much already that their panes should not wait."""
        asked = np.zeros(len(self._groups) + 1, bool)
        asked[full] = self._groups["stage"][full] == Stage.JUDGED
        series = np.flatnonzero(asked[self._series["group"]])
        group = self._series["group"][series]
        n, usual = self._groups["n"][group], self._series["usual"][series]
        off = self._series["held"][series] - n * usual
        found = np.zeros(len(self._groups), bool)
        found[group[off**2 >= _SURPRISE**2 * (1.0 + n * usual * (1.0 - usual))]] = True
        result: Bools = found[full]
        return result

    def retire(self, series: Ints) -> Ints:
        """Labels that have faded away give their places back to those that were counted as ``__other__``.

        Of these nobody knows how frequent they were, so labels that come now are learned anew for a while. Returns
        the series that became free.
        """
        groups = np.unique(self._series["group"][series])
        gone = np.concatenate([series, self._groups["other"][groups]])
        self.directory.retire(gone.tolist())
        self._series.reset(gone)
        rest = np.flatnonzero(np.isin(self._series["group"], groups))
        self._series["held"][rest], self._series["first"][rest] = 0, -1
        for name, fill in (("other", NONE), ("n", 0), ("start", -1)):
            self._groups[name][groups] = fill
        self._groups["settled"][groups] = self._groups["seen"][groups] + _SETTLE * LEARN
        return gone

    def crowded(self) -> Ints:
        """Series of the groups that have no room for another label, without ``__other__``."""
        group, other = self._series["group"], self._groups["other"]
        found = np.flatnonzero(group >= 0)
        found = found[other[group[found]] != NONE]
        result: Ints = found[found != other[group[found]]]
        return result

    def drop(self, rows: Ints) -> Ints:
        """Forget segments; returns the series that became free."""
        pairs = (rows[:, None] * len(self._mixes) + np.arange(len(self._mixes))).ravel()
        return self._drop(pairs.tolist())

    def renumber(self, stored: Sequence[str]) -> Ints:
        """A state was taken over whose mixes are ``stored``; returns the series of those that are gone."""
        to = [self._mixes.index(name) if name in self._mixes else NONE for name in stored]
        moved = {}
        for pair in self.directory.pairs:
            row, mix = divmod(pair, len(stored))
            moved[pair] = row * len(self._mixes) + to[mix] if to[mix] != NONE else NONE
        gone = self._drop([pair for pair, now in moved.items() if now == NONE])
        self.directory.renumber(moved)
        held = np.flatnonzero(self._series["pair"] != NONE)
        self._series["pair"][held] = [moved[pair] for pair in self._series["pair"][held].tolist()]
        return gone

    def _drop(self, pairs: Sequence[int]) -> Ints:
        groups, series = self.directory.drop(pairs)
        gone = np.array(sorted(series), np.int64)
        self._groups.reset(np.array(groups, np.int64))
        self._observed.reset(np.array(groups, np.int64))
        self._series.reset(gone)
        return gone

    def to_state(self) -> State:
        return {
            "directory": self.directory.to_state(), "groups": self._groups.to_state(),
            "series": self._series.to_state(), "observed": self._observed.to_state(),
        }  # fmt: skip

    def from_state(self, state: State) -> None:
        self.directory.from_state(state["directory"])
        self._groups.from_state(state["groups"])
        self._series.from_state(state["series"])
        self._observed.grow(len(self._groups))
        if "observed" in state:
            self._observed.from_state(state["observed"])


def _nothing() -> Completed:
    none = np.empty(0, np.int64)
    return Completed(none, np.empty(0), np.empty(0), none, none)
