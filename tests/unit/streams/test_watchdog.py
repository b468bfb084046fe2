"""When the watchdog ends a worker, and when it does not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from streams.chunks import Standing
from streams.operate.config import WatchdogConfig
from streams.operate.vitals import Vitals
from streams.transport import TP
from streams.watchdog import BLOCKED_EXIT_CODE, STUCK_EXIT_CODE, Stalled, Watchdog

PARTITION = TP("llm.interactions", 0)
LIMITS = WatchdogConfig(unready_secs=4, stall_secs=10, restore_secs=12, call_secs=30)
BEGIN_SECS = 16.0


@dataclass
class View:
    """What a watchdog sees: the consumer's side and the driver's."""

    end: int = 100
    done: dict[TP, int | None] = field(default_factory=lambda: {PARTITION: 50})
    position: int | None = 50
    broker: bool = True
    held: bool = False
    joined: bool = True
    vitals: Vitals = field(default_factory=Vitals)

    def __post_init__(self) -> None:
        self.watchdog = Watchdog(LIMITS, self.vitals, begin_secs=BEGIN_SECS)

    def look(self, secs: float) -> list[str]:
        """Let time go by, a second at a time; the reasons at its end."""
        for _ in range(int(secs)):
            standing = (
                {PARTITION: Standing(1, 0, self.position, self.end, self.held)} if self.broker else None
            )
            self.watchdog.look({PARTITION} if self.joined else None, standing, self.done, 1.0)
        return self.watchdog.reasons()


def test_a_lag_that_stands_still_is_not_ready_and_then_ends_the_worker() -> None:
    view = View()
    assert view.look(4) == []
    assert view.look(1) == ["llm.interactions-0 stands at 50 of 100 for 4 s"]
    with pytest.raises(Stalled, match=r"llm\.interactions-0 stands at 50 of 100"):
        view.look(6)


def test_a_partition_that_is_held_stands_still_on_purpose() -> None:
    view = View(held=True)
    assert view.look(60) == []
    view.held = False
    with pytest.raises(Stalled):
        view.look(12)


def test_progress_makes_it_ready_again() -> None:
    view = View()
    for done in (50, 51, 52, 53):
        view.done[PARTITION] = done
        view.look(6)
    view.done[PARTITION] = 54
    assert view.look(1) == []


@pytest.mark.parametrize(
    "view",
    [
        View(done={PARTITION: 100}),
        View(done={PARTITION: None}, position=0, end=0),
        View(done={PARTITION: None}, position=100),
        View(broker=False),
    ],
    ids=["caught up", "empty", "expired by retention", "no broker to ask"],
)
def test_standing_still_for_a_reason_is_no_stall(view: View) -> None:
    view.look(60)


def test_a_broker_that_does_not_answer_makes_it_not_ready_but_does_not_end_it() -> None:
    assert View(broker=False).look(600) == ["the broker has not answered for 600 s"]


def test_calls_that_are_slow_but_return_never_end_it() -> None:
    """A broker with a round trip of some seconds, or a store that puts every write off for 10 s."""
    view = View()
    for _ in range(30):
        with view.vitals.waiting("the store's next try"):
            view.look(10)


def test_a_call_that_does_not_return_ends_it_after_its_own_limit() -> None:
    view = View()
    with view.vitals.waiting("a delivery"):
        assert view.look(30) == ["waits for a delivery for 29 s"]
        with pytest.raises(Stalled, match="a delivery has not got on for 30 seconds"):
            view.look(1)


def test_a_long_restore_that_gets_on_is_not_ready_and_lives() -> None:
    view = View(done={PARTITION: None})
    pieces: list[int] = []
    with view.vitals.waiting("the checkpoint", restoring=True, life=lambda: len(pieces)):
        for piece in range(20):
            pieces.append(piece)
            assert view.look(8) == ["waits for the checkpoint for 7 s"]
    view.done[PARTITION] = 50
    assert view.look(1) == []


def test_a_restore_may_take_longer_than_a_stall_while_it_gets_on_all_the_time() -> None:
    view = View(done={PARTITION: None})
    pieces: list[int] = []
    with view.vitals.waiting("the checkpoint", restoring=True, life=lambda: len(pieces)):
        for piece in range(3 * int(LIMITS.stall_secs)):
            pieces.append(piece)
            view.look(1)


def test_a_restore_that_does_not_get_on_ends_it_even_without_records() -> None:
    view = View(done={PARTITION: None}, end=0, position=0)
    with (
        view.vitals.waiting("the checkpoint", restoring=True),
        pytest.raises(Stalled, match="the checkpoint has not got on for 12 seconds"),
    ):
        view.look(14)


def test_an_assigned_partition_has_the_time_of_a_rebalance_to_begin() -> None:
    view = View(done={}, end=0, position=0)
    view.look(BEGIN_SECS)
    with pytest.raises(Stalled):
        view.look(1)


def test_a_group_that_never_takes_us_ends_the_worker() -> None:
    view = View(joined=False)
    view.look(2 * BEGIN_SECS - 1)
    with pytest.raises(Stalled, match="the consumer group has not taken us"):
        view.look(1)


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=25, check=False
    )


def test_a_blocked_event_loop_ends_the_process() -> None:
    ended = run(
        "import asyncio, time\n"
        "from streams.logs import configure_logging\n"
        "from streams.watchdog import LoopGuard\n"
        "async def main():\n"
        "    LoopGuard(asyncio.get_running_loop(), blocked_secs=0.2, tick_secs=0.05).start()\n"
        "    await asyncio.sleep(0.3)\n"
        "    print('alive', flush=True)\n"
        "    time.sleep(30)\n"
        "configure_logging()\n"
        "asyncio.run(main())\n"
    )
    assert ended.returncode == BLOCKED_EXIT_CODE
    assert ended.stdout == "alive\n"
    assert '"what": "the event loop"' in ended.stderr


def test_whatever_hangs_the_process_ends_within_its_limit() -> None:
    ended = run("import time; from streams.watchdog import end_within; end_within(0.2); time.sleep(30)")
    assert ended.returncode == STUCK_EXIT_CODE


def test_a_store_that_is_away_for_long_never_ends_the_worker() -> None:
    view = View()
    for _ in range(100):  # each try fails at once, and each pause is a new one
        with view.vitals.waiting("the store"):
            pass
        with view.vitals.waiting("the store's next try", on_purpose=True):
            view.look(2)
    with view.vitals.waiting("the store's next try", on_purpose=True):
        view.look(10 * LIMITS.call_secs)
