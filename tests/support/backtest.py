"""The recorded run of the suite: docs/backtest.json, and the tables that docs/detection.md shows of it.

``python -m tests.support.backtest OUT.json`` takes over what ``tidewatch backtest --json OUT.json`` wrote, figures
without branches, and makes the docs anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from streams.backtest.report import Report, comparison, groups, markdown_table, summary

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "backtest.json"


def record(run: Path, file: Path = FILE) -> Report:
    """Keep the figures of a run. Raises msgspec.ValidationError for what is none."""
    report = msgspec.json.decode(run.read_bytes(), type=Report)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return report


def table(file: Path = FILE) -> Iterator[str]:
    """The recorded run as Markdown."""
    if not file.exists():
        yield "No run of this version is recorded; `make backtest` makes one."
        return
    report = msgspec.json.decode(file.read_bytes(), type=Report)
    yield " ".join(summary(report))
    for _, rows in groups(report.figures):
        yield ""
        yield from markdown_table(rows)
    if report.figures.targets:
        heading, *found = comparison(report.figures)
        yield ""
        yield "| " + " | ".join(heading) + " |"
        yield "|---" + "|--:" * (len(heading) - 1) + "|"
        for row in found:
            yield "| " + " | ".join(row) + " |"


def main() -> int:
    from tests.support.generate_docs import write

    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    record(Path(sys.argv[1]))
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
