"""`tidewatch worker`: the real thing against a Kafka cluster."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from streams.commands.common import config_option, load_or_exit
from streams.config import Config

_Function = TypeVar("_Function", bound=Callable[..., Any])


@click.group("worker")
def command() -> None:
    """Run a worker against a Kafka cluster.

    \b
    Start more detect workers to share the partitions and to have a takeover; one is enough to begin with.

    \b
    Examples:
      tidewatch topics create --config tidewatch.toml
      tidewatch worker detect --config tidewatch.toml
      tidewatch worker record --config tidewatch.toml
    """
    # Until the worker takes them itself: what it needs is loaded for a second or more, and nothing is in hand.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))


def _port_option(function: _Function) -> _Function:
    return click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        help="Port of /livez, /readyz and /metrics, instead of operate.port: one for each worker of a host.",
    )(function)


@command.command("detect")
@_port_option
@config_option
def detect(config_path: Path | None, port: int | None) -> None:
    """Aggregate the input partitions, decide, and alert."""
    config = _listening_at(load_or_exit(config_path), port)
    from streams.agents import DetectWorker
    from streams.worker import run_worker

    _exit(run_worker(DetectWorker, config))


@command.command("record")
@_port_option
@config_option
def record(config_path: Path | None, port: int | None) -> None:
    """Copy what happened into ClickHouse."""
    config = _listening_at(load_or_exit(config_path), port)
    from streams.recording import RecordWorker
    from streams.worker import run_worker

    _exit(run_worker(RecordWorker, config))


def _listening_at(config: Config, port: int | None) -> Config:
    if port is None:
        return config
    return config.model_copy(update={"operate": config.operate.model_copy(update={"port": port})})


def _exit(code: int) -> NoReturn:
    """End at once: a thread of Faust may be stuck, and Python would wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
