"""`tidewatch sql`: query the store, read-only, also while the record worker runs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.commands.common import config_option, fail, load_or_exit
from streams.config import Config

Format = Literal["table", "json", "csv"]

EXAMPLES = """
\b
Examples:
  tidewatch sql "SHOW TABLES"
  tidewatch sql "SELECT status, count() FROM interactions FINAL GROUP BY status"
  tidewatch sql --json "SELECT * FROM incidents FINAL ORDER BY detected_at DESC LIMIT 5"
  tidewatch sql --format csv - < query.sql
"""


class Answer(NamedTuple):
    names: list[str]
    types: list[str]
    rows: list[list[Any]]
    elapsed_secs: float


@click.command(name="sql", epilog=EXAMPLES)
@click.argument("query")
@config_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    help="Output; default: table on a terminal, else csv.",
)
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
def command(query: str, config_path: Path | None, form: Format | None, as_json: bool) -> None:
    """Run one QUERY that reads (SELECT, WITH, SHOW, DESCRIBE, EXPLAIN); - reads it from standard input.

    The embedded store is asked through the worker that owns it; when none runs, it is opened here. With a
    server configured, the server is asked. Rows of a table repeat until they are merged: use FINAL.
    """
    if query == "-":
        query = click.get_text_stream("stdin").read()
    config = load_or_exit(config_path)
    answer = _parse(_run(config, query))
    chosen: Format = "json" if as_json else form or ("table" if sys.stdout.isatty() else "csv")
    {"table": _print_table, "json": _print_json, "csv": _print_csv}[chosen](answer)


def _run(config: Config, query: str) -> bytes:
    """The answer as JSONCompact, or exit with 1 and what went wrong."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from sinks.clickhouse_refusal import refusal
    from sinks.credentials import CredentialError
    from sinks.embedded import StoreInUse
    from sinks.reader import QueryRefused, StoreReader
    from streams.queryserver import QueryFailed, ask

    store = config.clickhouse.at(config.state_dir)
    try:
        if store.embedded:
            try:
                return ask(config.state_dir, query)
            except (FileNotFoundError, ConnectionRefusedError):
                pass  # no worker runs
            if not store.path.exists():
                _fail(
                    f"no store at {store.path} yet. Start `tidewatch up` or `tidewatch worker record` first, "
                    "or point --config at another configuration."
                )
        reader = StoreReader(store)
        try:
            return reader.query(query)
        finally:
            reader.close()
    except QueryRefused as error:
        _fail(f"refused: {error}")
    except QueryFailed as error:
        _fail(f"{error.kind}: {error}")
    except StoreInUse as error:
        _fail(str(error))
    except TimeoutError:
        _fail("the worker did not answer in time; make the query smaller, or see the worker's log")
    except CredentialError as error:
        _fail(str(error))
    except ClickHouseError as error:
        _fail(refusal(store, error) or f"{store.address}: {error}")


def _fail(message: str) -> NoReturn:
    fail(_visible(message))


def _parse(body: bytes) -> Answer:
    if not body:
        return Answer([], [], [], 0.0)
    answer = orjson.loads(body)
    return Answer(
        [column["name"] for column in answer["meta"]],
        [column["type"] for column in answer["meta"]],
        answer["data"],
        float(answer.get("statistics", {}).get("elapsed", 0.0)),
    )


def _print_table(answer: Answer) -> None:
    table = Table(header_style="bold")
    for name, type_name in zip(answer.names, answer.types, strict=True):
        numeric = any(kind in type_name for kind in ("Int", "Float", "Decimal")) and "(" not in type_name[:6]
        table.add_column(Text(_visible(name)), justify="right" if numeric else "left", overflow="fold")
    for row in answer.rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console()
    console.print(table)
    console.print(f"{len(answer.rows)} row(s) in {answer.elapsed_secs:.3f} s", highlight=False, style="dim")


def _print_json(answer: Answer) -> None:
    columns = [{"name": n, "type": t} for n, t in zip(answer.names, answer.types, strict=True)]
    rows = [dict(zip(answer.names, row, strict=True)) for row in answer.rows]
    click.echo(orjson.dumps({"columns": columns, "rows": rows, "elapsed_secs": answer.elapsed_secs}))


def _print_csv(answer: Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.names)
    writer.writerows([_plain(value) for value in row] for row in answer.rows)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _cell(value: Any) -> str:
    return "" if value is None else _visible(_plain(value))


def _visible(text: str) -> str:
    """Without control and format characters: a stored value must not write on the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "·" for char in text)
