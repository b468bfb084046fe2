"""What every command shares: the --config option, errors with exit codes, progress bars."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from streams.config import Config, ConfigError, load_config

FAILED: Final = 1
BAD_USAGE: Final = 2

_Function = TypeVar("_Function", bound=Callable[..., Any])


def config_option(function: _Function) -> _Function:
    """Adds ``--config PATH``, given to the command as ``config_path``."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="Configuration file [default: tidewatch.toml, if it exists].",
    )(function)


def load_or_exit(path: Path | None) -> Config:
    """The configuration, or every problem of it on stderr and exit code 2."""
    try:
        return load_config(path)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(BAD_USAGE)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Say what went wrong on stderr and exit."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def on_interrupt(stop: Callable[[], object]) -> None:
    """Call ``stop`` at the first SIGINT, SIGTERM or SIGHUP, in the running event loop; ignore all that follow.

    Until the very end of the process: what follows the first is bounded, and a second Ctrl-C that cut it short
    would leave processes behind.
    """
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def once() -> None:
        # Blocked meanwhile: taking the loop's handler away puts Python's own back, which would raise.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        stop()

    for number in numbers:
        loop.add_signal_handler(number, once)


def progress_bar(quiet: bool = False) -> Progress:
    """A bar on stderr, only where a person looks."""
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
