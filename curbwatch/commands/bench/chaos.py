"""`curbwatch bench chaos`: random faults round a box and the API, then the count of what was lost or doubled."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from bench.chaos import Chaos
from bench.chaos_boxes import ChaosBox, SitesBox, StreetBox
from bench.chaos_rim import RimUnavailableError


@click.command("chaos")
@click.option("--faults", default=200, show_default=True, type=click.IntRange(1, 100_000))
@click.option(
    "--seed", default=1, show_default=True, help="Order of the faults; their moment stays the machine's."
)
@click.option(
    "--cameras", default=12, show_default=True, type=click.IntRange(1, 64), help="Cameras of the box."
)
@click.option(
    "--loop", "loop_s", default=60.0, show_default=True, type=click.FloatRange(20, 600),
    help="Seconds of the clip; a car stands at each place for half of it.",
)  # fmt: skip
@click.option(
    "--without-cameras",
    is_flag=True,
    help="Quick: made sites instead of cameras; more alerts, less of the box.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep data and logs in this new folder."
)
def cli(
    faults: int,
    seed: int,
    cameras: int,
    loop_s: float,
    without_cameras: bool,
    json_file: Path | None,
    keep: Path | None,
) -> None:
    """Kill, cut, lock, fill, cut the power and step the clock; then check that nothing is lost, doubled or broken."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        box: ChaosBox = SitesBox(folder) if without_cameras else StreetBox(folder, cameras, loop_s)
        try:
            chaos = Chaos(folder, seed, lambda line: click.echo(line, err=True), box)
        except RimUnavailableError as exc:
            box.close()
            click.echo(f"error: {exc}", err=True)
            sys.exit(2)
        try:
            result = chaos.run(faults)
        finally:
            chaos.close()
    told = result.wire()
    for name, value in told.items():
        click.echo(f"{name:<20} {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(0 if result.good else 1)
