"""Which events an incident touches, counted as the traffic goes by."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from streams.backtest.scoring import Affected, Label
from streams.simulate.events import Event

_ATTRIBUTE: Final = "attributes."


class _Place(msgspec.Struct):
    """What of an interaction may say that it belongs to a segment."""

    tenant: str | None = None
    feature: str | None = None
    topic: str | None = None
    region: str | None = None
    provider: str | None = None
    model_requested: str | None = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    attributes: Mapping[str, str] = {}


_DECODER: Final = msgspec.json.Decoder(_Place)


class Counter:
    """Times of the interactions of each label's segment, from where its delay begins to run."""

    def __init__(self, labels: Sequence[Label], segments: Sequence[Mapping[str, str]]) -> None:
        """``segments`` are the labels' in the events' own field names."""
        self._from_ms = [
            label.start_ms if label.counts_from_ms is None else label.counts_from_ms for label in labels
        ]
        self._segments = [dict(segment) for segment in segments]
        self._times = [array("q") for _ in labels]

    def add(self, events: Iterable[Event]) -> None:
        """Take in a batch in the order of time."""
        for event in events:
            if event.kind != "interaction":
                continue
            place: _Place | None = None
            for from_ms, segment, times in zip(self._from_ms, self._segments, self._times, strict=True):
                if event.occurred_at_ms < from_ms:
                    continue
                if segment:
                    place = place or _DECODER.decode(event.value)
                    if not _belongs(place, segment):
                        continue
                times.append(event.occurred_at_ms)

    def affected(self, at: int) -> Affected:
        """Of the label at this position."""
        return Affected(np.array(self._times[at], np.int64))


def _belongs(place: _Place, segment: Mapping[str, str]) -> bool:
    return all(
        (
            place.attributes.get(name.removeprefix(_ATTRIBUTE))
            if name.startswith(_ATTRIBUTE)
            else getattr(place, name)
        )
        == value
        for name, value in segment.items()
    )
