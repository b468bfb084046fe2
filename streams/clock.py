"""Event time of a source that fell quiet, as it is kept beside the committed offset.

When a source is quiet, what it has open is sealed. That is no function of its records: whoever reads them again
after a crash would find the windows open, and put late feedback into windows that are sealed for everybody else,
where it would be lost. So what is sealed, and before which record, is committed *before* it is done, and whoever
reads on from there does the same at the same place. Once it is done the time stays beside the offset as long as
records are read again from there, since nothing among them would tell it: so there can be two, the one from which
the present windows began, and the one at which they end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

_VERSION: Final = "2"


class Clock(NamedTuple):
    """How far event time has come before a record."""

    max_event_ms: int
    sealed_until_ms: int
    at_offset: int
    """The record before which that is so; those before it are read as if it were not."""


def encode_clocks(clocks: Iterable[Clock]) -> str:
    """What to commit beside an offset; empty for none."""
    numbers = [str(number) for clock in clocks for number in clock]
    return " ".join([_VERSION, *numbers]) if numbers else ""


def decode_clocks(metadata: str | None) -> list[Clock]:
    """The clocks of ``encode_clocks``, ascending; none for what it did not write: other tools may move offsets."""
    version, *words = (metadata or "").split(" ")
    if not all(word.isdecimal() for word in words):
        return []
    numbers = [int(word) for word in words]
    if (
        version == "1" and len(numbers) == 2
    ):  # written where nothing was open: it holds from the committed offset on
        return [Clock(numbers[0], numbers[1], 0)]
    if version != _VERSION or len(numbers) % 3:
        return []
    return [Clock(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]
