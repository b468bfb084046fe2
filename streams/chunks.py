"""What the transport and those who keep state for a partition say to each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from faust.types import TP


class Superseded(Exception):
    """The partition is no longer ours: another worker has it, or it began again. Drop its state."""


class Chunk(NamedTuple):
    """Records of one partition, in offset order, as aiokafka gives them (``ConsumerRecord``)."""

    tp: TP
    epoch: int
    sequence: int
    """0, 1, 2 ... within the epoch: a jump tells that Faust lost a chunk on its way."""
    records: list[Any]


class Begin(NamedTuple):
    """A partition starts to be read."""

    tp: TP
    epoch: int
    position: int | None
    """The committed offset, or None where nothing was committed (reading begins at the earliest record)."""
    metadata: str = ""
    """What was committed with it."""


class Standing(NamedTuple):
    """How far the reading of a partition is, all of it at one moment."""

    epoch: int
    handed_over: int
    """Chunks fetched in this epoch."""
    position: int | None
    """The next offset that a fetch will bring; None while unknown."""
    end: int
    """The high watermark, asked of the broker just now."""
    held: bool = False
    """Not fetched on purpose: it is ahead of the others."""
