"""Decoded records to columns: the one place that reads fields of interactions and feedback for the sketches.

This is the hot path of AGGREGATE. All fields of a record are read in one expression, right after decoding while
the record is still in the processor's cache; the rest works on whole columns, and functions that interpret values
are called once per distinct value, not once per record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.sketches.build import Columns, Segmentation
from streams.events import USER_FEEDBACK, Feedback, Interaction, is_dollars, is_failure, is_thumbs_down
from streams.segments import Interner, Segmenter

Floats = NDArray[np.float64]

MAX_REMEMBERED: Final = 4096
"""Distinct outcomes whose meaning is remembered."""


class Read(NamedTuple):
    """The columns of a chunk. Numbers and flags are float64 with NaN for unknown; None: no record has one."""

    ids: Sequence[str]
    flags: dict[str, Floats | None]
    values: dict[str, Floats | None]
    categories: dict[str, Sequence[str | None]]


class Fields(NamedTuple):
    """What is read from one kind of record, and by which function."""

    read: Callable[[Sequence[Any]], Read]
    are_interactions: bool
    flags: tuple[str, ...]
    values: tuple[str, ...]
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
        read = self._fields.read(records)
        self._ids.extend(read.ids)
        self._sizes.append(len(records))
        for name, flags in self._flags.items():
            flags.append(read.flags[name])
        for name, values in self._values.items():
            values.append(read.values[name])
        for name, interner in self._categories.items():
            self._category_codes[name].append(interner.codes(read.categories[name]))
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


def _read_interactions(records: Sequence[Interaction]) -> Read:
    rows = [
        (
            r.event_id,
            r.status,
            r.error_type,
            r.refusal,
            r.idk,
            r.out_of_scope,
            r.schema_valid,
            r.cache_hit,
            r.safety_flag,
            r.duration_ms,
            r.ttft_ms,
            r.tokens_in,
            r.tokens_out,
            r.cost,
            r.currency,
            r.retrieval_score,
            r.retrieved_chunks,
            r.finish_reason,
            r.model_served,
        )
        for r in records
    ]
    (
        ids,
        statuses,
        error_types,
        refusal,
        idk,
        out_of_scope,
        schema_valid,
        cache_hit,
        safety_flag,
        duration_ms,
        ttft_ms,
        tokens_in,
        tokens_out,
        costs,
        currencies,
        retrieval_score,
        retrieved_chunks,
        finish_reason,
        model_served,
    ) = zip(*rows, strict=True)
    flags = {
        "error": _failures(statuses, error_types),
        "refusal": numbers(refusal),
        "idk": numbers(idk),
        "out_of_scope": numbers(out_of_scope),
        "schema_valid": numbers(schema_valid),
        "cache_hit": numbers(cache_hit),
        "safety_flag": numbers(safety_flag),
    }
    values = {
        "duration_ms": numbers(duration_ms),
        "ttft_ms": numbers(ttft_ms),
        "tokens_in": numbers(tokens_in),
        "tokens_out": numbers(tokens_out),
        "cost_usd": numbers(_in_dollars(costs, currencies)),
        "retrieval_score": numbers(retrieval_score),
        "retrieved_chunks": numbers(retrieved_chunks),
    }
    return Read(ids, flags, values, {"finish_reason": finish_reason, "model_served": model_served})


def _read_feedback(records: Sequence[Feedback]) -> Read:
    ids = [record.event_id or record.trace_id or "" for record in records]
    votes = [is_thumbs_down(record) for record in records]
    scores = [None if record.name == USER_FEEDBACK else record.score for record in records]
    return Read(ids, {"thumbs_down": numbers(votes)}, {"judge_score": numbers(scores)}, {})


def numbers(column: Sequence[Any]) -> Floats | None:
    """A column of numbers or booleans as float64, None as NaN; None when there is nothing else."""
    missing = column.count(None)
    if not missing:
        return np.fromiter(column, np.float64, len(column))
    return None if missing == len(column) else np.array(column, np.float64)


class _Failed(dict[tuple[Any, Any], bool]):
    """(status, error_type) -> whether that is a failure."""

    def __missing__(self, outcome: tuple[Any, Any]) -> bool:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        failed = self[outcome] = is_failure(*outcome)
        return failed


_FAILED: Final = _Failed()


def _failures(statuses: Sequence[int | str | None], error_types: Sequence[str | None]) -> Floats:
    if error_types.count(None) == len(error_types):
        failed = {status: _FAILED[status, None] for status in set(statuses)}
        return np.fromiter(map(failed.__getitem__, statuses), np.float64, len(statuses))
    outcomes = zip(statuses, error_types, strict=True)
    return np.fromiter(map(_FAILED.__getitem__, outcomes), np.float64, len(statuses))


def _in_dollars(costs: Sequence[float | None], currencies: Sequence[str | None]) -> Sequence[float | None]:
    """Costs in other currencies are stored, and not added up with dollars."""
    if currencies.count(None) + currencies.count("USD") == len(currencies):
        return costs
    in_dollars = {currency: is_dollars(currency) for currency in set(currencies)}
    return [cost if in_dollars[c] else None for cost, c in zip(costs, currencies, strict=True)]


FIELDS: Final[dict[str, Fields]] = {
    "interaction": Fields(
        _read_interactions,
        are_interactions=True,
        flags=("error", "refusal", "idk", "out_of_scope", "schema_valid", "cache_hit", "safety_flag"),
        values=(
            "duration_ms",
            "ttft_ms",
            "tokens_in",
            "tokens_out",
            "cost_usd",
            "retrieval_score",
            "retrieved_chunks",
        ),
        categories=("finish_reason", "model_served"),
    ),
    "feedback": Fields(
        _read_feedback,
        are_interactions=False,
        flags=("thumbs_down",),
        values=("judge_score",),
        categories=(),
    ),
}
