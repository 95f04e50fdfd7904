"""`curbwatch schema`: write the published JSON Schemas."""

from __future__ import annotations

from pathlib import Path

import click

from contract.schema import write_schemas


@click.command("schema")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def cli(folder: Path) -> None:
    """Write the JSON Schema of every message into FOLDER."""
    for path in write_schemas(folder):
        click.echo(path)
