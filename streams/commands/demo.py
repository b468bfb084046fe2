"""`tidewatch demo`: an incident, noticed and explained, in about two minutes on this computer alone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import click
import orjson
from rich.console import Console

from streams.commands.common import FAILED, fail, on_interrupt
from streams.demo.settings import Options

INTERRUPTED: Final = 130


@click.command("demo")
@click.option("--seed", default=Options.seed, show_default=True, help="Other traffic of the same kind.")
@click.option(
    "--rate",
    "rate_per_sec",
    default=Options.rate_per_sec,
    show_default=True,
    type=click.FloatRange(20, 2000),
    help="Interactions per second.",
)
@click.option(
    "--history",
    "history_secs",
    default=Options.history_secs,
    show_default=True,
    type=click.FloatRange(300, 7200),
    help="Seconds of history that are back-filled first, for the baselines.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep state and logs in this folder [default: a temporary one that is removed].",
)
@click.option("--plain", is_flag=True, help="Plain lines instead of the live screen, also on a terminal.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON summary at the end; lines go to stderr."
)
def command(
    seed: int, rate_per_sec: float, history_secs: float, keep: Path | None, plain: bool, as_json: bool
) -> None:
    """See an incident being noticed: real records through a real broker, workers and ClickHouse.

    Starts the embedded broker, the workers and chDB in a temporary folder, back-fills history, sends live traffic,
    changes one model silently, waits for the alert on the alerts topic, asks three questions in SQL, and cleans up.
    Nothing leaves this computer. Ctrl-C ends it at any moment.

    \b
    Examples:
      tidewatch demo
      tidewatch demo --seed 11 --plain
      tidewatch demo --json > demo.json
    """
    options = Options(seed=seed, rate_per_sec=rate_per_sec, history_secs=history_secs, keep=keep)
    sys.exit(asyncio.run(_main(options, plain, as_json)))


async def _main(options: Options, plain: bool, as_json: bool) -> int:
    """Run, and on a signal stop in order: the stack goes down with the context managers."""
    from aiokafka.errors import KafkaError

    from streams.client import BrokerUnreachable
    from streams.demo.driver import DemoFailed
    from streams.queryserver import QueryFailed
    from streams.supervisor import StackError

    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - we run in it
    on_interrupt(task.cancel)
    try:
        return await _run(options, plain, as_json)
    except asyncio.CancelledError:
        click.echo("stopped; nothing is left running", err=True)
        return INTERRUPTED
    except (DemoFailed, StackError, BrokerUnreachable, QueryFailed, KafkaError) as error:
        fail(str(error) or repr(error), FAILED)


async def _run(options: Options, plain: bool, as_json: bool) -> int:
    from streams.demo.display import PLAIN_WIDTH, Display, LiveDisplay, PlainDisplay
    from streams.demo.outcome import answer_table, summary
    from streams.demo.session import run_session

    console = Console(stderr=as_json)
    live = console.is_terminal and not plain and not as_json
    if not console.is_terminal:
        console = Console(stderr=as_json, width=PLAIN_WIDTH)
    display: Display = LiveDisplay(console) if live else PlainDisplay(console)
    with display:
        outcome = await run_session(options, display)
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(outcome.as_json(), option=orjson.OPT_INDENT_2) + b"\n")
        return 0
    for answer in outcome.answers:
        console.print(answer_table(answer))
    console.print(summary(outcome))
    return 0
