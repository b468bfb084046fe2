"""`tidewatch backtest`: the whole suite of labelled incidents, scored."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from streams.backtest.figures import figures_of
from streams.backtest.jobs import UnknownJob, expand
from streams.backtest.suite import Settings, run_suite
from streams.backtest.table import show
from streams.backtest.warmup import WarmUp, default_folder
from streams.commands.common import BAD_USAGE, config_option, fail, load_or_exit, progress_bar


@click.command("backtest")
@click.option(
    "--only", help="Some of it, by commas: S02/medium, S04, S08/benign, T3, quiet.", metavar="NAMES"
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Runs of each.")
@click.option(
    "--seed-offset", type=click.IntRange(0, 800_000), default=0, show_default=True, help="The first seed."
)
@click.option("--warm-up-days", type=click.FloatRange(1, 100), default=28.0, show_default=True)
@click.option("--rate-per-day", type=click.FloatRange(1000, 1e7), default=100_000.0, show_default=True)
@click.option(
    "--max-days", type=click.FloatRange(0.1, 100), default=60.0, show_default=True, help="The longest branch."
)
@click.option("--quiet-weeks", type=click.IntRange(0, 100), default=1, show_default=True, help="Per seed.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes [default: one per CPU].")
@click.option(
    "--work-dir", type=click.Path(file_okay=False, path_type=Path), help="For snapshots and results."
)
@click.option("--fresh", is_flag=True, help="Do not use what an earlier run has left.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write everything as JSON.")
@config_option
def command(
    only: str | None,
    seeds: int,
    seed_offset: int,
    warm_up_days: float,
    rate_per_day: float,
    max_days: float,
    quiet_weeks: int,
    jobs: int | None,
    work_dir: Path | None,
    fresh: bool,
    json_path: Path | None,
    config_path: Path | None,
) -> None:
    """Score detection on simulated incidents whose truth is known.

    \b
    Examples:
      tidewatch backtest --only S04/medium --seeds 1 --warm-up-days 2
      tidewatch backtest --json out.json
    """
    config = load_or_exit(config_path)
    try:
        todo = expand(
            [name for name in (only or "").split(",") if name.strip()], seeds, seed_offset, quiet_weeks
        )
    except UnknownJob as error:
        fail(f"--only: {error}", BAD_USAGE)
    settings = Settings(
        WarmUp(warm_up_days, rate_per_day),
        max_days,
        jobs or len(os.sched_getaffinity(0)),
        work_dir or default_folder(),
        fresh,
    )
    with progress_bar() as progress:
        warming = progress.add_task("warming up", total=1.0)
        running = progress.add_task("branches", total=sum(job.longest_days for job in todo))
        results = run_suite(
            config,
            todo,
            settings,
            lambda share: progress.update(warming, completed=share),
            lambda result: progress.advance(running, result.job.longest_days),
        )
    figures = figures_of(results)
    if json_path is not None:
        report = {"version": 1, "figures": figures, "results": results}
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    show(figures)
