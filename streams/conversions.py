"""Applies the alias table: a decoded JSON object in any accepted naming becomes one in our own names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec

from streams.aliases import (
    ALIASES,
    FREE_OBJECT,
    FREE_PREFIX,
    INDEXED,
    PROMOTED,
    STARTS,
    Alias,
)
from streams.events import STRUCTS, Stream, epoch_ms

Fields = dict[str, Any]


class Unusable(ValueError):
    """A foreign name holds a value that its conversion cannot read."""

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self.name = name


_OPERATIONS: Final = {
    "llm": "chat",
    "completion": "text_completion",
    "embedding": "embeddings",
    "retriever": "retrieval",
    "tool": "execute_tool",
    "agent": "invoke_agent",
    "chain": "invoke_workflow",
    "workflow": "invoke_workflow",
}
_ZONED: Final = Annotated[datetime, msgspec.Meta(tz=True)]
_MAX_NANOS: Final = 1 << 63


def _integer(value: object) -> object:
    """OTLP/JSON writes 64-bit integers as decimal strings."""
    if not isinstance(value, str):
        return value
    digits = value.strip()
    if not (digits.isascii() and digits.removeprefix("-").isdigit() and len(digits) <= 20):
        raise ValueError("an integer")
    return int(digits)


def _nanos(value: object) -> int:
    nanos = _integer(value)
    if isinstance(nanos, bool) or not isinstance(nanos, int) or abs(nanos) > _MAX_NANOS:
        raise ValueError("nanoseconds as an integer or a decimal string")
    return nanos


def _secs_to_ms(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise ValueError("a number of seconds")
    return value * 1_000.0


def _join(value: object) -> object:
    """Several choices may end differently: the distinct reasons, sorted: their order cannot matter."""
    if not isinstance(value, list):
        return value
    if not all(isinstance(reason, str) for reason in value):
        raise ValueError("an array of strings")
    return "+".join(sorted({reason for reason in value if reason})) or None


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, order="deterministic").decode()


def _operation(value: object) -> object:
    return _OPERATIONS.get(value.lower(), value.lower()) if isinstance(value, str) else value


def _documents(value: object) -> list[Fields]:
    """Ids and scores only: the documents' text is not needed, and need not travel further."""
    if not isinstance(value, list):
        raise ValueError("an array of documents")
    documents = []
    for item in value:
        if not isinstance(item, dict):
            raise ValueError("an array of objects")
        inner = item.get("document", item)
        source = inner if isinstance(inner, dict) else item
        documents.append({key: source.get(key, source.get(f"document.{key}")) for key in ("id", "score")})
    return documents


CONVERSIONS: Final[dict[str, Callable[[Any], object]]] = {
    "as_is": lambda value: value,
    "documents": _documents,
    "integer": _integer,
    "join": _join,
    "nanos_to_epoch_ms": lambda value: _nanos(value) // 1_000_000,
    "operation": _operation,
    "secs_to_ms": _secs_to_ms,
    "text": _text,
}


def _by_name(aliases: Iterable[Alias]) -> dict[str, list[tuple[int, Alias]]]:
    table: dict[str, list[tuple[int, Alias]]] = {}
    for rank, alias in enumerate(aliases):
        table.setdefault(alias.name, []).append((rank, alias))
    return table


_BY_NAME: Final = {stream: _by_name(aliases) for stream, aliases in ALIASES.items()}
_OWN: Final = {stream: frozenset(struct.__struct_fields__) for stream, struct in STRUCTS.items()}

_BOTH: Final = {stream: tuple(sorted(_OWN[stream] & _BY_NAME[stream].keys())) for stream in STRUCTS}
"""Our own names that also stand in for another field of ours: ``span_id`` for ``event_id``."""


def own_names(stream: Stream, fields: Fields) -> tuple[Fields, list[str]]:
    """Our own names for ``fields``, and the names that mean nothing to us.

    An own name with a value wins over every alias of it; among aliases the first row of the table wins.
    Raises ``Unusable`` for a foreign value that cannot be converted.
    """
    own_fields, by_name = _OWN[stream], _BY_NAME[stream]
    own = fields.copy()
    found: list[tuple[int, Alias]] = []
    special: list[str] = []
    unknown: list[str] = []
    for name in sorted(fields.keys() - own_fields):
        del own[name]
        aliases = by_name.get(name)
        if aliases is not None:
            found += aliases
        else:
            (special if _is_special(stream, name) else unknown).append(name)
    for name in _BOTH[stream]:
        if name in own:
            found += by_name[name]
    found.sort()
    for _, alias in found:
        value = fields[alias.name]
        if value is not None:
            _put(own, alias, value)
    if isinstance(own.get("tool_calls"), _Parts):
        own["tool_calls"] = [own["tool_calls"]]
    if special:
        _special_names(stream, own, fields, special)
    return own, unknown


