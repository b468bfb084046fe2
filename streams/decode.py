"""Bytes to records: ``Interaction``, ``Feedback``, ``Change``, or the precise reason why not.

Two paths with one result. The fast path is msgspec's typed decoder for our own names; it refuses everything
else. Whatever it refuses takes the slow path: decode generically, translate foreign names, drop and count
unknown ones, convert, and name the reason. A good record never pays for the checks that only bad ones need.

No exception but ``BadRecord`` leaves this module, whatever the bytes. A ``BadRecord`` never holds a value of
the record: details speak of types, bounds and names of fields that are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from streams.aliases import ALIASES
from streams.conversions import Unusable, own_names
from streams.diagnosis import BadRecord, check_depth, from_validation, not_an_object, undecodable
from streams.events import (
    MAX_CLOCK_AHEAD_MS,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_RECORD_BYTES,
    MAX_TEXT_BYTES,
    MIN_TIME_MS,
    SCHEMA_VERSION,
    STRUCTS,
    Change,
    Event,
    Feedback,
    Interaction,
    Stream,
    epoch_ms,
)
from streams.shapes import SHAPES, fit

__all__ = [
    "BadRecord",
    "Chunk",
    "UnknownFields",
    "decode_change",
    "decode_chunk",
    "decode_feedback",
    "decode_interaction",
]

E_ = TypeVar("E_", Interaction, Feedback, Change)

MAX_UNKNOWN_NAMES: Final = 256
MAX_UNKNOWN_NAME_CHARS: Final = 64
OTHER_NAMES: Final = "__other__"
_COUNTED_BYTES: Final = 4096


class HasValue(Protocol):
    """Whatever carries a record's bytes."""

    @property
    def value(self) -> bytes | None: ...


