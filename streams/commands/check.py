"""`tidewatch check`: validate the configuration, and with --connect what it points at."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import orjson

from streams.checks import Check, check_clickhouse, check_kafka
from streams.commands.common import BAD_USAGE, FAILED, config_option
from streams.config import Config, ConfigError, load_config
from streams.supervisor import with_running_stack


@click.command("check")
@config_option
@click.option("--connect", is_flag=True, help="Also ask the brokers, the topics and ClickHouse.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(config_path: Path | None, connect: bool, as_json: bool) -> None:
    """Validate the configuration: every problem at once, with file, path, got, expected and next step.

    Exit code 0: usable. 1: a connection or topic is not as it must be. 2: the configuration is not valid.

    \b
    Examples:
      tidewatch check
      tidewatch check --config production.toml --connect
    """
    try:
        config = load_config(config_path)
    except ConfigError as error:
        if as_json:
            problems = [problem.model_dump() for problem in error.problems]
            click.echo(orjson.dumps({"valid": False, "problems": problems}).decode())
        else:
            for problem in error.problems:
                click.echo(f"FAILED  {problem}", err=True)
        sys.exit(BAD_USAGE)
    checks = asyncio.run(_connect(config)) if connect else []
    if as_json:
        found = [check._asdict() for check in checks]
        click.echo(orjson.dumps({"valid": True, "problems": [], "checks": found}).decode())
    else:
        segmentations = ", ".join("+".join(names) for names in config.segments.by)
        click.echo(
            f"OK      configuration: fleet {config.fleet}, {len(config.rules)} rules, segments by {segmentations}"
        )
        for check in checks:
            click.echo(f"{check.status.upper():<7} {check.what}: {check.detail}")
    sys.exit(FAILED if any(check.status == "failed" for check in checks) else 0)


async def _connect(config: Config) -> list[Check]:
    config = with_running_stack(config)
    return [*await check_kafka(config), *await check_clickhouse(config)]
