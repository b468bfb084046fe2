"""`tidewatch simulate`: a file of realistic traffic with a labelled incident in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import orjson
from rich.console import Console
from rich.table import Table

from detectors.records import rfc3339
from streams.commands.common import BAD_USAGE, fail, progress_bar
from streams.files import open_output
from streams.simulate.catalogue import QUIET, STRENGTHS, TRAPS, Plan, Span, plan
from streams.simulate.disorder import disordered
from streams.simulate.events import Event
from streams.simulate.incidents import DAY_MS, INCIDENTS
from streams.simulate.traffic import TrafficSpec, generate
from streams.simulate.truth_file import truth_file, truth_json
from streams.simulate.twins import TWINS

START: Final = "2026-09-07"
"""A Monday."""
_NAMES: Final = (*INCIDENTS, *TRAPS, QUIET)


@click.command("simulate")
@click.option("--list", "as_list", is_flag=True, help="Show the catalogue and end.")
@click.option(
    "--scenario",
    type=click.Choice(_NAMES, case_sensitive=False),
    default=QUIET,
    show_default=True,
    metavar="NAME",
    help="What happens: S01 to S22, a trap T1 to T8, or quiet (nothing).",
)
@click.option(
    "--strength", type=click.Choice(STRENGTHS), default="medium", show_default=True, help="How strongly."
)
@click.option(
    "--benign", is_flag=True, help="The scenario's benign twin instead: it looks alike and must not page."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    default=0,
    show_default=True,
    help="Other traffic of the same kind.",
)
@click.option(
    "--rate-per-day",
    type=click.FloatRange(1.0, 1e8),
    default=100_000.0,
    show_default=True,
    help="Interactions on a weekday.",
)
@click.option(
    "--days",
    type=click.FloatRange(0.001, 400.0),
    default=2.0,
    show_default=True,
    help="Length of the traffic.",
)
@click.option("--start", default=START, show_default=True, help="When it begins: RFC 3339 or a date (UTC).")
@click.option(
    "--onset-days",
    type=click.FloatRange(0.0),
    help="When the incident begins, days after the start [default: halfway].",
)
@click.option(
    "--late",
    "late_share",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    help="Share of records up to ten minutes late.",
)
@click.option(
    "--duplicates",
    "duplicate_share",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    help="Share of records sent twice.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    help="JSON lines; .zst and .gz compress; - is standard output.",
)
@click.option(
    "--truth",
    "truth_path",
    type=click.Path(path_type=Path),
    help="Where to write what really happened, as JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue or the summary as JSON.")
def command(
    as_list: bool,
    scenario: str,
    strength: str,
    benign: bool,
    seed: int,
    rate_per_day: float,
    days: float,
    start: str,
    onset_days: float | None,
    late_share: float,
    duplicate_share: float,
    output: Path | None,
    truth_path: Path | None,
    as_json: bool,
) -> None:
    """Write realistic traffic of a reference product, with an incident whose truth is known.

    The traffic is bursty, has a daily and weekly cycle, 50 tenants by Zipf's law, sampled judging and votes; its
    sizes come from real traces. The same options give the same bytes.

    \b
    Examples:
      tidewatch simulate --list
      tidewatch simulate --scenario S02 --strength medium --seed 7 --output events.jsonl.zst --truth truth.json
      tidewatch simulate --scenario S04 --benign --days 3 --output twin.jsonl
      tidewatch simulate --days 0.1 --output - | tidewatch replay -
    """
    if as_list:
        _show_catalogue(as_json)
        return
    if output is None:
        fail("no --output; name a file (.jsonl, .jsonl.gz, .jsonl.zst), or - for standard output", BAD_USAGE)
    if benign and scenario not in TWINS:
        fail(f"--benign: {scenario} has no benign twin; take one of S01 to S22", BAD_USAGE)
    start_ms = _start_ms(start)
    onset_ms = start_ms + round((days / 2 if onset_days is None else onset_days) * DAY_MS)
    span = Span(start_ms, start_ms + round(days * DAY_MS), rate_per_day, seed)
    if onset_ms >= span.end_ms and scenario != QUIET:
        fail(
            f"--onset-days {onset_days:g}: the traffic ends after {days:g} days; choose an earlier onset",
            BAD_USAGE,
        )
    made = plan(scenario, strength, onset_ms, span, benign=benign)
    made = made._replace(
        late_share=max(made.late_share, late_share),
        duplicate_share=max(made.duplicate_share, duplicate_share),
    )
    try:
        count = _write(made, span, output, quiet=as_json or output == Path("-"))
        if truth_path is not None:
            truth_path.write_bytes(
                orjson.dumps(truth_file(made.truths, span), option=orjson.OPT_INDENT_2) + b"\n"
            )
    except OSError as error:
        fail(f"{error.filename or output}: {error.strerror}; choose another place")
    summary = {
        "records": count,
        "output": str(output),
        "truth": [truth_json(truth) for truth in made.truths],
    }
    aside = output == Path("-")
    if as_json:
        click.echo(orjson.dumps(summary), err=aside)
    else:
        click.echo(f"{count:,} records in {output}", err=aside)
        for truth in made.truths:
            what = f"{truth.scenario} {truth.strength}: {truth.title}"
            click.echo(f"{what}, {rfc3339(truth.onset_ms)} to {rfc3339(truth.end_ms)}", err=aside)


def _start_ms(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--start: got {text!r}; expected a date such as 2026-09-07 or an RFC 3339 time", BAD_USAGE)
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found.timestamp() < 31_536_000:
        fail(f"--start: got {text!r}; expected a time after 1971", BAD_USAGE)
    return round(found.timestamp() * 1000)


def _write(made: Plan, span: Span, output: Path, quiet: bool) -> int:
    spec = TrafficSpec.per_day(
        span.start_ms,
        (span.end_ms - span.start_ms) / DAY_MS,
        span.rate_per_day,
        seed=span.seed,
        effects=made.effects,
    )
    count = 0
    with open_output(output) as file, progress_bar(quiet) as bar:
        task = bar.add_task("simulating", total=span.end_ms - span.start_ms)
        for event in disordered(_in_order(spec, made), made.late_share, made.duplicate_share, span.seed):
            file.write(_line(event))
            count += 1
            if count % 10_000 == 0:
                bar.update(task, completed=event.occurred_at_ms - span.start_ms)
        bar.update(task, completed=span.end_ms - span.start_ms)
    return count


def _in_order(spec: TrafficSpec, made: Plan) -> Iterator[Event]:
    """Traffic and announcements by time."""
    changes = sorted(
        (c for c in made.changes if spec.start_ms <= c.occurred_at_ms < spec.end_ms), key=lambda c: c[2]
    )
    for batch in generate(spec):
        while changes and changes[0].occurred_at_ms <= batch[0].occurred_at_ms:
            yield changes.pop(0)
        inside = [c for c in changes if c.occurred_at_ms <= batch[-1].occurred_at_ms]
        yield from sorted(batch + inside, key=lambda event: event.occurred_at_ms) if inside else batch
        del changes[: len(inside)]
    yield from changes


def _line(event: Event) -> bytes:
    """A line as `tidewatch replay` and `import` read it: feedback says so, a change has a kind of its own."""
    if event.kind == "feedback":
        return b'{"kind":"feedback",' + event.value[1:] + b"\n"
    return event.value + b"\n"


def _show_catalogue(as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "name": name, "title": row.title, "alert_type": row.alert_type,
                "severity": dict(zip(STRENGTHS, row.severities, strict=True)), "origin": row.origin,
                "target_events": dict(zip(STRENGTHS, row.targets, strict=True)), "segment": dict(row.segment),
                "fields": list(row.fields), "benign_twin": TWINS[name].title,
            }
            for name, row in INCIDENTS.items()
        ]  # fmt: skip
        traps = [{"name": name, "title": trap.title} for name, trap in TRAPS.items()]
        click.echo(orjson.dumps({"incidents": rows, "traps": traps}, option=orjson.OPT_INDENT_2))
        return
    table = Table(box=None, header_style="bold")
    for heading in (
        "name",
        "incident",
        "alert type",
        "target events (mild / medium / severe)",
        "benign twin",
    ):
        table.add_column(heading)
    for name, row in INCIDENTS.items():
        targets = " / ".join(f"{target:,}" for target in row.targets)
        table.add_row(name, row.title, row.alert_type, targets, TWINS[name].title)
    for name, trap in TRAPS.items():
        table.add_row(name, trap.title, "", "", "")
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)
