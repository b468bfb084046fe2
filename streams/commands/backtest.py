"""`tidewatch backtest`: detection scored on simulated incidents, or on the user's own history and labels."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console

from streams import __version__
from streams.backtest.figures import figures_of
from streams.backtest.history import NoWindows, run_history
from streams.backtest.history_table import show_history
from streams.backtest.jobs import Job, UnknownJob, expand
from streams.backtest.labels import BadLabels, read_labels
from streams.backtest.reference import for_reference
from streams.backtest.report import VERSION, Made, Report, write
from streams.backtest.rules import BadRule, read_rules
from streams.backtest.suite import Settings, run_suite
from streams.backtest.table import show
from streams.backtest.warmup import WarmUp, default_folder
from streams.commands.common import BAD_USAGE, config_option, fail, load_or_exit, progress_bar
from streams.config import Config
from streams.files import UnreadableFile, total_bytes


class _Own(NamedTuple):
    """The user's own history."""

    events: tuple[Path, ...]
    labels: Path | None
    rules: tuple[str, ...]


@click.command("backtest")
@click.option(
    "--only", metavar="NAMES", help="Some of the suite, by commas: S02/medium, S04, S08/benign, T3, quiet."
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="Runs of each, on other traffic.",
)
@click.option(
    "--long-seeds",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="The same for what takes more than two and a half days.",
)
@click.option(
    "--seed-offset", type=click.IntRange(0, 800_000), default=0, show_default=True, help="The first seed."
)
@click.option(
    "--quiet-weeks", type=click.IntRange(0, 100), default=1, show_default=True, help="Quiet weeks per seed."
)
@click.option(
    "--warm-up-days",
    type=click.FloatRange(1, 100),
    default=28.0,
    show_default=True,
    help="Quiet traffic that the baselines are learned from.",
)
@click.option(
    "--rate-per-day",
    type=click.FloatRange(1000, 1e7),
    default=100_000.0,
    show_default=True,
    help="Interactions on a weekday.",
)
@click.option(
    "--max-days",
    type=click.FloatRange(0.1, 100),
    default=60.0,
    show_default=True,
    help="Cut longer branches off; what was not found until then counts as missed.",
)
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes [default: one per CPU].")
@click.option(
    "--work-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="For snapshots and results [default: in the user's cache folder].",
)
@click.option("--fresh", is_flag=True, help="Do not use what an earlier run has left.")
@click.option(
    "--events",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Your own history instead of the suite: files as `tidewatch replay` reads them.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="What really happened in it: CSV with start,end and any of id,segment,type,severity,origin,target_events; "
    "or the truth that `tidewatch simulate` wrote.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="TOML",
    help="Try a rule on it: a file with [[rules]], or one as an inline table.",
)
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write the suite's figures as one page: .html or .md."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write everything as JSON.")
@config_option
def command(
    only: str | None,
    seeds: int,
    long_seeds: int,
    seed_offset: int,
    quiet_weeks: int,
    warm_up_days: float,
    rate_per_day: float,
    max_days: float,
    jobs: int | None,
    work_dir: Path | None,
    fresh: bool,
    events: tuple[Path, ...],
    labels: Path | None,
    rules: tuple[str, ...],
    report: Path | None,
    json_path: Path | None,
    config_path: Path | None,
) -> None:
    """Score detection: on simulated incidents whose truth is known, or on your own history.

    The suite is 22 incidents in three strengths, their benign twins, eight traps and quiet weeks, each from a fleet
    with learned baselines; what is done is kept, and an interrupted run goes on where it was.

    \b
    Examples:
      tidewatch backtest --only S04/medium --seeds 1 --warm-up-days 2
      tidewatch backtest --json out.json
      tidewatch backtest --events history.jsonl.zst --labels incidents.csv
      tidewatch backtest --events simulated.jsonl.zst --labels truth.json
      tidewatch backtest --events history.jsonl --labels incidents.csv --rule
          '{ name = "refusals", signal = "refusal_ratio", warning = 0.1, segments = [{ model = "*" }] }'
    """
    config = load_or_exit(config_path)
    if report is not None and (events or report.suffix not in (".html", ".md")):
        fail(f"--report: got {report}; expected a name in .html or .md, of the suite", BAD_USAGE)
    if events:
        _history(config, _Own(events, labels, rules), json_path)
        return
    if labels or rules:
        fail("--labels and --rule speak of a history; name its files with --events", BAD_USAGE)
    try:
        names = [name for name in (only or "").split(",") if name.strip()]
        todo = expand(names, seeds, seed_offset, quiet_weeks, long_seeds)
    except UnknownJob as error:
        fail(f"--only: {error}", BAD_USAGE)
    settings = Settings(
        WarmUp(warm_up_days, rate_per_day),
        max_days,
        jobs or len(os.sched_getaffinity(0)),
        work_dir or default_folder(),
        fresh,
    )
    _suite(for_reference(config), todo, settings, report, json_path)


def _suite(
    config: Config, todo: list[Job], settings: Settings, page: Path | None, json_path: Path | None
) -> None:
    try:
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
    except OSError as error:
        fail(f"{error.filename or settings.folder}: {error.strerror}; choose another --work-dir")
    made = Made(
        program=__version__,
        seeds=sorted({job.seed for job in todo if job.kind != "quiet"} or {job.seed for job in todo}),
        warm_up_days=settings.warm_up.days,
        rate_per_day=settings.warm_up.rate_per_day,
        max_days=settings.max_days,
        window_secs=config.windows.base_secs,
        lateness_secs=config.windows.allowed_lateness_secs,
    )
    report = Report(VERSION, made, figures_of(results))
    _write(json_path, msgspec.structs.asdict(report) | {"branches": results})
    if page is not None:
        try:
            write(report, page)
        except OSError as error:
            fail(f"--report {page}: {error.strerror}; choose another place")
    show(report, _console())


def _console() -> Console:
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 220)


def _history(config: Config, own: _Own, json_path: Path | None) -> None:
    try:
        found = read_labels(own.labels) if own.labels else []
        rules = [rule for text in own.rules for rule in read_rules(text, config)]
    except BadLabels as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(BAD_USAGE)
    except BadRule as error:
        fail(str(error), BAD_USAGE)
    try:
        with progress_bar() as progress:
            task = progress.add_task("replaying", total=total_bytes(own.events))
            history = run_history(
                config,
                own.events,
                found,
                rules,
                int(time.time() * 1000),
                lambda done: progress.update(task, completed=done),
            )
    except (UnreadableFile, NoWindows) as error:
        fail(str(error))
    _write(json_path, {"version": VERSION, "history": history})
    show_history(history, _console())


def _write(path: Path | None, report: object) -> None:
    if path is None:
        return
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    except OSError as error:
        fail(f"--json {path}: {error.strerror}; choose another place")
