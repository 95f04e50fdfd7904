"""`curbwatch bench scheduler`: a thousand cameras on paper, with the real scheduler, slots and governor."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.fleet_sim import RECORDED, Costs, simulate


@click.command("scheduler")
@click.option("--cameras", default=1000, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--seconds", default=600.0, show_default=True)
@click.option("--detectors", default="0.5,1,2,4,16", show_default=True, help="Detector speeds, in CPU cores.")
@click.option(
    "--costs",
    "costs_file",
    default=RECORDED,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `bench throughput --json` wrote; default: the recorded one beside the benchmark.",
)
@click.option("--detect-ms", type=float, help="Another detector: one picture on one core.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(
    cameras: int,
    seconds: float,
    detectors: str,
    costs_file: Path,
    detect_ms: float | None,
    json_file: Path | None,
) -> None:
    """Starve the detector and see that all cameras wait alike and none goes blind."""
    try:
        recorded = Costs.recorded(costs_file)
    except (ValueError, KeyError) as exc:
        raise click.ClickException(f"{exc}") from None
    if detect_ms is not None:
        recorded = replace(recorded, detect_s=detect_ms / 1000)
    table = Table(
        "detector cores",
        "stretch",
        "overloads",
        "dropped",
        "looks",
        "gap s median/worst",
        "fairness",
        "late s median/worst",
        "within promise",
        "blind",
    )
    out = []
    for speed in (float(d) for d in detectors.split(",")):
        costs = replace(recorded, detectors=speed)
        r = simulate(cameras, costs, seconds)
        out.append({"detectors": speed, **asdict(r)})
        table.add_row(
            f"{speed:g}",
            f"{r.stretch}",
            f"{r.overloads}",
            f"{r.dropped}",
            f"{r.looks}",
            f"{r.median_gap_s} / {r.worst_gap_s}",
            f"{r.fairness}",
            f"{r.median_late_s} / {r.worst_late_s}",
            f"{r.promise_kept:.1%}",
            f"{r.blind}",
        )
    Console(width=130).print(table)
    ms = {k: round(v * 1e3, 2) for k, v in asdict(recorded).items() if k.endswith("_s")}
    click.echo(f"ms of one core: {ms}")
    if json_file is not None:
        json_file.write_text(json.dumps(out, indent=1) + "\n")
