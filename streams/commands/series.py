"""`tidewatch series`: changes and novelties in time series from CSV files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, cast

import click
import orjson

from detectors.series.detector import DEFAULT_ARL, KINDS, Kind
from streams.commands.common import BAD_USAGE, FAILED, fail, progress_bar
from streams.pools import pool_of
from streams.series.run import Outcome, detect_file

_WORTH_PROCESSES_BYTES: Final = 4_000_000
"""Below, one process is done before others have started."""


@click.command("series")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.csv...")
@click.option("--kind", type=click.Choice(KINDS), default="mean", show_default=True, help="What a value is.")
@click.option(
    "--output",
    "output_dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for one file of verdicts per series; made if needed.",
)
@click.option(
    "--arl",
    default=DEFAULT_ARL,
    show_default=True,
    type=click.FloatRange(100, 1e12),
    help="Mean rows between false alarms of one series.",
)
@click.option(
    "--plot", is_flag=True, help="Also draw value, expected band, alarms and score beside it, as PNG."
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary of every file as JSON.")
def command(
    files: tuple[Path, ...], kind: str, output_dir: Path, arl: float, plot: bool, as_json: bool
) -> None:
    """Find changes and novelties in time series: one row of verdict for every row, from earlier rows only.

    Each file has a header timestamp,value[,n]; times are ISO 8601 or epoch seconds or milliseconds. Written
    are timestamp,value,score,alarm,change_point,expected,lower,upper: score from 0 to 1 on one scale for all
    series (0.5 and above deserve a look), alarm 0 or 1, and on an alarm the timestamp at which the change
    began.

    \b
    mean   any number: latency, tokens, degrees
    ratio  0 to 1, of n trials (1 if there is no column n)
    count  whole numbers per interval, or per n of exposure
    rate   0 or more, per second of n seconds

    An empty or NaN value is a gap: score 0, nothing learned. A row that is wrong is reported and treated as one.

    Exit code 0: done. 1: a file could not be used (the others are done). 2: bad usage.

    \b
    Examples:
      tidewatch series latency.csv --kind mean --output verdicts
      tidewatch series errors-*.csv --kind ratio --output verdicts --plot
      tidewatch series cpu.csv --kind mean --arl 10000 --output verdicts --json
    """
    outputs = _outputs(files, output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--output {output_dir}: {error.strerror}; name a folder that can be written", BAD_USAGE)
    outcomes = []
    with progress_bar() as progress:
        task = progress.add_task("series", total=len(files))
        for outcome in _detect(outputs, cast(Kind, kind), arl, plot):
            outcomes.append(outcome)
            for problem in outcome.problems:
                progress.console.print(f"warning: {problem}", markup=False, highlight=False, soft_wrap=True)
            if outcome.bad_rows > len(outcome.problems):
                rest = outcome.bad_rows - len(outcome.problems)
                progress.console.print(
                    f"warning: {outcome.source}: and {rest:,} more rows", markup=False, soft_wrap=True
                )
            if outcome.error:
                progress.console.print(
                    f"error: {outcome.error}", markup=False, highlight=False, soft_wrap=True
                )
            progress.advance(task)
    _report(outcomes, as_json)
    if any(outcome.error for outcome in outcomes):
        raise SystemExit(FAILED)


def _outputs(files: tuple[Path, ...], folder: Path) -> dict[Path, Path]:
    """Where the verdicts of each file go: never over one another, never over an input."""
    outputs: dict[Path, Path] = {}
    names: dict[str, Path] = {}
    for file in files:
        output = folder / f"{file.stem}.csv"
        if output.name in names:
            fail(
                f"{names[output.name]} and {file}: both would write {output}; expected files of different "
                "names. Rename one, or run twice with another --output",
                BAD_USAGE,
            )
        if output.resolve() == file.resolve():
            fail(f"{file}: the verdicts would replace it; name another folder with --output", BAD_USAGE)
        names[output.name] = file
        outputs[file] = output
    return outputs


def _detect(outputs: dict[Path, Path], kind: Kind, arl: float, plot: bool) -> Iterator[Outcome]:
    """Outcomes in the order of the files."""
    one = partial(_one, kind=kind, arl=arl, plot=plot)
    processes = min(len(os.sched_getaffinity(0)), len(outputs))
    size_bytes = sum(file.stat().st_size for file in outputs if file.exists())
    if processes < 2 or size_bytes < _WORTH_PROCESSES_BYTES:
        yield from map(one, outputs, outputs.values())
        return
    with pool_of(processes) as pool:
        yield from pool.map(one, outputs, outputs.values())


def _one(source: Path, output: Path, kind: Kind, arl: float, plot: bool) -> Outcome:
    outcome = detect_file(source, output, kind, arl)
    if plot and outcome.output:
        from streams.series.plotting import draw

        draw(output, output.with_suffix(".png"))
    return outcome


def _report(outcomes: list[Outcome], as_json: bool) -> None:
    if as_json:
        listed = [
            outcome._asdict() | {"alarms": [alarm._asdict() for alarm in outcome.alarms]}
            for outcome in outcomes
        ]
        click.echo(orjson.dumps({"series": listed}, option=orjson.OPT_INDENT_2).decode())
        return
    for outcome in outcomes:
        for alarm in outcome.alarms:
            click.echo(f"{outcome.source}: alarm at {alarm.timestamp}, change since {alarm.change_point}")
    done = [outcome for outcome in outcomes if not outcome.error]
    click.echo(
        f"{len(done):,} of {len(outcomes):,} series, {sum(outcome.rows for outcome in done):,} rows, "
        f"{sum(outcome.gaps for outcome in done):,} gaps, {sum(len(outcome.alarms) for outcome in done):,} alarms",
        err=True,
    )
