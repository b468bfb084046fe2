"""One fleet with learned baselines: quiet traffic through DECIDE once, its snapshot kept on disk."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from streams.backtest.windows import InOrder
from streams.config import Config
from streams.decide import Decide
from streams.simulate.incidents import DAY_MS, HOUR_MS
from streams.simulate.traffic import TrafficSpec, generate

PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
START_MS: Final = 1_788_739_200_000
"""2026-09-07, a Monday."""
SEED: Final = 900_001
"""Of the traffic that is learned from; no branch has it."""
_NOT_DETECTION: Final = ("backtest", "commands", "demo", "operate", "series")
"""Folders of ``streams`` that no result of detection depends on."""
_LIBRARIES: Final = ("numpy", "river", "msgspec", "zstandard")


class WarmUp(NamedTuple):
    """How the fleet learns before the branches begin."""

    days: float
    rate_per_day: float

    @property
    def end_ms(self) -> int:
        """Where the branches begin: at a full hour."""
        return START_MS + round(self.days * DAY_MS / HOUR_MS) * HOUR_MS


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


def snapshot_path(folder: Path, config: Config, warm_up: WarmUp) -> Path:
    """Where the snapshot of this warm-up of this program lies or will lie."""
    return folder / f"warm-{code_key(config)}-{warm_up.days:g}d-{warm_up.rate_per_day:g}.snapshot"


def warmed_up(
    folder: Path, config: Config, warm_up: WarmUp, progress: Callable[[float], None], *, fresh: bool = False
) -> Path:
    """The path of the snapshot; makes it, if there is none yet. ``progress`` hears the share that is done."""
    path = snapshot_path(folder, config, warm_up)
    if path.exists() and not fresh:
        return path
    decide = Decide(config)
    spec = TrafficSpec.per_day(
        START_MS, (warm_up.end_ms - START_MS) / DAY_MS, warm_up.rate_per_day, seed=SEED
    )
    windows = InOrder(config, spec)
    for batch in generate(spec):
        for window in windows.add(batch):
            decide.decide(window.start_ms, window.block)
        progress((batch[-1].occurred_at_ms - START_MS) / (warm_up.end_ms - START_MS))
    for window in windows.finish():
        decide.decide(window.start_ms, window.block)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(decide.snapshot())
    partial.replace(path)
    return path
