"""Known vulnerabilities of the locked dependencies: pip-audit, with "could not look" told from "nothing found".

``python -m tests.support.audit`` asks PyPI's advisory data about every package of the lock files. Exit codes:
0 nothing known, 1 something known, 2 the data could not be had, which says nothing about the packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
LOCKS: Final = ("requirements.lock", "requirements-dev.lock")
CLEAN, VULNERABLE, UNKNOWN = 0, 1, 2


def main() -> int:
    return max((_audit(name) for name in LOCKS), key=(CLEAN, UNKNOWN, VULNERABLE).index)


def _audit(lock: str) -> int:
    """``--disable-pip`` takes the lock file as it is: nothing is resolved or installed."""
    program = Path(sys.executable).with_name("pip-audit")
    options = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")
    done = subprocess.run(
        [program, *options, "-r", lock], cwd=ROOT, capture_output=True, text=True, check=False
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"{lock}: pip-audit ended without a report: {reason}", file=sys.stderr)
        return UNKNOWN
    code, lines = verdict(report)
    for line in lines:
        print(f"{lock}: {line}", file=sys.stderr if code else sys.stdout)
    return code


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """What pip-audit's JSON says: exit code and lines for people."""
    packages = report["dependencies"]
    known = [
        f"{package['name']} {package['version']}: {found['id']}, "
        f"fixed in {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    skipped = [package for package in packages if "skip_reason" in package]
    if skipped:
        known.append(
            f"{len(skipped)} of {len(packages)} packages were not looked up ({skipped[0]['skip_reason']}); "
            "this needs pypi.org, whose JSON API has the advisories; a mirror does not"
        )
        return (VULNERABLE if len(known) > 1 else UNKNOWN), known
    return (VULNERABLE, known) if known else (CLEAN, [f"{len(packages)} packages, no known vulnerability"])


if __name__ == "__main__":
    sys.exit(main())
