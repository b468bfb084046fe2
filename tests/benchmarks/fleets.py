"""Fleets of any size as closed windows: every segment alike, all signals but quantiles and mixes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.records import FLEET, SegmentKey
from detectors.sketches.block import Block
from detectors.sketches.entries import EMPTY
from detectors.sketches.exemplars import NO_EXEMPLARS
from streams.config import Config
from streams.signals import LAYOUT

BASE_MS: Final = 60_000
START_MS: Final = 1_790_000_040_000
_RANGE: Final = {
    "sum": (4_000, 6_000), "held": (0, 5), "error.held": (0, 1), "tool_errors.sum": (0, 5),
    "judge_score.sum": (17_000_000, 19_000_000),
}  # fmt: skip
"""Of a counter, or of its kind: nothing that a rule or a detector would mind."""


def fleet_of(segments: int) -> Config:
    """The configuration of a fleet of so many segments, the whole fleet included."""
    limits = {"max_per_segmentation": segments, "max_total": segments}
    return Config.model_validate(
        {"windows": {"base_secs": BASE_MS // 1000}, "segments": {"by": [["tenant"]], **limits}}
    )


def windows(segments: int, count: int) -> Iterator[tuple[int, Block]]:
    """(start, block) of ``count`` windows."""
    rng = np.random.default_rng(1)
    keys = sorted([FLEET, *(SegmentKey(("tenant",), (f"tenant-{n:05d}",)) for n in range(segments - 1))])
    for window in range(count):
        counters = np.zeros((len(keys), LAYOUT.width), np.int64)
        for name, at in LAYOUT.column.items():
            low, high = _RANGE.get(name) or _RANGE.get(name.rpartition(".")[2], (15, 25))
            counters[:, at] = rng.integers(low, high, len(keys))
        yield START_MS + window * BASE_MS, Block(keys, counters, EMPTY, EMPTY, [], NO_EXEMPLARS)
