"""The records of one window as columns: gathered chunk by chunk, then handed over to be summed.

This is the hot path of AGGREGATE. A measure that no record of a chunk has is not there at all, and costs nothing
beyond the look for it; the rest works on whole columns, and functions that interpret values are called once per
distinct value, not once per record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.sketches.build import Columns, Segmentation
from detectors.sketches.labels import short_label
from streams.segments import TENANT, Interner, Segmenter, absent, text_of
from streams.users import COST_BY_USER, NOBODY, cells

Floats = NDArray[np.float64]
Numbers = dict[str, Floats]
"""Measure -> one number a record, NaN for unknown; without the measures that no record has."""
Key = tuple[str | None, ...]
"""What stands for some labels of a record."""


class _KeyInterner(Interner[Key]):
    """A code per key. Parts that are no texts count as their texts, since 1, 1.0 and true are one key of a dict."""

    def __missing__(self, key: Key) -> int:
        texts = tuple(map(text_of, key))
        return super().__missing__(key) if texts == key else self[texts]


class Keys(NamedTuple):
    """What stands for the labels of records that may have several."""

    at: Sequence[int] | None
    """Which records have any; None: all."""
    keys: Sequence[Key]


MAX_REMEMBERED: Final = 4096
"""Distinct outcomes and verdicts whose meaning is remembered."""


class Read(NamedTuple):
    """What a chunk of records says, but for the fields that segments and single labels are read from."""

    ids: Sequence[str]
    flags: Numbers
    values: Numbers
    keys: dict[str, Keys]
    """By category."""
    users: NDArray[np.int64] | None = None
    """Checksum of the user of each record (``streams.users``); None: of nobody."""


class Fields(NamedTuple):
    """What is read from one kind of record, and how."""

    read: Callable[[Sequence[Any]], Read]
    are_interactions: bool
    categories: tuple[str, ...]
    """Fields that are a label each."""
    labels_of: dict[str, Callable[[Key], tuple[str, ...]]]
    """Category whose records may have several labels -> the labels that a key of ``Read`` stands for."""


class Gatherer:
    """Gathers the records of one window as columns until they are taken to be summed."""

    def __init__(self, fields: Fields, segmenter: Segmenter) -> None:
        """``segmenter`` must read ``fields.categories`` and the tenant as well."""
        self._fields = fields
        self._segmenter = segmenter
        self._clear()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, records: Sequence[Any]) -> None:
        read = self._fields.read(records)
        self._ids.extend(read.ids)
        self._sizes.append(len(records))
        self._flags.append(read.flags)
        self._values.append(read.values)
        self._users.append(read.users)
        for name, interner in self._keys.items():
            codes = np.zeros(len(records), np.int32)
            if found := read.keys.get(name):
                codes[slice(None) if found.at is None else found.at] = interner.codes(found.keys)
            self._key_codes[name].append(codes)
        self._dimensions.add(records)

    def take(self) -> tuple[Columns, list[Segmentation]]:
        """What was gathered; begins anew, so that every label belongs to a record of the result."""
        columns = Columns(
            self._ids,
            self._fields.are_interactions,
            _joined(self._flags, self._sizes),
            _joined(self._values, self._sizes),
            dict(self._categories()),
            self._cells(),
        )
        segmentations = self._dimensions.segmentations(len(self._ids))
        self._clear()
        return columns, segmentations

    def _categories(self) -> list[tuple[str, tuple[NDArray[np.int32], list[tuple[str, ...]]]]]:
        found: list[tuple[str, tuple[NDArray[np.int32], list[tuple[str, ...]]]]] = []
        for field in self._fields.categories:
            codes, labels = self._dimensions.category(field)
            if labels:
                found.append((field, (codes, [(short_label(label),) for label in labels])))
        for name, labels_of in self._fields.labels_of.items():
            if keys := self._keys[name].labels:
                labelled = [tuple(map(short_label, labels_of(key))) for key in keys]
                found.append((name, (np.concatenate(self._key_codes[name]), labelled)))
        return found

    def _cells(self) -> dict[str, NDArray[np.int32]]:
        if all(users is None for users in self._users):
            return {}
        users = np.concatenate(
            [
                np.full(size, NOBODY) if users is None else users
                for size, users in zip(self._sizes, self._users, strict=True)
            ]
        )
        return {COST_BY_USER.name: cells(users, *self._dimensions.category(TENANT))}

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._sizes: list[int] = []
        self._flags: list[Numbers] = []
        self._values: list[Numbers] = []
        self._users: list[NDArray[np.int64] | None] = []
        self._keys: dict[str, Interner[Key]] = {name: _KeyInterner() for name in self._fields.labels_of}
        self._key_codes: dict[str, list[NDArray[np.int32]]] = {name: [] for name in self._fields.labels_of}
        self._dimensions = self._segmenter.gather()


def _joined(parts: Sequence[Numbers], sizes: Sequence[int]) -> Numbers:
    if len(parts) == 1:
        return parts[0]
    return {
        name: np.concatenate(
            [
                part[name] if name in part else np.full(size, np.nan)
                for size, part in zip(sizes, parts, strict=True)
            ]
        )
        for name in dict.fromkeys(name for part in parts for name in part)
    }


def numbers(**columns: Sequence[Any]) -> Numbers:
    """Columns of numbers or booleans as float64, None as NaN; without those that have nothing else."""
    return {name: as_floats(column) for name, column in columns.items() if not absent(column)}


def as_floats(column: Sequence[Any]) -> Floats:
    """Numbers or booleans as float64, None as NaN."""
    try:
        return np.fromiter(column, np.float64, len(column))
    except TypeError:  # there is a None: this takes longer
        return np.array(column, np.float64)
