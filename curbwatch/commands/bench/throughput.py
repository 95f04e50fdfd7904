"""`curbwatch bench throughput`: how many cameras a core keeps at the promised delay, and what each stage costs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import cast

import click
from rich.console import Console
from rich.table import Table

from bench.throughput import Profile, Trial, best, machine, report, search, trial
from camera_adapters.meter import STAGES
from curbwatch.streets import bench_streets, settle_option


@click.command("throughput")
@click.option("--cameras", type=click.IntRange(1, 512), help="Try this number alone instead of searching.")
@click.option(
    "--most", default=192, show_default=True, type=click.IntRange(1, 512), help="End of the search."
)
@click.option("--seconds", default=110.0, show_default=True, type=click.FloatRange(100, 3600))
@settle_option
@click.option(
    "--profile",
    default="main",
    show_default=True,
    type=click.Choice(["main", "acts", "sub"]),
    help="main: parking alone, key frames do; acts: also a no-dumping zone, decoded densely; sub: a CIF sub stream is looked at, evidence is of the main one.",
)
@click.option("--model", default="default", show_default=True, help="Bundle: a folder or an embedded one.")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1, 16))
@click.option("--provider", default="auto", show_default=True, help="auto, cpu, openvino, cuda or tensorrt.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(
    cameras: int | None,
    most: int,
    seconds: float,
    settle_s: float,
    profile: str,
    model: str,
    batch: int,
    provider: str,
    json_file: Path | None,
) -> None:
    """Play N streets over RTSP to one box and find the largest N at which every van is reported in time."""
    screen = Console(stderr=True)
    clips = bench_streets(screen.print)

    def run(n: int) -> Trial:
        with (
            tempfile.TemporaryDirectory() as folder,
            screen.status(f"{n} cameras, {settle_s + seconds:.0f} s"),
        ):
            done = trial(
                Path(folder), clips, n, cast(Profile, profile), seconds, model, batch, provider, settle_s
            )
        screen.print(f"{n} cameras: {done.kept} in time, {done.cores:.2f} cores")
        return done

    trials = [run(cameras)] if cameras else search(run, most)
    told = report(trials, seconds, settle_s)
    Console().print(_table(trials))
    top = best(trials)
    click.echo(f"largest: {top.cameras if top else 0} cameras on one core ({profile}); {machine()}")
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=1) + "\n")


def _table(trials: list[Trial]) -> Table:
    table = Table("cameras", "in time", "cores", "CPU s a camera-hour", *STAGES, "other", "age p50/p95/p99 s")
    for t in sorted(trials, key=lambda t: t.cameras):
        w = t.wire()
        stages = [f"{w['cpu_s_per_camera_hour'][s]:.1f}" for s in (*STAGES, "other")]
        ages = "/".join(f"{w['age_s'][q]:.2f}" for q in ("p50", "p95", "p99"))
        total = f"{w['cpu_s_per_camera_hour_total']:.1f}"
        table.add_row(str(t.cameras), f"{t.kept}/{t.cameras}", f"{w['cores_used']:.2f}", total, *stages, ages)
    return table
