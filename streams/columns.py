"""Decoded records to columns: the one place that reads fields of interactions and feedback for the sketches.

This is the hot path of AGGREGATE, so it goes field by field (``map`` over an ``attrgetter``) and calls the
functions that interpret values once per distinct value, not once per record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.sketches.build import Columns
from streams.events import USER_FEEDBACK, Feedback, Interaction, cost_usd, is_error, is_thumbs_down
from streams.segments import intern

_FLAG_FIELDS: Final = ("refusal", "idk", "out_of_scope", "schema_valid", "cache_hit", "safety_flag")
_VALUE_FIELDS: Final = (
    "duration_ms",
    "ttft_ms",
    "tokens_in",
    "tokens_out",
    "retrieval_score",
    "retrieved_chunks",
)
_CATEGORY_FIELDS: Final = ("finish_reason", "model_served")
_GET: Final[dict[str, Callable[[Any], Any]]] = {
    name: attrgetter(name)
    for name in (*_FLAG_FIELDS, *_VALUE_FIELDS, *_CATEGORY_FIELDS, "cost", "currency", "event_id")
}
_OUTCOME: Final = attrgetter("status", "error_type")


def interaction_columns(records: Sequence[Interaction]) -> Columns:
    """Columns of interactions; a measure that none of them carries is absent."""
    flags = {"error": _errors(records)}
    flags |= _present({name: list(map(_GET[name], records)) for name in _FLAG_FIELDS})
    values = _present({name: list(map(_GET[name], records)) for name in _VALUE_FIELDS})
    values |= _present({"cost_usd": _costs(records)})
    categories = {}
    for name in _CATEGORY_FIELDS:
        codes, labels = intern(list(map(_GET[name], records)))
        if labels:
            categories[name] = (codes, labels)
    return Columns(list(map(_GET["event_id"], records)), True, flags, values, categories)


def feedback_columns(records: Sequence[Feedback]) -> Columns:
    """Columns of feedback: votes of users, and scores of every other evaluation."""
    flags = _present({"thumbs_down": [is_thumbs_down(record) for record in records]})
    scores = [None if record.name == USER_FEEDBACK else record.score for record in records]
    ids = [record.event_id or record.trace_id or "" for record in records]
    return Columns(ids, False, flags, _present({"judge_score": scores}), {})


def _errors(records: Sequence[Interaction]) -> NDArray[np.float64]:
    outcomes = list(map(_OUTCOME, records))
    failed = {outcome: is_error(record) for outcome, record in dict(zip(outcomes, records, strict=True)).items()}
    return np.fromiter(map(failed.__getitem__, outcomes), np.float64, len(outcomes))


def _costs(records: Sequence[Interaction]) -> list[float | None]:
    if set(map(_GET["currency"], records)) <= {None, "USD"}:
        return list(map(_GET["cost"], records))
    return [cost_usd(record) for record in records]


def _present(columns: dict[str, list[Any]]) -> dict[str, NDArray[np.float64]]:
    """Columns as float64, None as NaN; without those that are None throughout."""
    return {
        name: np.array(column, np.float64)
        for name, column in columns.items()
        if column.count(None) < len(column)
    }


COLUMNS: Final[dict[str, Callable[[Sequence[Any]], Columns]]] = {
    "interaction": interaction_columns,
    "feedback": feedback_columns,
}
