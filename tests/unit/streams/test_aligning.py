"""Partitions that are far ahead of what DECIDE has closed are held, and go on when the others have come up."""

from __future__ import annotations

import asyncio

import pytest

from streams.aligning import Alignment, Reached
from streams.transport import TP

FAST, SLOW = TP("llm.interactions", 0), TP("llm.interactions", 1)
AHEAD_MS = 120_000


class Fleet:
    """DECIDE as a worker asks for it, and what its consumer is told to hold."""

    def __init__(self) -> None:
        self.reached: int | None = None
        self.told: list[frozenset[TP]] = []
        self.alignment = Alignment(AHEAD_MS, self.told.append, self.ask)

    async def ask(self) -> Reached | None:
        return None if self.reached is None else Reached(self.reached)

    def renew(self, fast_ms: int | None, slow_ms: int | None) -> None:
        asyncio.run(self.alignment.renew({FAST: fast_ms, SLOW: slow_ms}))


def test_what_is_ahead_is_held_at_once_and_goes_on_when_the_others_have_come_up() -> None:
    fleet = Fleet()
    fleet.reached = 1_000_000
    fleet.renew(1_000_000, 1_000_000)
    fleet.alignment.look(FAST, 1_000_000 + AHEAD_MS - 1)
    assert fleet.told == []
    fleet.alignment.look(FAST, 1_000_000 + AHEAD_MS)
    fleet.alignment.look(FAST, 1_000_000 + AHEAD_MS + 1)
    assert fleet.told == [{FAST}]
    fleet.renew(1_000_000 + AHEAD_MS, 1_050_000)
    assert fleet.told == [{FAST}], "nothing has closed"
    fleet.reached = 1_010_000
    fleet.renew(1_000_000 + AHEAD_MS, 1_050_000)
    assert fleet.told == [{FAST}, frozenset()]


def test_nobody_is_held_before_anybody_knows_how_far_the_windows_are_closed() -> None:
    fleet = Fleet()
    fleet.renew(10**12, None)
    fleet.alignment.look(FAST, 10**12)
    assert fleet.told == []


def test_a_partition_that_went_to_another_worker_is_not_held_here() -> None:
    fleet = Fleet()
    fleet.reached = 0
    fleet.renew(AHEAD_MS, None)
    assert fleet.alignment.held == {FAST}
    asyncio.run(fleet.alignment.renew({SLOW: 5}))
    assert fleet.alignment.held == frozenset()


@pytest.mark.parametrize("metadata", [None, "", "1", "1 x", "1 -5", "2 5", "1 2 3"])
def test_what_others_left_beside_an_offset_says_nothing(metadata: str | None) -> None:
    assert Reached.decode(metadata) is None
    assert Reached.decode(Reached(7).encode()) == Reached(7)
