"""One fleet with learned baselines: quiet traffic through DECIDE once, its snapshot kept on disk."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.backtest.plain import PlainDetectors
from streams.backtest.windows import simulated
from streams.config import Config
from streams.decide import Decide
from streams.simulate.incidents import DAY_MS, HOUR_MS
from streams.simulate.traffic import TrafficSpec

PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
END_MS: Final = 1_791_331_200_000
"""2026-10-07, a Wednesday: the warm-up ends with a weekday, wherever it begins."""
STEP_MS: Final = 3 * HOUR_MS
BEGINNINGS: Final = 8
"""The last day is kept every three hours: a branch begins shortly before its incident, whatever the time of day."""
SEED: Final = 900_001
"""Of the traffic that is learned from; no branch has it."""
_NOT_DETECTION: Final = ("backtest", "commands", "demo", "operate", "series")
"""Folders of ``streams`` that no result of detection depends on."""
_KEPT_SECS: Final = 7 * 86_400
_LIBRARIES: Final = ("numpy", "river", "msgspec", "zstandard")


class WarmUp(NamedTuple):
    """How the fleet learns before the branches begin."""

    days: float
    rate_per_day: float

    @property
    def start_ms(self) -> int:
        """At a full hour."""
        return END_MS - round(self.days * DAY_MS / HOUR_MS) * HOUR_MS

    @property
    def beginnings_ms(self) -> list[int]:
        """Where branches may begin, ascending; the last is the end."""
        return [END_MS - STEP_MS * back for back in reversed(range(BEGINNINGS))]


def default_folder() -> Path:
    """Where backtests keep what they can use again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tidewatch" / "backtest"


def code_key(config: Config) -> str:
    """A hash of everything that decides what is detected: program, libraries, configuration."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(
        config.model_dump_json(
            include={"windows", "segments", "limits", "detect", "triage", "rules"}
        ).encode()
    )
    digest.update(platform.python_version().encode())
    for name in _LIBRARIES:
        digest.update(version(name).encode())
    for folder in ("detectors", "streams"):
        for path in sorted((PACKAGE_ROOT / folder).rglob("*.py")):
            parts = path.relative_to(PACKAGE_ROOT).parts
            if not (parts[0] == "streams" and parts[1] in _NOT_DETECTION):
                digest.update("/".join(parts).encode() + path.read_bytes())
    return digest.hexdigest()


class Fleet(NamedTuple):
    """What a branch begins with."""

    decide: Decide
    plain: PlainDetectors


class Snapshots:
    """The fleet at each beginning, on disk; and how far an interrupted warm-up has come."""

    def __init__(self, folder: Path, config: Config, warm_up: WarmUp) -> None:
        self._config = config
        self._warm_up = warm_up
        self._stem = folder / f"warm-{code_key(config)}-{warm_up.days:g}d-{warm_up.rate_per_day:g}"

    def path(self, at_ms: int) -> Path:
        """Of the snapshot at one of ``WarmUp.beginnings_ms``."""
        return self._stem.with_name(f"{self._stem.name}-{(END_MS - at_ms) // HOUR_MS}h.snapshot")

    def make(self, progress: Callable[[float], None], *, fresh: bool) -> None:
        """Make those that are missing. ``progress`` hears the share that is done.

        Raises:
            OSError: the folder cannot be used.
        """
        wanted = self._warm_up.beginnings_ms
        if not fresh and all(self.path(at_ms).exists() for at_ms in wanted):
            return
        self._stem.parent.mkdir(parents=True, exist_ok=True)
        _forget_old(self._stem.parent)
        kept = self._stem.with_name(f"{self._stem.name}-part.snapshot")
        fleet = Fleet(Decide(self._config), PlainDetectors())
        if kept.exists() and not fresh:
            fleet = self._read(kept)
        start_ms, window_ms = self._warm_up.start_ms, self._config.base_window_ms
        from_ms = start_ms + fleet.decide.windows_closed * window_ms
        spec = TrafficSpec.per_day(
            from_ms, (END_MS - from_ms) / DAY_MS, self._warm_up.rate_per_day, seed=SEED
        )
        for window in simulated(self._config, spec):
            decision = fleet.decide.decide(window.start_ms, window.block, window.changes)
            end_ms = window.start_ms + window_ms
            fleet.plain.learn(decision.window, watch=end_ms > END_MS - DAY_MS)
            if end_ms in wanted:
                _write(self.path(end_ms), fleet)
            elif end_ms % DAY_MS == 0:
                _write(kept, fleet)
            if end_ms % HOUR_MS == 0:
                progress((end_ms - start_ms) / (END_MS - start_ms))
        kept.unlink(missing_ok=True)

    def read(self, at_ms: int) -> Fleet:
        """The fleet at one of ``WarmUp.beginnings_ms``. Raises OSError if it was not made."""
        return self._read(self.path(at_ms))

    def _read(self, path: Path) -> Fleet:
        decide_state, plain_state = msgspec.msgpack.decode(path.read_bytes(), type=tuple[bytes, bytes])
        decide, anew = Decide.restore(self._config, decide_state)
        if anew:
            raise ValueError(f"{path}: the warm-up does not fit this program: {anew[0]}")
        return Fleet(decide, PlainDetectors.from_state(plain_state))


def _forget_old(folder: Path) -> None:
    """Remove snapshots that were made some days ago: every change of the program has others."""
    for path in folder.glob("warm-*.snapshot"):
        if time.time() - path.stat().st_mtime > _KEPT_SECS:
            path.unlink(missing_ok=True)


def _write(path: Path, fleet: Fleet) -> None:
    """All or nothing."""
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(msgspec.msgpack.encode((fleet.decide.snapshot(), fleet.plain.to_state())))
    partial.replace(path)
