"""`curbwatch bench camera-memory`: what one camera more costs in memory."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import cast

import click
from rich.console import Console
from rich.table import Table

AIM_MIB = 40.0


@click.command("camera-memory")
@click.option("--cameras", default="1,5,9,17", show_default=True, help="Numbers of cameras, with commas.")
@click.option(
    "--profile",
    "profiles",
    default=("main", "sub"),
    show_default=True,
    multiple=True,
    type=click.Choice(["main", "acts", "sub"]),
    help="As in `bench throughput`.",
)
@click.option(
    "--seconds", default=180.0, show_default=True, type=click.FloatRange(20, 3600), help="Each box."
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(cameras: str, profiles: tuple[str, ...], seconds: float, json_file: Path | None) -> None:
    """Run boxes with more and more 1080p cameras and print MiB a camera; exit 1 above the aim of 40 MiB of RSS."""
    from bench.camera_memory import Level, measure, report, slope, write
    from bench.throughput import Profile
    from curbwatch.streets import bench_streets

    try:
        numbers = [int(n) for n in cameras.split(",")]
    except ValueError:
        raise click.BadParameter("write numbers with commas, such as 1,5,9", param_hint="--cameras") from None
    screen = Console(stderr=True)
    clips = bench_streets(screen.print)
    found: dict[str, list[Level]] = {}
    for profile in profiles:
        for n in numbers:
            with tempfile.TemporaryDirectory() as folder:
                level = measure(Path(folder), clips, n, cast(Profile, profile), seconds)
            found.setdefault(profile, []).append(level)
            screen.print(
                f"{profile}: {n} cameras, RSS {level.rss:.0f}, PSS {level.pss:.0f} MiB {level.parts}"
            )
    told = report(found)
    table = Table("profile", "cameras: RSS MiB", "RSS a camera", "PSS a camera")
    for name, levels in found.items():
        each = ", ".join(f"{v.cameras}: {v.rss:.0f}" for v in levels)
        table.add_row(name, each, f"{slope(levels, 'rss'):.1f}", f"{slope(levels, 'pss'):.1f}")
    Console().print(table)
    if json_file is not None:
        write(told, json_file)
    sys.exit(1 if any(slope(levels, "rss") > AIM_MIB for levels in found.values()) else 0)
