"""What is kept of a record that could not be used: why, where its bytes are, and a beginning without texts.

The raw bytes stay where they were. Equal records at equal places give equal letters, so repeats after a restart
are recognised by ``dead_letter_id``. A flood of bad records is cheap: beyond a rate they share letters.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Final, Protocol

import msgspec

from detectors.records import stable_id
from streams.diagnosis import BadRecord
from streams.events import Stream
from streams.redact import redact_head

HEAD_BYTES: Final = 1024
RATE_CAPPED: Final = "rate_capped"
"""``reason`` of a letter that stands for many: the rate of letters was over its cap."""


class Located(Protocol):
    """A record and its place in the log."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record of ``llm.deadletters``."""

    dead_letter_id: str
    """Stable hash of source topic, partition and offset."""
    kind: Stream
    """What the record was read as."""
    reason: str
    """One of ``streams.diagnosis.REASONS``, or ``rate_capped``."""
    path: str
    """The field, such as ``$.tokens_in``; ``$`` is the record."""
    detail: str
    """What was expected, never a value of the record."""
    sha256: str
    """Of the raw bytes, hex; of the first record when ``count`` is more than one."""
    size_bytes: int
    source_topic: str
    source_partition: int
    source_offset: int
    source_offset_last: int
    """The same as ``source_offset`` unless the letter stands for a range."""
    count: int
    """How many bad records the letter stands for."""
    head: str
    """The first KiB, redacted; empty when the letter stands for a range."""


def dead_letter(record: Located, bad: BadRecord, kind: Stream) -> DeadLetter:
    """The letter of one bad record."""
    value = record.value or b""
    return DeadLetter(
        dead_letter_id=stable_id(record.topic, record.partition, record.offset),
        kind=kind,
        reason=bad.reason,
        path=bad.path,
        detail=bad.detail,
        sha256=hashlib.sha256(value).hexdigest(),
        size_bytes=len(value),
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_offset_last=record.offset,
        count=1,
        head=redact_head(value[:HEAD_BYTES].decode(errors="replace")),
    )


def capped_letter(first: Located, last_offset: int, reasons: Counter[str], kind: Stream) -> DeadLetter:
    """One letter for all bad records from ``first`` to ``last_offset`` that have none of their own, by reason."""
    value = first.value or b""
    count = reasons.total()
    return DeadLetter(
        dead_letter_id=stable_id(first.topic, first.partition, first.offset, last_offset),
        kind=kind,
        reason=RATE_CAPPED,
        path="$",
        detail=f"{count} bad records in this range of offsets: "
        + ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items())),
        sha256=hashlib.sha256(value).hexdigest(),
        size_bytes=len(value),
        source_topic=first.topic,
        source_partition=first.partition,
        source_offset=first.offset,
        source_offset_last=last_offset,
        count=count,
        head="",
    )


class RateCap:
    """The letters of one source: the first ``per_1000`` bad ones of each thousand offsets get their own.

    Offsets decide, not clocks or chunks: however the same log is cut, the same records have letters of their own.
    The rest share one for each chunk and thousand, since offsets may be committed only after all letters. A source
    that begins again within a thousand begins to count again: too many letters, never too few.
    """

    def __init__(self, kind: Stream, per_1000: int) -> None:
        self._kind = kind
        self._per_1000 = per_1000
        self._thousand = -1
        self._given = 0
        self.unlettered = 0
        """Bad records that share the letter of others."""

    def letters(self, records: Sequence[Located], bad: Sequence[tuple[int, BadRecord]]) -> list[DeadLetter]:
        """For the bad ones of a chunk, which are given by index, ascending."""
        letters = []
        for thousand, several in groupby(bad, lambda at: records[at[0]].offset // 1000):
            if thousand != self._thousand:
                self._thousand, self._given = thousand, 0
            refused = list(several)
            own, shared = refused[: self._per_1000 - self._given], refused[self._per_1000 - self._given :]
            self._given += len(own)
            letters += [dead_letter(records[at], why, self._kind) for at, why in own]
            if shared:
                reasons = Counter[str](why.reason for _, why in shared)
                last_offset = records[shared[-1][0]].offset
                letters.append(capped_letter(records[shared[0][0]], last_offset, reasons, self._kind))
                self.unlettered += len(shared)
        return letters


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """The wire form: one JSON object."""
    return _ENCODER.encode(letter)


def decode_dead_letter(value: bytes) -> DeadLetter:
    """Inverse of ``encode_dead_letter``. Raises ``msgspec.DecodeError``."""
    return _DECODER.decode(value)


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(DeadLetter)
