"""When the watchdog ends a worker, and when it does not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from streams.transport import TP, Standing
from streams.watchdog import BLOCKED_EXIT_CODE, Stalled, Watchdog

PARTITION = TP("llm.interactions", 0)


@dataclass
class View:
    """What a watchdog sees: the consumer's side and the driver's."""

    end: int = 100
    done: dict[TP, int | None] = field(default_factory=lambda: {PARTITION: 50})
    position: int | None = 50
    dead: BaseException | None = None
    broker: bool = True
    waits: bool = False

    def failure(self) -> BaseException | None:
        return self.dead

    def assignment(self) -> set[TP]:
        return {PARTITION}

    async def standing(self, tps: set[TP]) -> dict[TP, Standing]:
        if not self.broker:
            raise ConnectionError("no broker")
        return {PARTITION: Standing(1, 0, self.position, self.end)}

    def watchdog(self) -> Watchdog:
        return Watchdog(
            self,  # type: ignore[arg-type]
            lambda: self.done,
            lambda error: None,
            stall_secs=10.0,
            waiting=lambda: self.waits,
        )


async def look(watchdog: Watchdog, ticks: int) -> None:
    for _ in range(ticks):
        await watchdog._look(2.0)


async def test_a_lag_that_stands_still_ends_the_worker() -> None:
    with pytest.raises(Stalled, match=r"llm\.interactions-0 stands at 50 of 100"):
        await look(View().watchdog(), 7)


async def test_a_short_stand_still_does_not() -> None:
    await look(View().watchdog(), 5)


async def test_progress_starts_the_count_again() -> None:
    view = View()
    watchdog = view.watchdog()
    for done in (50, 51, 52, 53):
        view.done[PARTITION] = done
        await look(watchdog, 5)


@pytest.mark.parametrize(
    "view",
    [
        View(done={PARTITION: 100}),
        View(done={PARTITION: None}, position=0, end=0),
        View(done={PARTITION: None}, position=100),
        View(waits=True),
        View(broker=False),
    ],
    ids=["caught up", "empty", "expired by retention", "the sink is away", "no broker to ask"],
)
async def test_standing_still_for_a_reason_is_no_stall(view: View) -> None:
    await look(view.watchdog(), 20)


async def test_an_assigned_partition_that_never_begins_is_a_stall_even_without_records() -> None:
    with pytest.raises(Stalled):
        await look(View(done={}, end=0, position=0).watchdog(), 7)


async def test_a_dead_background_task_ends_the_worker_at_once() -> None:
    with pytest.raises(Stalled, match="fetcher died"):
        await look(View(dead=RuntimeError("fetcher died"), done={PARTITION: 100}).watchdog(), 1)


def test_a_blocked_event_loop_ends_the_process() -> None:
    program = (
        "import asyncio, time\n"
        "from streams.watchdog import LoopGuard\n"
        "async def main():\n"
        "    LoopGuard(asyncio.get_running_loop(), blocked_secs=0.2, tick_secs=0.05).start()\n"
        "    await asyncio.sleep(0.3)\n"
        "    print('alive', flush=True)\n"
        "    time.sleep(30)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=25, check=False
    )
    assert ended.returncode == BLOCKED_EXIT_CODE
    assert ended.stdout == "alive\n"
    assert "the event loop is blocked" in ended.stderr
