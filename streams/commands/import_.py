"""`tidewatch import`: foreign logs become events."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, get_args

import click
import orjson

from detectors.records import rfc3339
from streams.commands.common import BAD_USAGE, FAILED, fail, progress_bar
from streams.events import Stream
from streams.files import STDIN, UnreadableFile, open_output, total_bytes
from streams.importer import Format, Importer, Plan, SourceRow, Summary, read_source
from streams.mapping import Clock, MappingError, Unconvertible, parse_map, parse_set

MAX_SHOWN_PROBLEMS: Final = 20
_FILES = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import")
@click.option(
    "--csv", "csv_files", multiple=True, type=_FILES, help="A CSV file with a header; may be repeated."
)
@click.option(
    "--jsonl", "jsonl_files", multiple=True, type=_FILES, help="A file of JSON lines; may be repeated."
)
@click.option(
    "--parquet", "parquet_files", multiple=True, type=_FILES, help="A Parquet file; may be repeated."
)
@click.option(
    "--map", "maps", multiple=True, metavar="FIELD=COLUMN[:CONVERSION]", help="Fill a field from a column."
)
@click.option(
    "--set", "sets", multiple=True, metavar="FIELD=VALUE", help="Give a field the same value in every row."
)
@click.option(
    "--kind",
    type=click.Choice(["interaction", "feedback"]),
    default="interaction",
    show_default=True,
    help="What the rows are.",
)
@click.option("--start", metavar="RFC3339", help="Numeric times are relative to this moment.")
@click.option(
    "--interval-secs",
    type=click.FloatRange(min=0, min_open=True),
    help="For files without usable times: row i is at --start plus i times this.",
)
@click.option("--delimiter", default=",", show_default=True, help="Between the columns of a CSV file.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    default=STDIN,
    help="File for the events, .jsonl, .jsonl.zst or .jsonl.gz [default: standard output].",
)
@click.option("--skip-bad", is_flag=True, help="Leave out rows that cannot be used, and count them.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object, on stderr.")
def command(
    csv_files: tuple[Path, ...],
    jsonl_files: tuple[Path, ...],
    parquet_files: tuple[Path, ...],
    maps: tuple[str, ...],
    sets: tuple[str, ...],
    kind: Stream,
    start: str | None,
    interval_secs: float | None,
    delimiter: str,
    output: Path,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Turn foreign logs into events, ready for `tidewatch replay` and `tidewatch produce`.

    A field takes its value from a column (--map) or is the same everywhere (--set). Fields are those of
    `tidewatch schema`; attributes.NAME is a free dimension; started_at stands for the beginning, when the log
    has that instead of the end. Empty cells are left out. Event ids are made from the content and the row
    number unless event_id is mapped.

    \b
    Conversions, after a colon:
      ns us ms s min h      unit of a duration or of a numeric time [default: ms]
      %d.%m.%Y %H:%M        format of a time, as in Python's strptime
      bool not              yes or no, and its opposite (for a score: 1 or 0)
      contains(TEXT)        true when the column contains TEXT
      times(NUMBER)         multiplied
      lower                 in lower case
    Times without a zone are taken for UTC, and the summary says so.

    \b
    Examples:
      tidewatch import --csv azure.csv --map occurred_at=TIMESTAMP --map tokens_in=ContextTokens \\
          --map tokens_out=GeneratedTokens --set model_requested=gpt-x --output azure.jsonl.zst
      tidewatch import --jsonl mooncake.jsonl --start 2026-01-05T09:00:00Z --map occurred_at=timestamp:ms \\
          --map tokens_in=input_length --set operation=chat --output mooncake.jsonl
      tidewatch import --csv answers.csv --start 2026-01-05T09:00:00Z --interval-secs 1 \\
          --map model_requested=model --map duration_ms=latency:s --map cost=cost > answers.jsonl
    """
    form, files = _source({"csv": csv_files, "jsonl": jsonl_files, "parquet": parquet_files})
    if len(delimiter) != 1:
        fail(f"--delimiter {delimiter!r}: expected one character", BAD_USAGE)
    try:
        plan = _plan(kind, maps, sets, start, interval_secs)
    except MappingError as error:
        fail(str(error), BAD_USAGE)
    importer = Importer(plan, now_ms=int(time.time() * 1_000))
    try:
        _run(importer, read_source(files, form, delimiter), output, skip_bad, size_bytes=total_bytes(files))
    except MappingError as error:
        fail(str(error), BAD_USAGE)
    except (UnreadableFile, OSError) as error:
        fail(str(error))
    summary = importer.summary
    _report(summary, output, as_json)
    if not summary.rows:
        fail("no rows found: is this the right file and format?", FAILED)


