"""Decoded records to columns: the one place that reads fields of interactions and feedback for the sketches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def interaction_columns(records: Sequence[Interaction]) -> Columns:
    """Columns of interactions; a measure that none of them carries is absent."""
    flags = {"error": np.array([is_error(record) for record in records], np.float64)}
    flags |= _present({name: [getattr(r, name) for r in records] for name in _FLAG_FIELDS})
    values = _present({name: [getattr(r, name) for r in records] for name in _VALUE_FIELDS})
    values |= _present({"cost_usd": [cost_usd(r) for r in records]})
    categories = {}
    for name in _CATEGORY_FIELDS:
        codes, labels = intern([getattr(record, name) for record in records])
        if labels:
            categories[name] = (codes, labels)
    return Columns([record.event_id for record in records], True, flags, values, categories)


def feedback_columns(records: Sequence[Feedback]) -> Columns:
    """Columns of feedback: votes of users, and scores of every other evaluation."""
    flags = _present({"thumbs_down": [is_thumbs_down(record) for record in records]})
    scores = [None if record.name == USER_FEEDBACK else record.score for record in records]
    ids = [record.event_id or record.trace_id or "" for record in records]
    return Columns(ids, False, flags, _present({"judge_score": scores}), {})


def _present(columns: dict[str, list[Any]]) -> dict[str, NDArray[np.float64]]:
    """Columns as float64, None as NaN; without those that are None throughout."""
    return {
        name: np.array(column, np.float64)
        for name, column in columns.items()
        if any(v is not None for v in column)
    }


COLUMNS: Final[dict[str, Callable[[Sequence[Any]], Columns]]] = {
    "interaction": interaction_columns,
    "feedback": feedback_columns,
}
