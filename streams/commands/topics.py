"""`tidewatch topics`: make the topics; never alter those that are there."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path

import click
import orjson

from streams.commands.common import FAILED, config_option, fail, load_or_exit


@click.group("topics")
def command() -> None:
    """Make the topics that Tidewatch reads and writes.

    \b
    Examples:
      tidewatch topics create
      tidewatch topics create --config tidewatch.toml --json
    """


@command.command("create")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array with one object a topic.")
@config_option
def create(as_json: bool, config_path: Path | None) -> None:
    """Create missing topics with partitions, retention and compaction as configured.

    Topics that exist are never altered; how they differ from the configuration is printed. Exit code 1 when a
    topic could not be made.
    """
    config = load_or_exit(config_path)
    from streams.client import BrokerUnreachable, open_admin
    from streams.topic_admin import TopicReport, create_topics

    async def run() -> list[TopicReport]:
        admin = await open_admin(config.kafka)
        try:
            return await create_topics(admin, config)
        finally:
            await admin.close()

    try:
        reports = asyncio.run(run())
    except BrokerUnreachable as error:
        fail(str(error))
    if as_json:
        click.echo(orjson.dumps([asdict(report) for report in reports], option=orjson.OPT_INDENT_2))
    else:
        for report in reports:
            click.echo(f"{report.name:<22} {report.status}")
            for difference in report.differences:
                click.echo(f"{'':<22}   {difference}")
    sys.exit(FAILED if any(report.status == "failed" for report in reports) else 0)
