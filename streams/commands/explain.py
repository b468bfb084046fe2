"""`tidewatch explain`: what a series is judged by, and the smallest change that it can show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detectors.explaining import Explanation
from detectors.records import FLEET, SegmentKey, rfc3339
from detectors.rules.book import fits
from streams.commands.common import BAD_USAGE, config_option, fail, load_or_exit, progress_bar
from streams.config import Config
from streams.decide import Decide
from streams.decide_state import StateUnusable
from streams.explaining import HEADERS, as_dict, lines, name_of, row_of
from streams.files import UnreadableFile, read_events, total_bytes
from streams.peeking import peek
from streams.replay import Replay
from streams.signals import RATED, SIGNALS
from streams.state import StateError
from streams.supervisor import with_running_stack

EXAMPLES = """
\b
Examples:
  tidewatch explain                              what judges and users can show, for the whole fleet
  tidewatch explain 'topic=*'                    the same for every topic
  tidewatch explain provider=openai latency_typical_ms
  tidewatch explain all topic_mix                the share of every label, and which change of it would show
  tidewatch explain '*' judge_fail_ratio --change 0.05 --json
  tidewatch explain topic=billing --events history.jsonl.zst
"""

_WIDTH = 160


class Source(NamedTuple):
    """Where the state is from."""

    decide: Decide
    name: str


@click.command("explain", epilog=EXAMPLES)
@click.argument("segment", default="all")
@click.argument("signal", required=False)
@click.option(
    "--change", type=click.FloatRange(min=0, min_open=True),
    help="Ask for the sample rate that shows this change: a difference of a ratio or score (0.05 is five points), "
    "else a share (0.1 is a tenth).  [default: from which an incident warns]",
)  # fmt: skip
@click.option(
    "--state", type=click.Path(path_type=Path),
    help="File of checkpoints, or its folder  [default: the configured store].",
)  # fmt: skip
@click.option(
    "--events", multiple=True, type=click.Path(path_type=Path),
    help="Replay this file of events and explain its end, instead of a checkpoint; may be repeated.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
def command(
    segment: str, signal: str | None, change: float | None, state: Path | None, events: tuple[Path, ...],
    as_json: bool, config_path: Path | None,
) -> None:  # fmt: skip
    """Show by what the series of a SEGMENT are judged, and the smallest change they can show.

    SEGMENT is `all` (the whole fleet), `name=value,...` where a value may be `*`, or `*` for every segment.
    SIGNAL is any, of a mix every label is told; without it, the signals that judges and users give, of some of the
    interactions.

    Reads the newest checkpoint, which a detect worker writes every minute, and leaves it as it is.
    """
    config = load_or_exit(config_path)
    if state is not None and events:
        fail("--state and --events: got both; expected one source. Leave one of them out", BAD_USAGE)
    if signal is not None and signal not in SIGNALS:
        fail(f"SIGNAL: got {signal!r}; expected one of {', '.join(SIGNALS)}. Correct the name", BAD_USAGE)
    wanted = partial(_is_wanted, _pattern(segment))
    source = _replayed(config, events, as_json) if events else _stored(config, state)
    names = RATED if signal is None else (signal,)
    found = source.decide.explain(wanted, names, change)
    if not found:
        _no_segment(segment, wanted, source.decide)
    if signal is None:
        found = [one for one in found if one.observations_per_hour > 0.0]
    until_ms = source.decide.progress["closed_until_ms"] or 0
    if as_json:
        told = {"as_of": rfc3339(until_ms), "source": source.name, "series": [as_dict(one) for one in found]}
        click.echo(orjson.dumps(told).decode())
        return
    click.echo(f"{source.name}, as of {rfc3339(until_ms)}")
    if len(found) == 1 and signal is not None:
        _print_one(found[0], config, source.decide)
    elif found:
        _console().print(_table(found))
    else:
        click.echo(
            "no verdicts of judges or users were seen there; send them to llm.feedback, or name a SIGNAL"
        )


def _pattern(segment: str) -> dict[str, str] | None:
    """None: every segment."""
    if segment in ("*", "all"):
        return None if segment == "*" else {}
    pattern = {}
    for part in segment.split(","):
        dimension, equals, value = part.partition("=")
        if not (dimension and equals and value):
            fail(f"SEGMENT: got {segment!r}; expected all, * or name=value,... Correct {part!r}", BAD_USAGE)
        pattern[dimension] = value
    return pattern


def _is_wanted(pattern: dict[str, str] | None, segment: SegmentKey) -> bool:
    if not pattern:
        return pattern is None or segment == FLEET
    return fits(pattern, segment)


def _stored(config: Config, state: Path | None) -> Source:
    try:
        checkpoint = peek(with_running_stack(config), state)
        decide, anew = Decide.restore(config, checkpoint.state)
    except (StateError, StateUnusable) as error:
        fail(str(error))
    for what in anew:
        click.echo(f"warning: not in the checkpoint: {what}", err=True)
    return Source(decide, f"checkpoint of fleet {config.fleet}")


def _replayed(config: Config, files: tuple[Path, ...], quiet: bool) -> Source:
    replay = Replay(config, lambda message: None, now_ms=int(time.time() * 1000))
    try:
        with progress_bar(quiet) as progress:
            task = progress.add_task("replaying", total=total_bytes(files))
            for count, record in enumerate(read_events(files)):
                replay.feed(record.stream, record.value)
                if count % 2000 == 0:
                    progress.update(task, completed=record.position_bytes)
            replay.finish()
    except (UnreadableFile, OSError) as error:
        fail(str(error))
    return Source(replay.decide, f"replay of {', '.join(map(str, files))}")


def _no_segment(segment: str, wanted: Callable[[SegmentKey], bool], decide: Decide) -> None:
    if decide.explain(wanted, RATED[:1]):
        fail(
            f"the mix of {segment} has too little history, or one label only: nothing is known of its shares yet"
        )
    known = [one.segment.label for one in decide.explain(lambda _: True, RATED[:1])]
    if not known:
        fail("no window was closed yet: got no segment; expected interactions. Look for dead letters")
    few = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    fail(
        f"SEGMENT: got {segment!r}, which has no state; expected one of: {few}. "
        "Correct it, or see `segments.by` in the configuration"
    )


def _print_one(found: Explanation, config: Config, decide: Decide) -> None:
    table = Table(box=None, pad_edge=False, show_header=False, title_justify="left")
    for what, told in lines(found, config.rules, decide.firing):
        table.add_row(Text(what, style="bold"), Text(told))
    click.echo(f"{name_of(found)} of {found.segment.label}")
    _console().print(table)


def _console() -> Console:
    """As wide as the terminal; what is read by a program is not folded."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def _table(found: Sequence[Explanation]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in HEADERS:
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(*(Text(cell) for cell in row_of(one)))
    return table
