"""``python -m tests.recovery``: run the fault experiments at full length, print and record what they found."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from tests.recovery import report
from tests.recovery.discovery import chosen
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import Missing, require
from tests.support.generate_docs import write

OUT = Console()


def main() -> int:
    options = _options()
    try:
        experiments = chosen(options.only)
    except KeyError as unknown:
        OUT.print(f"no experiment {unknown}; --list shows them")
        return 2
    if options.list:
        for experiment in experiments:
            OUT.print(f"{experiment.name:24} {experiment.what}", highlight=False)
        return 0
    bad = 0
    for experiment in experiments:
        outcome = _run(experiment, short=options.short, seed=options.seed, keep=options.keep)
        if outcome is None:
            bad += experiment.name in (options.only or "").split(",")
            continue
        bad += not outcome.ok
        found = report.entry(experiment, outcome, short=options.short, seed=options.seed)
        report.merge(options.json, {experiment.name: found})
    if options.json == report.FILE:
        write()
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.recovery", description=__doc__)
    parser.add_argument("--only", metavar="NAME,...", help="these experiments only")
    parser.add_argument("--short", action="store_true", help="the short versions, as in the test run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--json", type=Path, default=report.FILE, help="where results are merged into, by name"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and stores there")
    parser.add_argument("--list", action="store_true", help="name the experiments and stop")
    return parser.parse_args()


def _run(experiment: Experiment, *, short: bool, seed: int, keep: Path | None) -> Outcome | None:
    """The outcome; None if a component is missing. An error of the experiment is a failure of it."""
    try:
        for component in experiment.needs:
            require(component)
    except Missing as missing:
        OUT.print(f"[yellow]-[/] {experiment.name}: cannot run here; {missing}", highlight=False)
        return None
    began = time.monotonic()
    with _folder(keep, experiment.name) as folder, OUT.status(f"{experiment.name}: {experiment.what}"):
        try:
            outcome = experiment.run(Scale(short, seed, folder))
        except Exception as error:
            OUT.print(traceback.format_exc(), markup=False, highlight=False)
            outcome = Outcome(1, 0, 0, 0, failures=(f"did not finish: {str(error).splitlines()[0][:200]}",))
    mark = "[green]✓[/]" if outcome.ok else "[red]✗[/]"
    OUT.print(
        f"{mark} {experiment.name}: {outcome.runs} runs, {outcome.faults} faults, {outcome.lost} lost, "
        f"{outcome.doubled} doubled; {outcome.notes} ({time.monotonic() - began:.0f} s)",
        highlight=False,
    )
    for failure in outcome.failures:
        OUT.print(f"    [red]{failure}[/]", highlight=False)
    return outcome


@contextmanager
def _folder(keep: Path | None, name: str) -> Iterator[Path]:
    with ExitStack() as stack:
        if keep is None:
            yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"faults-{name}-")))
        else:
            folder = (keep / name).resolve()
            folder.mkdir(parents=True)
            yield folder


if __name__ == "__main__":
    sys.exit(main())
