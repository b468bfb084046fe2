"""One simulated record, and how columns become records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import orjson

from streams.simulate.effects import Columns

_ATTRIBUTES: Final = "attributes."


class Event(NamedTuple):
    """A record as a producer sends it; ``kind`` says to which input topic."""

    kind: Literal["interaction", "feedback", "change"]
    key: bytes
    occurred_at_ms: int
    value: bytes

    @property
    def stream(self) -> Literal["interaction", "feedback", "change"]:
        """The same as ``kind``, by the name that producing asks for."""
        return self.kind


def rows(columns: Columns) -> list[dict[str, Any]]:
    """Columns as dictionaries without the fields that are None: absent is how the schema says unknown.

    Columns named ``attributes.<name>`` become the entries of the field ``attributes``.
    """
    plain = {name: column for name, column in columns.items() if not name.startswith(_ATTRIBUTES)}
    free = {name.removeprefix(_ATTRIBUTES): c for name, c in columns.items() if name.startswith(_ATTRIBUTES)}
    records = _dictionaries(plain)
    if free:
        for record, attributes in zip(records, _dictionaries(free), strict=True):
            record["attributes"] = attributes
    return records


def _dictionaries(columns: Columns) -> list[dict[str, Any]]:
    fields = tuple(columns)
    table: Sequence[tuple[Any, ...]] = list(zip(*(c.tolist() for c in columns.values()), strict=True))
    return [{f: v for f, v in zip(fields, row, strict=True) if v is not None} for row in table]


def encode(kind: Literal["interaction", "feedback"], columns: Columns) -> list[Event]:
    """Columns as events; the columns ``event_id`` and ``occurred_at`` (epoch ms) must be there."""
    dumps = orjson.dumps
    return [Event(kind, row["event_id"].encode(), row["occurred_at"], dumps(row)) for row in rows(columns)]
