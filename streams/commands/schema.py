"""`tidewatch schema`: the JSON Schemas of the records."""

from __future__ import annotations

from pathlib import Path

import click

from streams.commands.common import fail
from streams.schemas import NAMES, encoded_schema, reference


@click.command("schema")
@click.argument("name", required=False, type=click.Choice(NAMES))
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write NAME.json into, instead of printing.",
)
@click.option("--markdown", is_flag=True, help="Print the reference of all fields as Markdown.")
def command(name: str | None, output: Path | None, markdown: bool) -> None:
    """Print the JSON Schema of a record; without NAME, of all of them.

    \b
    Examples:
      tidewatch schema interaction
      tidewatch schema --output schemas/
    """
    if markdown:
        click.echo(reference(), nl=False)
        return
    names = NAMES if name is None else (name,)
    if output is None:
        for wanted in names:
            click.echo(encoded_schema(wanted), nl=False)
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        for wanted in names:
            path = output / f"{wanted}.json"
            path.write_bytes(encoded_schema(wanted))
            click.echo(str(path))
    except OSError as error:
        fail(f"{output}: {error.strerror or error}: give a folder that can be written to")