class UnknownFields:
    """How often each unknown field was seen: exact in total, with a bounded number of bounded names."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.counts.total()

    def add(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self.counts:
                self.counts[name] += 1
            else:
                self._add(_printable(name), 1)

    def merge(self, other: UnknownFields) -> None:
        for name, count in other.counts.items():
            self._add(name, count)

    def _add(self, name: str, count: int) -> None:
        if name not in self.counts and len(self.counts) >= MAX_UNKNOWN_NAMES:
            name = OTHER_NAMES
        self.counts[name] += count


def _printable(name: str) -> str:
    return "".join(char for char in name[:MAX_UNKNOWN_NAME_CHARS] if char.isprintable())


class Chunk(NamedTuple, Generic[E_]):
    """What became of a chunk of records. Every index is in one of ``indices``, ``bad`` and ``empty``."""

    events: list[E_]
    indices: list[int]
    """Index in the chunk of each of ``events``, ascending."""
    bad: list[tuple[int, BadRecord]]
    empty: list[int]
    """Indices of records without a value (tombstones) or with an empty one: counted and skipped."""
    unknown: UnknownFields


_FAST: Final[dict[Stream, msgspec.json.Decoder[Any]]] = {
    stream: msgspec.json.Decoder(struct) for stream, struct in STRUCTS.items()
}


def decode_interaction(value: bytes, *, now_ms: int, unknown: UnknownFields | None = None) -> Interaction:
    """A record of ``llm.interactions``; ``occurred_at`` of the result is epoch ms. Raises ``BadRecord``."""
    return _only(Interaction, "interaction", value, now_ms, unknown)


def decode_feedback(value: bytes, *, now_ms: int, unknown: UnknownFields | None = None) -> Feedback:
    """A record of ``llm.feedback``; ``occurred_at`` of the result is epoch ms. Raises ``BadRecord``."""
    return _only(Feedback, "feedback", value, now_ms, unknown)


def decode_change(value: bytes, *, now_ms: int, unknown: UnknownFields | None = None) -> Change:
    """A record of ``llm.changes``; ``occurred_at`` of the result is epoch ms. Raises ``BadRecord``."""
    return _only(Change, "change", value, now_ms, unknown)


def _only(struct: type[E_], stream: Stream, value: bytes, now_ms: int, unknown: UnknownFields | None) -> E_:
    chunk = decode_chunk(stream, (_Carrier(value),), now_ms)
    for _, refused in chunk.bad:
        raise refused
    if chunk.empty:
        raise BadRecord("empty", "$", "no bytes")
    if unknown is not None:
        unknown.merge(chunk.unknown)
    event: E_ = chunk.events[0]
    return event


class _Carrier(NamedTuple):
    value: bytes | None


def decode_chunk(
    stream: Stream, records: Sequence[HasValue], now_ms: int, appended_ms: Sequence[int] | None = None
) -> Chunk[Any]:
    """Decode a chunk: the same results as one by one, at the speed of the typed decoder.

    ``stream`` names the kind of record. Times in the future are judged against ``appended_ms``, the broker's time
    of each record, so that a record is refused or accepted for good, whenever it is read; without it against
    ``now_ms``, the wall clock at which the chunk was taken over (or the time of the run).
    """
    decode = _FAST[stream].decode
    clock_ms = [now_ms] * len(records) if appended_ms is None else appended_ms
    horizon_ms = min(clock_ms, default=now_ms) + MAX_CLOCK_AHEAD_MS
    incomplete = _missing if stream != "interaction" else None
    events: list[Any] = []
    bad: list[tuple[int, BadRecord]] = []
    empty: list[int] = []
    unknown = UnknownFields()
    keep = events.append
    for index, record in enumerate(records):
        value = record.value
        try:
            event = decode(value)  # type: ignore[arg-type]  # None raises, and is counted as empty
            at = event.occurred_at
            if type(at) is not int:
                at = event.occurred_at = epoch_ms(at)
            # One test for the common case; its parts are told apart on the slow path.
            if (
                not MIN_TIME_MS <= at <= horizon_ms
                or len(value) > MAX_TEXT_BYTES  # type: ignore[arg-type]
                or (
                    (event.model_requested is None and event.operation is None)
                    if incomplete is None
                    else incomplete(event)
                )
            ):
                event = _slow(stream, value, clock_ms[index], unknown)  # type: ignore[arg-type]
        except Exception as error:  # whatever the decoder raises for these bytes, the slow path names it
            if not value:
                empty.append(index)
                continue
            try:
                event = _slow(stream, value, clock_ms[index], unknown, error)
            except BadRecord as refused:
                # Kept for longer than this loop: let go of the frames and of the bytes that they hold.
                refused.__context__ = None
                bad.append((index, refused.with_traceback(None)))
                continue
        keep(event)
    dropped = {*empty, *(index for index, _ in bad)}
    indices = [index for index in range(len(records)) if index not in dropped]
    return Chunk(events, indices, bad, empty, unknown)


def _missing(event: Event) -> tuple[str, str] | None:
    """Path and detail of what the type cannot express: fields of which one is required."""
    if isinstance(event, Interaction):
        if event.model_requested is None and event.operation is None:
            return "$.model_requested", "model_requested or operation is required"
    elif isinstance(event, Feedback):
        if event.event_id is None and event.trace_id is None:
            return "$.event_id", "event_id or trace_id is required"
        if event.score is None and event.label is None and event.error_type is None:
            return "$.score", "score or label is required"
    return None


def _slow(
    stream: Stream, value: bytes, now_ms: int, unknown: UnknownFields, error: Exception | None = None
) -> Event:
    """The record in any accepted naming. Raises ``BadRecord``, and nothing else.

    ``error`` is what the typed decoder raised: bytes that are malformed for it are so for every decoder.
    """
    if len(value) > MAX_RECORD_BYTES:
        raise BadRecord("too_large", "$", f"{len(value)} bytes, at most {MAX_RECORD_BYTES}")
    if type(error) is msgspec.DecodeError or type(error) is UnicodeDecodeError:
        undecodable(value, error)
    if not value.lstrip().startswith(b"{"):
        not_an_object(value)
    try:
        fields: dict[str, Any] = msgspec.json.decode(value)
    except Exception as wrong:  # DecodeError, UnicodeDecodeError, RecursionError
        undecodable(value, wrong)
    if len(fields) > MAX_FIELDS:
        raise BadRecord("too_large", "$", f"{len(fields)} fields, at most {MAX_FIELDS}")
    # Fewer brackets cannot nest deeper; in what is long, counting them takes longer than looking.
    if len(value) > _COUNTED_BYTES or value.count(b"{") + value.count(b"[") > MAX_DEPTH:
        check_depth(fields)
    _check_version(fields.get("schema_version"))
    try:
        own, dropped = own_names(stream, _without_nulls(fields))
        fit(SHAPES[stream], own, dropped)
        event: Event = msgspec.convert(own, STRUCTS[stream])
    except Unusable as wrong:
        raise BadRecord("wrong_type", f"$.{wrong.name}", str(wrong)) from None
    except msgspec.ValidationError as wrong:
        raise _named_as_given(from_validation(wrong), stream, fields) from None
    if dropped:
        unknown.add(dropped)
    event.occurred_at = at = epoch_ms(event.occurred_at)
    if at < MIN_TIME_MS:
        raise BadRecord("time_before_1971", "$.occurred_at", "before 1971-01-01T00:00:00Z")
    if at > now_ms + MAX_CLOCK_AHEAD_MS:
        ahead_secs = (at - now_ms) // 1_000
        raise BadRecord("time_in_future", "$.occurred_at", f"{ahead_secs} s ahead of the clock")
    lacking = _missing(event)
    if lacking is not None:
        raise BadRecord("missing_field", *lacking)
    return event


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """Absent and null mean the same, for required fields too."""
    if None not in fields.values():
        return fields
    return {name: value for name, value in fields.items() if value is not None}


def _check_version(version: object) -> None:
    known = version is None or (
        isinstance(version, int | float) and not isinstance(version, bool) and version == 1
    )
    if isinstance(version, str):
        major, _, minor = version.partition(".")
        known = major == "1" and (minor.isdecimal() or version == "1")
    if not known and isinstance(version, int | float | str) and not isinstance(version, bool):
        raise BadRecord(
            "unknown_schema_version", "$.schema_version", f"this program reads version {SCHEMA_VERSION}"
        )


def _named_as_given(bad: BadRecord, stream: Stream, fields: dict[str, Any]) -> BadRecord:
    """Add the name that the producer used, when the field came under a foreign one."""
    field = bad.path.removeprefix("$.").partition(".")[0].partition("[")[0]
    if fields.get(field) is None:
        for alias in ALIASES[stream]:
            if alias.field.partition(".")[0] == field and fields.get(alias.name) is not None:
                return BadRecord(bad.reason, bad.path, f"{bad.detail}; given as {alias.name}")
    return bad
