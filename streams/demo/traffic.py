"""Simulated traffic, taken step by step, into which an incident may be put while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from streams.simulate import Effect, Event, TrafficSpec, generate


class Traffic:
    """The events of a specification, taken in time order; an incident may still be added to the future."""

    def __init__(self, spec: TrafficSpec) -> None:
        self._spec = spec
        self._events = _flat(spec)
        self._next = next(self._events, None)
        self._until_ms = spec.end_ms
        self._then: TrafficSpec | None = None

    def strike(self, at_ms: int, effects: Sequence[Effect]) -> None:
        """From ``at_ms`` on the traffic has these effects; nothing before it changes, and nothing is lost.

        The generator gives the events of two adjoining spans exactly as it gives those of the whole.
        """
        rest_secs = (self._spec.end_ms - at_ms) / 1000
        self._then = replace(self._spec, start_ms=at_ms, duration_secs=rest_secs, effects=tuple(effects))
        self._until_ms = at_ms

    def take(self, before_ms: int) -> list[Event]:
        """The events not taken yet that occurred before ``before_ms``."""
        taken = self._take(min(before_ms, self._until_ms))
        if self._then is not None and before_ms > self._until_ms:
            self._spec, self._then = self._then, None
            self._events, self._until_ms = _flat(self._spec), self._spec.end_ms
            self._next = next(self._events, None)
            taken += self._take(before_ms)
        return taken

    def _take(self, before_ms: int) -> list[Event]:
        taken = []
        event = self._next
        while event is not None and event.occurred_at_ms < before_ms:
            taken.append(event)
            event = next(self._events, None)
        self._next = event
        return taken


def _flat(spec: TrafficSpec) -> Iterator[Event]:
    return chain.from_iterable(generate(spec))
