"""`curbwatch bench growth`: how cost grows with zones, places, pixels, key frames and cameras."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.growth import everything, plot
from bench.growth_cameras import cameras


@click.command("growth")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Plot (needs matplotlib).")
@click.option(
    "--cameras",
    "sizes",
    default="1,2,4,8,16,32,64",
    show_default=True,
    help="Numbers of real RTSP streams; 36 s each. Empty leaves them out.",
)
def cli(json_file: Path | None, picture: Path | None, sizes: str) -> None:
    """Double one thing at a time; a power above 1 is worse than linear."""
    screen = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        series = everything(Path(folder), screen.print)
        if sizes:
            numbers = tuple(int(n) for n in sizes.split(","))
            series += cameras(Path(folder), numbers, say=screen.print)
    table = Table("what grows", "from - to", "CPU ms, or MB", "power")
    for s in series:
        table.add_row(
            s.unit, f"{s.x[0]:g} - {s.x[-1]:g}", f"{s.ms[0]:.3f} - {s.ms[-1]:.3f}", f"{s.power:.2f}"
        )
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps([{**asdict(s), "power": s.power} for s in series], indent=1) + "\n")
    if picture is not None:
        plot(series, picture)
