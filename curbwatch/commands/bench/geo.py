"""`curbwatch bench geo`: a point among many unit grid cells."""

from __future__ import annotations

import json

import click


@click.command("geo")
@click.option("--side", default=100, show_default=True, help="Cells a side; 100 is 10 000 cells.")
@click.option("--points", default=2000, show_default=True)
def cli(side: int, points: int) -> None:
    """Import unit grid cells, resolve random points, check each answer, and print the milliseconds."""
    from bench.geo import run

    click.echo(json.dumps(run(side, points)))
