"""What goes in and out of the stages: records as drivers hand them over, messages as drivers must send them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

import msgspec

_LOG_APPEND_TIME: Final = 1
_TIMESTAMP: Final = attrgetter("timestamp")


class Record(Protocol):
    """A record of any topic; aiokafka's ``ConsumerRecord`` is one."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Epoch ms."""

    @property
    def timestamp_type(self) -> int:
        """0: stamped by the producer, 1: by the broker on append."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class LocalRecord(msgspec.Struct, frozen=True, gc=False):
    """A record with just what the stages need, cheap to make."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    key: bytes | None = None
    timestamp: int = 0
    timestamp_type: int = 0


class Message(NamedTuple):
    """Something to be produced, and awaited until it is durable."""

    topic: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def append_times_ms(records: Sequence[Record]) -> list[int] | None:
    """When the broker appended each of them; None where producers stamp records."""
    if not records or records[0].timestamp_type != _LOG_APPEND_TIME:
        return None
    return list(map(_TIMESTAMP, records))