def _put(own: Fields, alias: Alias, value: object) -> None:
    target, _, part = alias.field.partition(".")
    if part:
        # A part fills an object of its own making, never one that the producer gave under our name.
        holder = own.get(target)
        if holder is None:
            holder = own[target] = _Parts()
        if not isinstance(holder, _Parts):
            return
        own, target = holder, part
    if own.get(target) is None:
        try:
            own[target] = CONVERSIONS[alias.convert](value)
        except ValueError as error:
            raise Unusable(alias.name, str(error)) from None


class _Parts(dict[str, Any]):
    """A structured field put together from parts."""


@lru_cache(maxsize=1024)
def _is_special(stream: Stream, name: str) -> bool:
    if stream == "change":
        return False
    if name == FREE_OBJECT or name.startswith(FREE_PREFIX):
        return True
    return stream == "interaction" and (name in STARTS or _indexed_field(name) is not None)


def _indexed_field(name: str) -> str | None:
    for prefix, field in INDEXED.items():
        if name.startswith(prefix) and name[len(prefix) :].partition(".")[0].isdecimal():
            return field
    return None


def _special_names(stream: Stream, own: Fields, fields: Fields, names: list[str]) -> None:
    messages: dict[str, Fields] = {}
    free: Fields = {}
    for name in names:
        value = fields[name]
        if value is None:
            continue
        if name in STARTS:
            if own.get("duration_ms") is None:
                own["duration_ms"] = _span_duration_ms(name, value, fields, own.get("occurred_at"))
        elif name == FREE_OBJECT:
            free.update(_free_object(value))
        elif name.startswith(FREE_PREFIX):
            free[name.removeprefix(FREE_PREFIX)] = value
        elif (field := _indexed_field(name)) is not None:
            messages.setdefault(field, {})[name] = value
    for field, parts in messages.items():
        if own.get(field) is None:
            own[field] = _text(parts)
    if free:
        _free_dimensions(_OWN[stream], own, free)


def _free_object(value: object) -> Fields:
    """OpenInference's ``metadata``: an object, or one as JSON text."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise Unusable(FREE_OBJECT, "an object or its JSON text") from None
    if not isinstance(value, dict):
        raise Unusable(FREE_OBJECT, "an object or its JSON text")
    return value


def _free_dimensions(own_fields: frozenset[str], own: Fields, free: Fields) -> None:
    attributes = own.get("attributes")
    if attributes is not None and not isinstance(attributes, dict):
        return  # mistyped under our own name: the type check says so
    merged = {name: value for name, value in free.items() if isinstance(value, str | int | float | bool)}
    for name in PROMOTED & own_fields & merged.keys():
        value = merged.pop(name)
        if own.get(name) is None:
            own[name] = value
    own["attributes"] = merged | (attributes or {})


def _span_duration_ms(name: str, start: object, fields: Fields, occurred_at: object) -> float | None:
    end = fields.get(STARTS[name])
    if end is None:
        end = occurred_at
    try:
        if name != "start_time":
            return None if end is None else (_end_nanos(name, end, fields) - _nanos(start)) / 1e6
        began = msgspec.convert(start, _ZONED)
        if isinstance(end, int) and not isinstance(end, bool):
            return float(end - epoch_ms(began))
        lasted: timedelta = msgspec.convert(end, _ZONED) - began
        return lasted.total_seconds() * 1_000.0
    except msgspec.ValidationError:
        raise Unusable(name, "RFC 3339 with an offset, for start and end") from None
    except ValueError as error:
        raise Unusable(name, str(error)) from None


def _end_nanos(name: str, end: object, fields: Fields) -> int:
    if STARTS[name] in fields:
        return _nanos(end)
    if isinstance(end, str):
        return epoch_ms(msgspec.convert(end, _ZONED)) * 1_000_000
    return _nanos(end) * 1_000_000
