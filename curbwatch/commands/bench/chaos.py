"""`curbwatch bench chaos`: random faults between a box and the API, then the count of what was lost or doubled."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from bench.chaos import Chaos


@click.command("chaos")
@click.option("--faults", default=200, show_default=True, type=click.IntRange(1, 100_000))
@click.option(
    "--seed", default=1, show_default=True, help="Order of the faults; their moment stays the machine's."
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep data and logs in this folder."
)
def cli(faults: int, seed: int, json_file: Path | None, keep: Path | None) -> None:
    """Kill, cut, lock, fill and step the clock; then check that nothing is lost, doubled, missing or broken."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        chaos = Chaos(folder, seed, lambda line: click.echo(line, err=True))
        try:
            result = chaos.run(faults)
        finally:
            chaos.close()
    told = result.wire()
    for name, value in told.items():
        click.echo(f"{name:<18} {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(0 if result.good else 1)
