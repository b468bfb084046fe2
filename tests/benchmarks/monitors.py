"""``python -m tests.benchmarks.monitors``: what one update of a monitor costs, and its state, as fleets grow.

A monitor is a series: one signal of one segment. Windows go through the whole of DECIDE, triage included; counted
are the series that had a value. State is that of DETECT in bytes, before compression, without the panes of rules.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from streams.allocator import give_memory_back
from streams.decide import Decide
from streams.decide_state import decode
from streams.signals import LAYOUT
from tests.benchmarks.fleets import fleet_of, windows

MONITORS: Final = (1_000, 10_000, 100_000)
WARM_UP: Final = 75
"""Windows until baselines are ready, detectors have state and segments their table of the week."""
MEASURED: Final = 15
MARK_US, MARK_BYTES = 5.0, 3_000.0
MARK_GROWTH: Final = 1.5
"""So many times as much an update may cost in the largest fleet as in the one before: memory is not all cache."""


def main() -> int:
    arguments = _arguments()
    console = Console()
    give_memory_back()  # as the workers do
    found = [measure(monitors) for monitors in track(MONITORS, "measuring", console=console)]
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n")
    table = Table(
        "monitors", "updates a window", "us an update", "bytes a monitor", title="DECIDE as fleets grow"
    )
    for one in found:
        table.add_row(*(f"{one[name]:,.{digits}f}" for name, digits in _SHOWN.items()))
    console.print(table)
    growth = found[-1]["us_per_update"] / found[-2]["us_per_update"]
    verdicts = {
        f"us an update in the largest fleet at most {MARK_US:g}": found[-1]["us_per_update"] <= MARK_US,
        f"bytes a monitor at most {MARK_BYTES:g}": found[-1]["bytes_per_monitor"] <= MARK_BYTES,
        f"ten times the monitors: {growth:.2f} times per update, at most {MARK_GROWTH:g}": growth
        <= MARK_GROWTH,
    }
    for what, met in verdicts.items():
        console.print(f"{what}: {'met' if met else 'missed'}", highlight=False)
    return 0 if all(verdicts.values()) else 1


_SHOWN: Final = {"monitors": 0, "updates_per_window": 0, "us_per_update": 2, "bytes_per_monitor": 0}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.monitors", description=__doc__)
    parser.add_argument("--json", help="Write the figures to this file.")
    return parser.parse_args()


def measure(monitors: int) -> dict[str, float]:
    """Processor time of an update, and bytes of state, with about so many monitors."""
    segments = round(monitors / len(LAYOUT.numeric_signals))
    decide, took_us, updates = Decide(fleet_of(segments)), [], 0
    for number, (start_ms, block) in enumerate(windows(segments, WARM_UP + MEASURED)):
        began = time.process_time()
        decision = decide.decide(start_ms, block, [])
        if number >= WARM_UP:
            updates = int((decision.window.counts > 0).sum())
            took_us.append((time.process_time() - began) * 1e6 / updates)
    detect = msgspec.msgpack.decode(decode(decide.snapshot()).detect)
    state = {name: part for name, part in detect.items() if name != "rules"}
    return {
        "monitors": segments * len(LAYOUT.numeric_signals),
        "updates_per_window": updates,
        "us_per_update": statistics.median(took_us),
        "bytes_per_monitor": _bytes(state) / (segments * len(LAYOUT.numeric_signals)),
    }


def _bytes(state: Any) -> int:
    """Of the arrays and names in a state."""
    if isinstance(state, Mapping):
        return sum(_bytes(part) for part in state.values())
    if isinstance(state, list | tuple):
        return sum(_bytes(part) for part in state)
    return len(state) if isinstance(state, bytes | str) else 8


if __name__ == "__main__":
    raise SystemExit(main())
