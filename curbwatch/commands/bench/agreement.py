"""`curbwatch bench agreement`: people and vehicles against the network that taught the bundle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command("agreement")
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--teacher",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="A YOLO .pt.",
)
@click.option("--model", default="default", show_default=True)
@click.option("--provider", default="auto", show_default=True)
@click.option("--frames", default=6, show_default=True, type=click.IntRange(1, 1000), help="Of each clip.")
@click.option("--threshold", default=0.3, show_default=True, type=click.FloatRange(0.01, 1))
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(
    clips: Path,
    teacher: Path,
    model: str,
    provider: str,
    frames: int,
    threshold: float,
    json_file: Path | None,
) -> None:
    """Compare a bundle's people and vehicles with its teacher's on frames of CLIPS (needs `make install-training`)."""
    from bench.agreement import compare

    screen = Console(stderr=True)
    count, found = compare(model, provider, teacher, clips, frames, threshold, screen.print)
    table = Table(f"{count} frames", "", "both", "only the first", "only the second", "F1")
    for name, groups in found.items():
        for group, a in groups.items():
            table.add_row(name, group, str(a.both), str(a.only_first), str(a.only_second), f"{a.f1:.3f}")
    Console(width=130).print(table)
    if json_file is not None:
        told = {n: {g: {**asdict(a), "f1": round(a.f1, 4)} for g, a in gs.items()} for n, gs in found.items()}
        json_file.write_text(json.dumps({"frames": count, **told}, indent=1) + "\n", "utf-8")
