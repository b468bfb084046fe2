"""Records as they arrive: some late, some twice."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from streams.simulate.events import Event

LONGEST_DELAY_MS: Final = 600_000
_DISORDER: Final = 9
"""Tag of the random stream that delays are drawn from."""


def disordered(
    events: Iterable[Event], late_share: float, duplicate_share: float, seed: int
) -> Iterator[Event]:
    """The events in the order of their arrival.

    ``late_share`` of them arrive up to ten minutes after they occurred, ``duplicate_share`` arrive a second time.
    Holds no more than ten minutes of events.
    """
    rng = np.random.default_rng([seed, _DISORDER])
    held: list[tuple[int, int, Event]] = []
    for number, event in enumerate(events):
        now_ms = event.occurred_at_ms
        while held and held[0][0] <= now_ms:
            yield heapq.heappop(held)[2]
        late, again, delay, second = rng.random(4).tolist()
        arrives_ms = now_ms + int(delay * LONGEST_DELAY_MS) if late < late_share else now_ms
        heapq.heappush(held, (arrives_ms, 2 * number, event))
        if again < duplicate_share:
            heapq.heappush(held, (arrives_ms + int(second * LONGEST_DELAY_MS), 2 * number + 1, event))
    while held:
        yield heapq.heappop(held)[2]
