"""The `tidewatch` program: a group of commands, each imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from streams import __version__

COMMANDS: Final = {
    "up": "Run the laptop stack: embedded broker, workers and chDB.",
    "demo": "See an incident being noticed, in two minutes.",
    "worker": "Run a worker against a Kafka cluster: detect or record.",
    "status": "Show the workers of this computer and whether they are ready.",
    "explain": "Show what a series is judged by, and the smallest change it can show.",
    "replay": "Run the same functions over files of events, without a broker.",
    "series": "Find changes and novelties in time series from CSV files.",
    "backtest": "Score detection on labelled incidents.",
    "simulate": "Write realistic traffic with a labelled incident to a file.",
    "import": "Turn foreign logs into events.",
    "produce": "Send a file or simulated traffic to the input topics.",
    "check": "Validate the configuration, and with --connect what it points at.",
    "topology": "Print topics, stages and segmentations.",
    "topics": "Make the topics.",
    "sql": "Query the store with SQL, read-only.",
    "schema": "Print the JSON Schemas of the records.",
}
_MODULES: Final = {"import": "import_"}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"streams.commands.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidewatch")
def main() -> None:
    """Event-driven monitor for LLM products.

    \b
    Start here:
      tidewatch demo                       an incident, noticed and explained
      tidewatch replay events.jsonl        your own history, without a broker
      tidewatch up                         the whole stack on this laptop
    """


if __name__ == "__main__":
    sys.exit(main())
