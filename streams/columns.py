"""Decoded records to columns: the one place that reads fields of interactions and feedback for the sketches.

This is the hot path of AGGREGATE. It goes field by field through C (``fromiter`` over ``map`` over
``attrgetter``), right after decoding while the records are still in the processor's cache, and calls functions
that interpret values once per distinct value, not once per record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.sketches.build import Columns, Segmentation
from streams.events import USER_FEEDBACK, Feedback, Interaction, cost_usd, is_failure, is_thumbs_down
from streams.segments import Interner, Segmenter

Floats = NDArray[np.float64]
Reader = Callable[[Sequence[Any]], Floats | None]
"""One field of all records as float64, None as NaN; None when no record carries it."""

MAX_REMEMBERED: Final = 4096
"""Distinct outcomes whose meaning is remembered."""


class Fields(NamedTuple):
    """What is read from one kind of record."""

    are_interactions: bool
    ids: Callable[[Sequence[Any]], Iterable[str]]
    flags: dict[str, Reader]
    values: dict[str, Reader]
    categories: tuple[str, ...]


class Gatherer:
    """Gathers the records of one window as columns until they are taken to be summed."""

    def __init__(self, fields: Fields, segmenter: Segmenter) -> None:
        self._fields = fields
        self._segmenter = segmenter
        self._clear()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, records: Sequence[Any]) -> None:
        fields = self._fields
        self._ids.extend(fields.ids(records))
        self._sizes.append(len(records))
        for readers, gathered in ((fields.flags, self._flags), (fields.values, self._values)):
            for name, read in readers.items():
                gathered[name].append(read(records))
        for name, interner in self._categories.items():
            self._category_codes[name].append(interner.codes(map(attrgetter(name), records), len(records)))
        self._dimensions.add(records)

    def take(self) -> tuple[Columns, list[Segmentation]]:
        """What was gathered; begins anew, so that every label belongs to a record of the result."""
        categories = {
            name: (np.concatenate(self._category_codes[name]), interner.labels)
            for name, interner in self._categories.items()
            if interner.labels
        }
        columns = Columns(
            self._ids,
            self._fields.are_interactions,
            self._joined(self._flags),
            self._joined(self._values),
            categories,
        )
        segmentations = self._dimensions.segmentations(len(self._ids))
        self._clear()
        return columns, segmentations

    def _clear(self) -> None:
        fields = self._fields
        self._ids: list[str] = []
        self._sizes: list[int] = []
        self._flags: dict[str, list[Floats | None]] = {name: [] for name in fields.flags}
        self._values: dict[str, list[Floats | None]] = {name: [] for name in fields.values}
        self._categories = {name: Interner() for name in fields.categories}
        self._category_codes: dict[str, list[NDArray[np.int32]]] = {name: [] for name in fields.categories}
        self._dimensions = self._segmenter.gather()

    def _joined(self, gathered: dict[str, list[Floats | None]]) -> dict[str, Floats]:
        return {
            name: np.concatenate(
                [
                    np.full(size, np.nan) if part is None else part
                    for size, part in zip(self._sizes, parts, strict=True)
                ]
            )
            for name, parts in gathered.items()
            if any(part is not None for part in parts)
        }


def field(name: str) -> Reader:
    """The reader of a plain numeric or boolean field."""
    get = attrgetter(name)

    def read(records: Sequence[Any]) -> Floats | None:
        try:  # the common case, that every record carries it, needs no list
            return np.fromiter(map(get, records), np.float64, len(records))
        except TypeError:
            return numbers(list(map(get, records)))

    return read


def numbers(values: list[Any]) -> Floats | None:
    return None if values.count(None) == len(values) else np.array(values, np.float64)


class _Failed(dict[tuple[Any, Any], bool]):
    """(status, error_type) -> whether that is a failure."""

    def __missing__(self, outcome: tuple[Any, Any]) -> bool:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        failed = self[outcome] = is_failure(*outcome)
        return failed


_FAILED: Final = _Failed()
_OUTCOME: Final = attrgetter("status", "error_type")
_CURRENCY: Final = attrgetter("currency")
_read_cost: Final = field("cost")


def _errors(records: Sequence[Interaction]) -> Floats | None:
    return np.fromiter(map(_FAILED.__getitem__, map(_OUTCOME, records)), np.float64, len(records))


def _costs(records: Sequence[Interaction]) -> Floats | None:
    if set(map(_CURRENCY, records)) <= {None, "USD"}:
        return _read_cost(records)
    return numbers([cost_usd(record) for record in records])


def _votes(records: Sequence[Feedback]) -> Floats | None:
    return numbers([is_thumbs_down(record) for record in records])


def _judge_scores(records: Sequence[Feedback]) -> Floats | None:
    return numbers([None if record.name == USER_FEEDBACK else record.score for record in records])


def _judged_ids(records: Sequence[Feedback]) -> list[str]:
    return [record.event_id or record.trace_id or "" for record in records]


FIELDS: Final[dict[str, Fields]] = {
    "interaction": Fields(
        are_interactions=True,
        ids=lambda records: map(attrgetter("event_id"), records),
        flags={
            "error": _errors,
            **{
                name: field(name)
                for name in ("refusal", "idk", "out_of_scope", "schema_valid", "cache_hit", "safety_flag")
            },
        },
        values={
            **{
                name: field(name)
                for name in (
                    "duration_ms",
                    "ttft_ms",
                    "tokens_in",
                    "tokens_out",
                    "retrieval_score",
                    "retrieved_chunks",
                )
            },
            "cost_usd": _costs,
        },
        categories=("finish_reason", "model_served"),
    ),
    "feedback": Fields(
        are_interactions=False,
        ids=_judged_ids,
        flags={"thumbs_down": _votes},
        values={"judge_score": _judge_scores},
        categories=(),
    ),
}
