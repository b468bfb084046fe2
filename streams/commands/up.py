"""`tidewatch up`: the laptop stack until it is stopped."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from streams.commands.common import config_option, fail, load_or_exit, on_interrupt

if TYPE_CHECKING:
    from streams.config import Config
    from streams.supervisor import LocalStack


@click.command("up")
@click.option(
    "--detect-workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 16),
    help="Detect workers to run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@config_option
def command(detect_workers: int, as_json: bool, config_path: Path | None) -> None:
    """Run the laptop stack until Ctrl-C: embedded broker, workers, and chDB.

    The broker keeps its log in memory and listens on this computer only. It takes the port of kafka.bootstrap if
    that is free. Baselines and rows stay in state_dir.

    \b
    Examples:
      tidewatch up
      tidewatch up --detect-workers 2
      tidewatch produce events.jsonl     (in another terminal)
      tidewatch sql "SELECT count() FROM interactions"
    """
    config = load_or_exit(config_path)

    def tell(line: str) -> None:
        click.echo(
            orjson.dumps({"event": "notice", "text": line}).decode() if as_json else line, err=not as_json
        )
        sys.stdout.flush()

    if problem := asyncio.run(_run(config, detect_workers, tell, as_json)):
        fail(problem)
    tell("stopped")


async def _run(config: Config, detect_workers: int, tell: Callable[[str], None], as_json: bool) -> str | None:
    """Until a signal; or what makes it impossible."""
    stop = asyncio.Event()
    on_interrupt(stop.set)
    # After that: these imports take a second, and start a process.
    from streams.client import BrokerUnreachable
    from streams.supervisor import LocalStack, StackError

    stopping = asyncio.create_task(stop.wait())
    work = asyncio.create_task(_serve(LocalStack(config, detect_workers=detect_workers, tell=tell), as_json))
    await asyncio.wait([stopping, work], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    try:
        if work.done():
            await work
    except (StackError, BrokerUnreachable) as error:
        return str(error)
    work.cancel()
    await asyncio.wait([work])
    return None


async def _serve(stack: LocalStack, as_json: bool) -> None:
    async with stack:
        _say(as_json, "broker", f"broker     {stack.bootstrap} (in memory, this computer only)", stack)
        await stack.ready()
        names = ", ".join(process.name for process in stack.processes() if process.name != "broker")
        _say(as_json, "ready", f"ready      {names}; state and logs in {stack.config.state_dir}", stack)
        await stack.ended()


def _say(as_json: bool, event: str, text: str, stack: LocalStack) -> None:
    if as_json:
        found = {process.name: process.pid for process in stack.processes()}
        text = orjson.dumps(
            {
                "event": event,
                "bootstrap": stack.bootstrap,
                "state_dir": str(stack.config.state_dir),
                "pids": found,
            }
        ).decode()
    click.echo(text)
    sys.stdout.flush()