def _source(given: dict[Format, tuple[Path, ...]]) -> tuple[Format, tuple[Path, ...]]:
    used = [form for form in get_args(Format) if given[form]]
    if len(used) != 1:
        fail("expected files of one format: --csv FILE, --jsonl FILE or --parquet FILE", BAD_USAGE)
    return used[0], given[used[0]]


def _plan(
    kind: Stream, maps: tuple[str, ...], sets: tuple[str, ...], start: str | None, interval_secs: float | None
) -> Plan:
    constants: dict[str, object] = {}
    attributes: dict[str, object] = {}
    for name, value in (parse_set(kind, text) for text in sets):
        if name.startswith("attributes."):
            attributes[name.removeprefix("attributes.")] = value
        else:
            constants[name] = value
    if attributes:
        constants["attributes"] = attributes
    return Plan(
        kind,
        [parse_map(kind, text) for text in maps],
        constants,
        _start_ms(start),
        None if interval_secs is None else interval_secs * 1_000,
    )


def _start_ms(start: str | None) -> int | None:
    if start is None:
        return None
    try:
        return Clock().read(start, None)
    except Unconvertible:
        raise MappingError(f"--start {start}: expected a moment such as 2026-01-05T09:00:00Z") from None


def _run(
    importer: Importer, rows: Iterable[SourceRow], output: Path, skip_bad: bool, size_bytes: int | None
) -> None:
    """Write the events and print the first problems.

    Bad rows that nobody said to leave out end the command after the last row, so that all of them are known, and
    the output is not kept."""
    summary = importer.summary
    with progress_bar() as progress, open_output(output) as sink:
        task = progress.add_task("importing", total=size_bytes)
        shown = 0
        for row in rows:
            made = importer.convert(row)
            if isinstance(made, bytes):
                if skip_bad or not summary.bad:
                    sink.write(made + b"\n")
            elif summary.bad <= MAX_SHOWN_PROBLEMS:
                for problem in made:
                    click.echo(f"{'skipped' if skip_bad else 'error'}: {problem}", err=True)
            if row.position_bytes != shown:
                shown = row.position_bytes
                progress.update(task, completed=shown)
        if summary.bad and not skip_bad:
            fail(
                f"{summary.bad:,} of {summary.rows:,} rows cannot be used, and no file was written: correct them, "
                "or leave them out with --skip-bad"
            )


def _report(summary: Summary, output: Path, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(summary), err=True)
        return
    place = "" if output == STDIN else f" to {output}"
    span = ""
    if summary.first_ms is not None and summary.last_ms is not None:
        span = f", from {rfc3339(summary.first_ms)} to {rfc3339(summary.last_ms)}"
    click.echo(
        f"{summary.rows:,} rows, {summary.written:,} events{place}, {summary.bad:,} bad{span}", err=True
    )
    if summary.empty_columns:
        click.echo(
            f"no row has a value in {', '.join(summary.empty_columns)}: are the names right?", err=True
        )
    if summary.assumed_utc:
        click.echo(f"{summary.assumed_utc:,} times without a zone were taken for UTC", err=True)
    if summary.out_of_order:
        click.echo(
            f"{summary.out_of_order:,} events are earlier than one before them: sort by time before a replay",
            err=True,
        )
