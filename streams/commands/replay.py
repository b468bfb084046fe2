"""`tidewatch replay`: the same functions over files of events, without a broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
import orjson

from sinks.base import SinkError
from streams.commands.common import config_option, fail, load_or_exit, progress_bar
from streams.config import Config
from streams.files import UnreadableFile, read_events, total_bytes
from streams.messages import Message
from streams.replay import JsonlOutput, Replay, Totals
from streams.replay_store import StoreOutput
from streams.topics import ALERTS


@click.command("replay")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the results as JSONL."
)
@click.option("--sql", "into_store", is_flag=True, help="Write events and results into the configured store.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals and alerts as one JSON object.")
@config_option
def command(
    files: tuple[Path, ...], output: Path | None, into_store: bool, as_json: bool, config_path: Path | None
) -> None:
    """Run detection over FILES of events, without a broker.

    Files are JSONL or Parquet, plain, .gz or .zst, `-` for standard input; they are taken one after another and
    must be in the order of time. Each line is one record; its `kind` is interaction, feedback or change, and
    absent means interaction.

    With --output, DIR gets summaries, anomalies, incidents, alerts and deadletters as .jsonl.

    \b
    Examples:
      tidewatch replay events.jsonl.zst --output results/
      tidewatch replay january.parquet february.parquet --json
      tidewatch replay events.jsonl --sql && tidewatch sql "SELECT * FROM incidents"
    """
    config = load_or_exit(config_path)
    alerts: list[bytes] = []
    try:
        with ExitStack() as stack:
            outputs: list[Callable[[Message], None]] = []
            if output is not None:
                outputs.append(stack.enter_context(JsonlOutput(output)))
            store = stack.enter_context(StoreOutput(config)) if into_store else None
            if store is not None:
                outputs.append(store)

            def emit(message: Message) -> None:
                if message.topic == ALERTS:
                    alerts.append(message.value)
                for write in outputs:
                    write(message)

            totals = _run(config, files, emit, store, quiet=as_json)
    except (UnreadableFile, OSError, SinkError) as error:
        fail(str(error))
    _report(totals, alerts, output, as_json)


def _run(
    config: Config,
    files: tuple[Path, ...],
    emit: Callable[[Message], None],
    store: StoreOutput | None,
    quiet: bool,
) -> Totals:
    replay = Replay(config, emit, now_ms=int(time.time() * 1000))
    with progress_bar(quiet) as progress:
        task = progress.add_task("replaying", total=total_bytes(files))
        for count, record in enumerate(read_events(files)):
            replay.feed(record.stream, record.value)
            if store is not None:
                store.add_input(record.stream, record.value)
            if count % 2000 == 0:
                progress.update(task, completed=record.position_bytes)
        totals = replay.finish()
        progress.update(task, completed=total_bytes(files) or 0)
    return totals


def _report(totals: Totals, alerts: list[bytes], output: Path | None, as_json: bool) -> None:
    if as_json:
        summary = {**totals._asdict(), "alerts": [orjson.Fragment(alert) for alert in alerts]}
        click.echo(orjson.dumps(summary).decode())
        return
    for alert in alerts:
        fields = orjson.loads(alert)
        state = "FIRING  " if fields["type"].endswith("firing") else "resolved"
        click.echo(f"{fields['detected_at']}  {state}  {fields['severity']:<8}  {fields['summary']}")
    counts = ", ".join(
        f"{count} {topic.rpartition('.')[2]}" for topic, count in sorted(totals.by_topic.items())
    )
    click.echo(f"{totals.records} records, {totals.windows} windows; {counts or 'nothing to report'}")
    if output is not None:
        click.echo(f"results are in {output}")
