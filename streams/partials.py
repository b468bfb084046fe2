"""The records of ``tidewatch.partials``: what AGGREGATE tells DECIDE, in the order of one log."""

from __future__ import annotations

from typing import Any, Final

import msgspec

FIRST_LAYOUT: Final = "\n".join(
    (
        *(
            "flag error",
            "flag refusal",
            "flag idk",
            "flag out_of_scope",
            "flag schema_valid",
            "flag cache_hit",
        ),
        *("flag safety_flag", "flag thumbs_down", "value duration_ms 0.001 histogram"),
        *("value ttft_ms 0.001 histogram", "value tokens_in 1.0", "value tokens_out 1.0"),
        *("value cost_usd 1e-08", "value retrieval_score 1e-06", "value retrieved_chunks 1.0"),
        *("value judge_score 1e-06", "category finish_reason", "category model_served"),
    )
)
"""Signature of the layout of version 0.1.0, whose partials did not name it."""


class Partial(msgspec.Struct, frozen=True, tag="partial", array_like=True):
    """One piece of what a source saw in one base window; void until a watermark of its attempt seals it."""

    source: str
    """``<topic>-<partition>``."""
    attempt: str
    """New at every assignment of the partition."""
    window_start_ms: int
    piece: int
    """Number of the piece, from 0; the same piece twice (a repeated send) counts once."""
    block: bytes
    """``detectors.sketches.block.encode``."""
    layout: str = FIRST_LAYOUT
    """``detectors.sketches.translation.signature`` of the layout that the block is written in."""


class Notices(msgspec.Struct, frozen=True, tag="notices", array_like=True):
    """Change events that a source saw in one base window; void until sealed, like a partial."""

    source: str
    attempt: str
    window_start_ms: int
    changes: list[dict[str, Any]]


class Watermark(msgspec.Struct, frozen=True, tag="watermark", array_like=True):
    """All windows of ``source`` that end by ``sealed_until_ms`` are complete, with this attempt's partials."""

    source: str
    attempt: str
    sealed_until_ms: int | None
    """None while the source has seen no record."""
    upto_offset: int
    """Next offset to be read when this was written."""
    max_event_ms: int | None
    idle: bool
    """Caught up and quiet: the source does not hold up the others."""
    quiet_ms: int
    """How long it has been quiet (elapsed, counted tick by tick)."""
    sources_total: int
    """How many sources the fleet has; no window closes before each has been heard."""
    late: int
    """Records that were late, in this attempt."""
    duplicates: int
    unknown_fields: int
    empty: int
    """Records without a value."""
    begins: bool | None = None
    """The first of its attempt, which speaks for the source from here on; None where the program did not say."""


LogRecord = Partial | Notices | Watermark

_TAGS: Final = ("partial", "notices", "watermark")
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[LogRecord] = msgspec.msgpack.Decoder(LogRecord)


def encode_log_record(record: LogRecord) -> bytes:
    return _ENCODER.encode(record)


class ForeignRecord(ValueError):
    """None of our programs wrote this."""


class NewerRecord(Exception):
    """A newer program wrote this; says what to do."""


def decode_log_record(data: bytes) -> LogRecord:
    """The inverse of ``encode_log_record``.

    The tag is the kind and the version of a record: a form that this program could not read has another, such as
    ``partial/2``.

    Raises:
        NewerRecord: it is of one of our kinds, in a version that this program does not know.
        ForeignRecord: it is anything else.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        if (tag := _tag_of(data)) is not None:
            raise NewerRecord(
                f"a record of tidewatch.partials: got {tag!r}; expected one of {', '.join(_TAGS)}. A newer "
                "Tidewatch wrote it: use that version for every worker of the fleet"
            ) from None
        raise ForeignRecord(str(error)) from None


def _tag_of(data: bytes) -> str | None:
    """The tag of a record that is ours but for its version."""
    try:
        tag, *_ = msgspec.msgpack.decode(data, type=list[Any])
    except (msgspec.MsgspecError, ValueError):
        return None
    ours = isinstance(tag, str) and tag not in _TAGS and tag.partition("/")[0] in _TAGS
    return tag if ours else None
