"""`curbwatch bench rollout`: a good, a worse and a crashing model over a simulated fleet."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command("rollout")
@click.option("--boxes", default=200, show_default=True, type=click.IntRange(12, 1000))
@click.option("--cameras", default=4, show_default=True, type=click.IntRange(1, 64), help="A box.")
@click.option("--hours", default=4.0, show_default=True, help="Hours of the city's clock between heartbeats.")
@click.option("--seed", default=1, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures as JSON.")
def cli(boxes: int, cameras: int, hours: float, seed: int, out: Path | None) -> None:
    """Roll three models out over simulated boxes that speak HTTP with a real centre, on a clock of their own.

    The limits are the plan's defaults, but for twelve hours a stage; two reviewers decide every case and slip in three of a hundred.
    """
    from bench.rollout_sim import run

    told = run(boxes, hours, seed, cameras)
    title = (
        f"{told['boxes']} boxes, {told['cameras']} cameras, {told['city_days']} days of the city in {told['seconds']} s: "
        f"{told['requests']} requests, {told['alerts']} alerts, {told['decided']} decisions"
    )
    head = (
        "model",
        "end",
        "in stage",
        "hours",
        "most boxes",
        "past ring 0",
        "heartbeats until back",
        "left on it",
        "why",
    )
    table = Table(*head, title=title)
    for o in told["outcomes"]:
        back = "-" if o["beats_to_back"] is None else str(o["beats_to_back"])
        table.add_row(
            o["model"], o["status"], o["stage"], str(o["city_hours"]), str(o["most_boxes"]),
            str(o["ran_past_ring_0"]), back, str(o["still_on_it"]), o["why"],
        )  # fmt: skip
    Console(width=200).print(table)
    if out:
        out.write_text(json.dumps(told, indent=1), encoding="utf-8")
