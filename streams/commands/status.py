"""`tidewatch status`: how the workers of this computer are."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.table import Table

from streams.commands.common import FAILED, config_option, load_or_exit
from streams.operate.status import is_running, read_status

ASK_SECS: Final = 2.0


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a worker and line.")
@config_option
def command(as_json: bool, config_path: Path | None) -> None:
    """Show the workers of this computer and what they answer at /readyz.

    Exit code 0 when there are workers and all are ready, else 1.

    \b
    Examples:
      tidewatch status
      tidewatch status --json --config tidewatch.toml
    """
    config = load_or_exit(config_path)
    found = [_look(config.operate.host, status) for status in read_status(config.state_dir).values()]
    if as_json:
        for worker in found:
            click.echo(orjson.dumps(worker).decode())
    elif found:
        Console().print(_table(found))
    else:
        click.echo(f"no workers with state_dir {config.state_dir}; start one with: tidewatch up", err=True)
    if not found or not all(worker["state"] == "ready" for worker in found):
        raise SystemExit(FAILED)


def _look(host: str, status: dict[str, Any]) -> dict[str, Any]:
    """What a worker's file says, and what the worker answers now."""
    base = {name: status.get(name) for name in ("role", "pid", "port", "lag", "records")}
    if not is_running(status):
        return base | {"state": "gone", "reasons": ["the process ended without being asked to"]}
    reasons = _readyz("127.0.0.1" if host == "0.0.0.0" else host, status["port"])  # noqa: S104 - to compare
    return base | {"state": "not ready" if reasons else "ready", "reasons": reasons}


def _readyz(host: str, port: int) -> list[str]:
    """Why it is not ready; empty when it is."""
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        reasons: list[str] = orjson.loads(answer.read())["reasons"]
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError, KeyError) as error:
        return [f"no answer at {host}:{port}: {error}"]
    return reasons


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("worker", "pid", "state", "lag", "records", "health", "why"):
        table.add_column(name, overflow="fold")
    for worker in found:
        lag = "?" if worker["lag"] is None else f"{worker['lag']:,}"
        table.add_row(
            worker["role"],
            str(worker["pid"]),
            worker["state"],
            lag,
            f"{worker['records'] or 0:,}",
            f":{worker['port']}",
            "; ".join(worker["reasons"]),
        )
    return table
