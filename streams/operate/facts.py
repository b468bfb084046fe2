"""What a whole group of workers looks like from one of them: lag in seconds, silence, dead letters; pure.

Everything is made from the ends of topics and the group's committed offsets, sampled every few seconds. So it
covers the partitions of workers that are dead or paused, and does not believe anybody's clock but the observer's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from streams.operate.monitoring import Reading
from streams.transport import TP

MAX_SAMPLES: Final = 240
"""Of a partition; beyond that every second one is dropped, and a long lag is known less exactly."""
MIN_LETTERS: Final = 20
"""A ratio of fewer dead letters says little."""


class _Ends:
    """When the end of a partition was where."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now_secs: float, end: int) -> None:
        if not self._samples or self._samples[-1][1] != end:
            self._samples.append((now_secs, end))
        if len(self._samples) > MAX_SAMPLES:
            self._samples = deque(list(self._samples)[::2])

    def waiting_secs(self, now_secs: float, committed: int) -> float:
        """For how long the first record that is not committed has waited, as far as we have watched."""
        while len(self._samples) > 1 and self._samples[0][1] <= committed:
            self._samples.popleft()
        since_secs, end = self._samples[0]
        return now_secs - since_secs if end > committed else 0.0


class GroupFacts:
    """The history of one group's topics.

    ``silent`` are the topics that never fall silent while all is well.
    """

    def __init__(self, silent: frozenset[str], span_secs: float) -> None:
        self._silent = silent
        self._span_secs = span_secs
        self._ends: dict[TP, _Ends] = {}
        self._last_growth: dict[str, tuple[int, float]] = {}
        self._letters: deque[tuple[float, int, int]] = deque()
        """(when, end of the dead letters, records of all inputs)."""

    def lags(self, now_secs: float, ends: Mapping[TP, int], committed: Mapping[TP, int]) -> Iterator[Reading]:
        """One reading a topic: the longest wait over its partitions, and how many records wait."""
        longest: dict[str, float] = {}
        records: dict[str, int] = {}
        for tp, end in ends.items():
            history = self._ends.setdefault(tp, _Ends())
            history.add(now_secs, end)
            done = committed.get(tp, 0)
            waiting_secs = history.waiting_secs(now_secs, done)
            longest[tp.topic] = max(longest.get(tp.topic, 0.0), waiting_secs)
            records[tp.topic] = records.get(tp.topic, 0) + max(0, end - done)
        for topic, secs in longest.items():
            yield Reading("lag", topic, secs, records[topic])

    def silence(self, now_secs: float, ends: Mapping[TP, int]) -> Iterator[Reading]:
        """One reading a topic that should not be silent; one that never had a record is not in use."""
        for topic, total in _totals(ends).items():
            if topic not in self._silent:
                continue
            before, since_secs = self._last_growth.get(topic, (-1, now_secs))
            if total != before:
                since_secs = now_secs
            self._last_growth[topic] = (total, since_secs)
            yield Reading("silent_producer", topic, now_secs - since_secs if total else 0.0, total)

    def dead_letters(self, now_secs: float, letters: int, ends: Mapping[TP, int]) -> Reading:
        """The share of input records that were refused in the last span."""
        self._letters.append((now_secs, letters, sum(ends.values())))
        while len(self._letters) > 2 and self._letters[1][0] <= now_secs - self._span_secs:
            self._letters.popleft()
        _, letters_before, records_before = self._letters[0]
        refused, arrived = letters - letters_before, sum(ends.values()) - records_before
        ratio = min(1.0, refused / max(arrived, refused)) if refused >= MIN_LETTERS else 0.0
        return Reading("dead_letters", "all inputs", ratio, refused)


def _totals(ends: Mapping[TP, int]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for tp, end in ends.items():
        totals[tp.topic] = totals.get(tp.topic, 0) + end
    return totals
