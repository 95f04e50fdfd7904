"""`curbwatch bench gates`: how often the gates of a rollout halt a good model and let a worse one pass."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command("gates")
@click.option("--seeds", default=100, show_default=True, type=click.IntRange(1, 10_000))
@click.option(
    "--days",
    default=60,
    show_default=True,
    type=click.IntRange(3, 365),
    help="Until a rollout counts as waiting.",
)
@click.option(
    "--cameras", default=800, show_default=True, type=click.IntRange(20, 100_000), help="A tenth in ring 0."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures as JSON.")
def cli(seeds: int, days: int, cameras: int, workers: int, out: Path | None) -> None:
    """Roll models of known truth out many times, purely: Poisson alerts, people who slip, the real gates once an hour."""
    from bench.rollout_odds import odds

    rings = (cameras // 10, cameras - cameras // 10)
    told = odds(seeds, rings, days, workers=workers)
    table = Table(
        "model",
        "past ring 0",
        "done",
        "halted",
        "waiting",
        "days",
        title=f"{seeds} rollouts each, {cameras} cameras",
    )
    for o in told:
        table.add_row(
            o["model"], *(str(o[k]) for k in ("past_ring_0", "done", "halted", "waiting", "median_days"))
        )  # fmt: skip
    Console(width=120).print(table)
    if out:
        out.write_text(json.dumps(told, indent=1), encoding="utf-8")
