"""Which labels of which mixes are followed: bounded, and nothing for a mix that has one label only.

A *pair* is one mix of one segment (row of the segment x mixes + mix). The labels of a pair are shares of one whole,
but for ``attributes_mix``: there every attribute is a whole of its own, told apart by the name before ``=``. Such a
whole is a *group*, and each of its labels that is followed is a *series*. A group goes through these states:

* learning: its first ``LEARN`` observations only count labels; then the heaviest ``MAX_LABELS`` become series, and
  what is left is one series together (``__other__``);
* constant: there was one label. No series, until a second label comes;
* judged: new labels become series while there is room, then they are counted as ``__other__``.

A label that has faded away gives its place back (``retire``). Numbers of groups and series are bounded; who finds
no room waits until there is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

import msgspec
import numpy as np

from detectors.base import Ints, State
from detectors.records import OVERFLOW_VALUE

MAX_LABELS: Final = 31
"""Followed labels of a group, besides ``__other__``."""
MAX_SERIES: Final = 8192
MAX_GROUPS: Final = 16_384
LEARN: Final = 200
"""Observations of a group before its labels are chosen."""
_MAX_CANDIDATES: Final = 256
"""Labels that are told apart while a group learns."""
_LABEL_BITS: Final = 20
_NAME_BITS: Final = 10
NONE: Final = -1
CONSTANT: Final = -2


class Stage(IntEnum):
    LEARNING = 0
    CONSTANT = 1
    JUDGED = 2


class Group(msgspec.Struct):
    """One whole: the labels of a pair, or of one attribute of it."""

    pair: int
    name: str
    """The attribute; empty for other mixes."""
    stage: Stage = Stage.LEARNING
    counts: dict[str, int] = {}
    """Observations of each label while the group learns; of a constant group its label."""
    series: dict[str, int] = {}
    """Label -> series, once it is judged."""

    @property
    def full(self) -> bool:
        return len(self.series) - (OVERFLOW_VALUE in self.series) >= MAX_LABELS


class Series(msgspec.Struct, frozen=True):
    """A label that has just become a series."""

    index: int
    group: int
    count: int
    """Observations while the group learned."""


class Directory:
    """All groups and their labels."""

    def __init__(self) -> None:
        self.groups: list[Group | None] = []
        self.label_of: list[tuple[int, str] | None] = []
        """(group, label) of every series."""
        self._of_pair: dict[int, list[int]] = {}
        self._free_groups: list[int] = []
        self._free_series: list[int] = []
        self._labels: dict[str, int] = {}
        self._names: dict[str, int] = {"": 0}
        self._find_group = _Lookup()
        self._find_series = _Lookup()

    @property
    def size(self) -> int:
        """Series in use or once used: the length that state arrays need."""
        return len(self.label_of)

    def label_ids(self, labels: Iterable[str]) -> Ints:
        """A number for each label; that of labels that nobody has is none's."""
        unknown = (1 << _LABEL_BITS) - 1
        return np.array([self._labels.get(label, unknown) for label in labels], np.int64)

    def name_ids(self, labels: Iterable[str]) -> Ints:
        """A number for the attribute of each label."""
        names = self._names
        found = []
        for label in labels:
            name = label.partition("=")[0]
            if name not in names and len(names) < (1 << _NAME_BITS):
                names[name] = len(names)
            found.append(names.get(name, 0))
        return np.array(found, np.int64)

    def find_groups(self, pair: Ints, name: Ints) -> Ints:
        """The group of each entry, ``NONE`` where there is none yet."""
        return self._find_group((pair << _NAME_BITS) + name)

    def find_series(self, group: Ints, label: Ints) -> Ints:
        """The series of each entry; ``NONE`` for labels without, ``CONSTANT`` for the one label of a group."""
        return self._find_series((group << _LABEL_BITS) + label)

    def of_pair(self, pair: int) -> Ints:
        """The series of a pair, ascending."""
        series = [at for group in self._of_pair.get(pair, ()) for at in self.group(group).series.values()]
        return np.array(sorted(series), np.int64)

    def group(self, at: int) -> Group:
        found = self.groups[at]
        assert found is not None, f"group {at} is free"  # noqa: S101
        return found

    def label(self, series: int) -> str:
        found = self.label_of[series]
        assert found is not None, f"series {series} is free"  # noqa: S101
        return found[1]

    def open(self, pair: int, label: str, *, named: bool) -> int:
        """The group that a label of a pair belongs to, made if need be; ``NONE`` if there is no room."""
        name = label.partition("=")[0] if named else ""
        key = (pair << _NAME_BITS) + self._names.get(name, 0)
        known = self._find_group.get(key)
        if known != NONE:
            return known
        if self._free_groups:
            at = heapq.heappop(self._free_groups)
        elif len(self.groups) < MAX_GROUPS:
            at = len(self.groups)
            self.groups.append(None)
        else:
            return NONE
        self.groups[at] = Group(pair, name)
        self._of_pair.setdefault(pair, []).append(at)
        self._find_group.put(key, at)
        return at

    def count(self, at: int, label: str, count: int) -> None:
        """A learning group has seen a label."""
        counts = self.group(at).counts
        if label not in counts and len(counts) >= _MAX_CANDIDATES:
            label = OVERFLOW_VALUE
        counts[label] = counts.get(label, 0) + count

    def graduate(self, at: int) -> list[Series]:
        """A group has learned: the labels that it will be judged by, if there is more than one."""
        group = self.group(at)
        if len(group.counts) == 1:
            (label,) = group.counts
            group.stage = Stage.CONSTANT
            self._find_series.put(self._key(at, label), CONSTANT)
            return []
        rest = dict(group.counts)
        other = rest.pop(OVERFLOW_VALUE, 0)
        ranked = sorted(rest, key=lambda label: (-rest[label], label))
        if self._room() < min(len(ranked), MAX_LABELS) + 1:
            return []
        other += sum(rest[label] for label in ranked[MAX_LABELS:])
        chosen = {label: rest[label] for label in ranked[:MAX_LABELS]}
        if other:
            chosen[OVERFLOW_VALUE] = other
        group.stage, group.counts = Stage.JUDGED, {}
        return [self._add(at, label, count) for label, count in chosen.items()]

    def admit(self, at: int, label: str) -> list[Series]:
        """A judged or constant group has seen a label for the first time: what becomes a series for it."""
        group = self.group(at)
        if self._room() < 2:
            return []
        new = []
        if group.stage == Stage.CONSTANT:
            (usual,) = group.counts
            group.stage, count = Stage.JUDGED, group.counts[usual]
            group.counts = {}
            new.append(self._add(at, usual, count))
        name = OVERFLOW_VALUE if group.full else label
        if name not in group.series:
            new.append(self._add(at, name, 0))
        return new

    def retire(self, series: Iterable[int]) -> None:
        """Labels that have faded away give their places back."""
        for at in series:
            group, label = self.label_of[at] or (NONE, "")
            del self.group(group).series[label]
            self._find_series.drop(self._key(group, label))
            self.label_of[at] = None
            heapq.heappush(self._free_series, at)

    def drop(self, pairs: Iterable[int]) -> tuple[list[int], list[int]]:
        """Forget pairs whose segment is gone: (groups, series) that became free."""
        groups = [at for pair in pairs for at in self._of_pair.pop(pair, ())]
        gone: list[int] = []
        for at in groups:
            group = self.group(at)
            gone += group.series.values()
            if group.stage == Stage.CONSTANT:
                self._find_series.drop(self._key(at, *group.counts))
            self.retire(list(group.series.values()))
            self._find_group.drop((group.pair << _NAME_BITS) + self._names[group.name])
            self.groups[at] = None
            heapq.heappush(self._free_groups, at)
        if groups:
            self._forget_labels()
        return groups, gone

    def renumber(self, pair_of: Mapping[int, int]) -> None:
        """Pairs have other numbers; ``pair_of`` has every pair that has groups."""
        for group in self.groups:
            if group is not None:
                group.pair = pair_of[group.pair]
        self.from_state(self.to_state())

    @property
    def pairs(self) -> Iterable[int]:
        """Those that have groups."""
        return self._of_pair

    def _room(self) -> int:
        return len(self._free_series) + MAX_SERIES - len(self.label_of)

    def _add(self, group: int, label: str, count: int) -> Series:
        if self._free_series:
            at = heapq.heappop(self._free_series)
            self.label_of[at] = (group, label)
        else:
            at = len(self.label_of)
            self.label_of.append((group, label))
        self.group(group).series[label] = at
        self._find_series.put(self._key(group, label), at)
        return Series(at, group, count)

    def _key(self, group: int, label: str) -> int:
        return (group << _LABEL_BITS) + self._labels.setdefault(label, len(self._labels))

    def _forget_labels(self) -> None:
        """Numbers of labels that nobody has any more are given up, once they are many."""
        if len(self._labels) < 2 * (MAX_SERIES + MAX_GROUPS):
            return
        self._labels = {}
        self._index()

    def _index(self) -> None:
        self._find_series.clear()
        for at, group in enumerate(self.groups):
            if group is None:
                continue
            for label, series in group.series.items():
                self._find_series.put(self._key(at, label), series)
            if group.stage == Stage.CONSTANT:
                self._find_series.put(self._key(at, *group.counts), CONSTANT)

    def to_state(self) -> State:
        return {
            "groups": [None if g is None else msgspec.msgpack.encode(g) for g in self.groups],
            "size": self.size,
        }

    def from_state(self, state: State) -> None:
        self.__init__()  # type: ignore[misc]
        self.groups = [None if data is None else _GROUP.decode(data) for data in state["groups"]]
        self.label_of = [None] * int(state["size"])
        for at, group in enumerate(self.groups):
            if group is None:
                self._free_groups.append(at)
                continue
            name = self._names.setdefault(group.name, len(self._names))
            self._find_group.put((group.pair << _NAME_BITS) + name, at)
            self._of_pair.setdefault(group.pair, []).append(at)
            for label, series in group.series.items():
                self.label_of[series] = (at, label)
        self._free_series = [at for at, known in enumerate(self.label_of) if known is None]
        self._index()


class _Lookup:
    """A dict of integers that can be asked for many at once."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._sorted: tuple[Ints, Ints] | None = None

    def __call__(self, keys: Ints) -> Ints:
        if self._sorted is None:
            known = np.array(list(self._known), np.int64)
            order = np.argsort(known, kind="stable")
            values = np.array(list(self._known.values()), np.int64)
            self._sorted = known[order], values[order]
        known, values = self._sorted
        if not len(known):
            return np.full(len(keys), NONE, np.int64)
        at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        result: Ints = np.where(known[at] == keys, values[at], NONE)
        return result

    def get(self, key: int) -> int:
        return self._known.get(key, NONE)

    def put(self, key: int, value: int) -> None:
        self._known[key] = value
        self._sorted = None

    def drop(self, key: int) -> None:
        del self._known[key]
        self._sorted = None

    def clear(self) -> None:
        self._known.clear()
        self._sorted = None


_GROUP: Final = msgspec.msgpack.Decoder(Group)
