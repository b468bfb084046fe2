"""The rules of the structure, checked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("streams", "sinks", "detectors")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PURE_STAGES = [
    *("admission", "aggregate", "closing", "columns", "contents", "decide", "decode", "events"),
    *("messages", "partials", "segments", "signals", "stages", "summaries", "windows"),
]
CLOCKS = re.compile(
    r"^\s*(import|from) (asyncio|time|random|secrets|socket|threading|faust|aiokafka|sqlite3)\b", re.M
)


def test_imports_go_one_way() -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_one_reason_to_change(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("name", PURE_STAGES)
def test_stages_have_no_clock_no_randomness_and_no_driver(name: str) -> None:
    assert not CLOCKS.search((ROOT / "streams" / f"{name}.py").read_text("utf-8"))


def test_the_pure_core_has_no_clock_no_randomness_and_no_driver() -> None:
    offenders = [p.name for p in (ROOT / "detectors").rglob("*.py") if CLOCKS.search(p.read_text("utf-8"))]
    assert offenders == []


def test_every_package_and_module_says_what_it_is_for() -> None:
    silent = [
        str(p.relative_to(ROOT)) for p in MODULES if not p.read_text("utf-8").startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_the_hash_of_python_is_not_used_where_results_come_from() -> None:
    """``hash()`` differs from process to process; results must not."""
    uses = [p.name for p in MODULES if re.search(r"(?<![\w.])hash\(", p.read_text("utf-8"))]
    assert uses == []


def test_the_lock_files_cover_the_declared_dependencies() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    declared = re.findall(r'^    "([A-Za-z0-9_.-]+)', project.split("[dependency-groups]")[0], re.M)
    locked = (ROOT / "requirements.lock").read_text("utf-8")
    missing = [name for name in declared if not re.search(rf"^{re.escape(name)}==", locked, re.M | re.I)]
    assert declared
    assert missing == []
