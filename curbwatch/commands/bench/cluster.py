"""`curbwatch bench cluster`: a Ray cluster on this machine loses a node; every camera must be live again, no case doubled."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.cluster import run, wire
from curbwatch.demo.clip import ClipUnavailableError, demo_clip

CACHE = Path("var/cache")


@click.command("cluster")
@click.option("--groups", default=3, show_default=True, type=click.IntRange(2, 16), help="Groups, and nodes.")
@click.option("--cameras", default=2, show_default=True, type=click.IntRange(1, 64), help="Cameras a group.")
@click.option(
    "--settle",
    default=45.0,
    show_default=True,
    type=click.FloatRange(5, 600),
    help="Seconds that are watched afterwards.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
def cli(groups: int, cameras: int, settle: float, as_json: bool) -> None:
    """Kill a node of a local Ray cluster; exit 1 when a camera is not live again within 30 s or a case is doubled."""
    screen = Console(stderr=True)
    try:
        clip = demo_clip(CACHE, screen.print)
    except ClipUnavailableError as exc:
        raise click.ClickException(str(exc)) from None
    with tempfile.TemporaryDirectory() as folder:
        done = run(Path(folder), clip, groups, cameras, settle, screen.print)
    if as_json:
        click.echo(json.dumps(wire(done)))
    else:
        table = Table("what", "figure")
        for name, value in wire(done).items():
            table.add_row(name.replace("_", " "), str(value))
        Console().print(table)
    good = (
        done.live_again_s <= 30 and done.others_kept and done.cases_after == done.alerts_after == done.cameras
    )
    sys.exit(0 if good else 1)
