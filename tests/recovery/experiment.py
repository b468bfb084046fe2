"""What a fault experiment is: something breaks on purpose, and the results are counted against an undisturbed run.

Experiments are registered in ``tests/recovery/experiments``. ``make faults`` runs them at their full length and
writes the table of docs/reliability.md; the test run does a short one of each.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

Component = Literal["tansu", "kafka", "chdb", "tls", "mount"]
"""``mount``: the right to mount a file system of a given size."""


class Scale(NamedTuple):
    """How much of an experiment to do."""

    short: bool
    """A minute or less, for the test run; else the full length that the table is about."""
    seed: int
    folder: Path
    """Empty; for logs, state and stores of this experiment alone."""

    def pick(self, short: int, full: int) -> int:
        return short if self.short else full

    def random(self) -> random.Random:
        return random.Random(self.seed)


class Outcome(msgspec.Struct, frozen=True):
    """What an experiment found; None where it does not apply."""

    runs: int
    faults: int
    """Faults injected over all runs."""
    lost: int
    """Rows of the undisturbed run (or records sent) that are missing or have other contents."""
    doubled: int
    """Rows, by identity, that are there with more than one content, or stored more than once."""
    worst_stall_secs: float | None = None
    """Longest time without progress after the fault was over."""
    worst_rss_mb: float | None = None
    notes: str = ""
    """Further figures in words, for the table."""
    failures: tuple[str, ...] = ()
    """Goals that were not met, in words; empty when all is well."""

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.failures)


class Experiment(NamedTuple):
    """One row of the table."""

    name: str
    """Short and stable: ``kill-random``."""
    what: str
    """What breaks, in a few words."""
    goal: str
    needs: tuple[Component, ...]
    run: Callable[[Scale], Outcome]
    short_secs: float = 60.0
    """Limit of the short version in the test run."""
