"""Feedback as columns: the one place that reads votes and verdicts for the measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from streams.columns import MAX_REMEMBERED, Fields, Read, numbers
from streams.events import USER_FEEDBACK, Feedback, is_thumbs_down
from streams.verdicts import corrected, failed, unsupported


class _Verdicts(dict[tuple[str, str | None], bool | None]):
    """(name, label) of a record -> what it says about one question."""

    def __init__(self, of: Callable[[str, str], bool | None]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, said: tuple[str, str | None]) -> bool | None:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        name, label = said
        verdict = self[said] = None if label is None else self._of(name, label)
        return verdict


_FAILED: Final = _Verdicts(failed)
_UNSUPPORTED: Final = _Verdicts(unsupported)
_CORRECTED: Final = _Verdicts(corrected)


def _read(records: Sequence[Feedback]) -> Read:
    said = [(record.name, record.label) for record in records]
    flags = numbers(
        thumbs_down=[is_thumbs_down(record) for record in records],
        judge_fail=[_FAILED[what] for what in said],
        unsupported_claim=[_UNSUPPORTED[what] for what in said],
        user_corrected=[_CORRECTED[what] for what in said],
    )
    scores = [None if record.name == USER_FEEDBACK else record.score for record in records]
    ids = [record.event_id or record.trace_id or "" for record in records]
    return Read(ids, flags, numbers(judge_score=scores), {})


FEEDBACK_FIELDS: Final = Fields(
    _read, are_interactions=False, categories=("evaluator_version",), labels_of={}
)
