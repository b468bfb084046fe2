"""`tidewatch worker`: the real thing against a Kafka cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from streams.commands.common import config_option, load_or_exit


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


@command.command("detect")
@config_option
def detect(config_path: Path | None) -> None:
    """Aggregate the input partitions, decide, and alert."""
    config = load_or_exit(config_path)
    from streams.agents import DetectWorker
    from streams.worker import run_worker

    _exit(run_worker(DetectWorker, config))


@command.command("record")
@config_option
def record(config_path: Path | None) -> None:
    """Copy what happened into ClickHouse."""
    config = load_or_exit(config_path)
    from streams.recording import RecordWorker
    from streams.worker import run_worker

    _exit(run_worker(RecordWorker, config))


def _exit(code: int) -> NoReturn:
    """End at once: a thread of Faust may be stuck, and Python would wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
