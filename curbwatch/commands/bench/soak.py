"""`curbwatch bench soak`: an hour, many cameras, a fault a minute; is anything of the box growing?"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table


@click.command("soak")
@click.option("--cameras", default=32, show_default=True, type=click.IntRange(1, 128))
@click.option("--seconds", default=3600.0, show_default=True, type=click.FloatRange(20, 7 * 86400))
@click.option(
    "--fault-every", default=60.0, show_default=True, type=click.FloatRange(1, 3600), help="Seconds."
)
@click.option(
    "--every", default=5.0, show_default=True, type=click.FloatRange(0.2, 600), help="Seconds a sample."
)
@click.option(
    "--warm", type=click.FloatRange(0, 86400), help="Seconds that are not judged; a sixth of the run."
)
@click.option("--model", default="default", show_default=True, help="Bundle: a folder or an embedded one.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Plot (needs matplotlib).")
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep data and logs in this new folder."
)
def cli(
    cameras: int,
    seconds: float,
    fault_every: float,
    every: float,
    warm: float | None,
    model: str,
    json_file: Path | None,
    picture: Path | None,
    keep: Path | None,
) -> None:
    """Run a box on RTSP cameras for long, break something each minute, and exit 1 when memory, threads, descriptors or queues grow."""
    from bench.chaos_rim import RimUnavailableError
    from bench.soak import run
    from bench.soak_judge import plot
    from bench.soak_world import World
    from curbwatch.streets import bench_streets

    screen = Console(stderr=True)
    clips = bench_streets(screen.print)
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        try:
            world = World(folder, clips, cameras, model)
        except RimUnavailableError as exc:
            raise click.ClickException(str(exc)) from None
        try:
            warm_s = seconds / 6 if warm is None else warm
            soak = run(world, seconds, fault_every, every, warm_s, lambda line: click.echo(line, err=True))
        finally:
            world.close()
        told = soak.wire()
    _show(told)
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=1) + "\n")
    if picture is not None:
        plot(told, picture)
    sys.exit(1 if told["problems"] else 0)


def _show(told: dict[str, Any]) -> None:
    table = Table("", "median", "least", "most", "an hour", "95 %", "may gain", "flat")
    for t in told["trends"]:
        ends = f"{t['low_h']:+.2f} to {t['high_h']:+.2f}"
        numbers = [f"{t[k]:.1f}" for k in ("level", "least", "most")]
        table.add_row(
            t["name"], *numbers, f"{t['slope_h']:+.2f}", ends, f"{t['limit_h']:.2f}", "yes" if t["flat"] else "NO"
        )  # fmt: skip
    Console().print(table)
    click.echo(
        f"{told['cameras']} cameras, {told['seconds']:.0f} s, {len(told['faults'])} faults, {told['alerts']} messages"
        f" acknowledged, {told['waiting_at_end']} waiting and {told['live_at_end']} live at the end; {told['machine']}"
    )
    for problem in told["problems"]:
        click.echo(f"not good: {problem}")
