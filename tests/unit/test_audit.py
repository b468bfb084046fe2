"""The dependency audit tells "nothing known" from "could not look"; the lock files pin every package by hash."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.audit import CLEAN, LOCKS, ROOT, UNKNOWN, VULNERABLE, verdict

FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "text"),
    [
        ([FINE], CLEAN, "1 packages, no known vulnerability"),
        ([FINE, BAD], VULNERABLE, "b 2: PYSEC-1, fixed in 3"),
        ([FINE, SKIPPED], UNKNOWN, "1 of 2 packages were not looked up (not found on PyPI)"),
        ([BAD, SKIPPED], VULNERABLE, "b 2: PYSEC-1"),
    ],
)
def test_the_verdict(packages: list[dict[str, Any]], code: int, text: str) -> None:
    found, lines = verdict({"dependencies": packages})
    assert found == code
    assert text in "\n".join(lines)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    pins = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)[1:]
    assert len(pins) > 30
    assert [pin.split("\n")[0] for pin in pins if "--hash=sha256:" not in pin or "==" not in pin] == []
