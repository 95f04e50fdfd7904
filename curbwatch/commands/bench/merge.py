"""`curbwatch bench merge`: three overlapping cameras on made streets; do the alerts of one car become one case?"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import Progress

from bench.overlap import score


@click.command("merge")
@click.option("--streets", default=100, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(streets: int, seed: int, json_file: Path | None) -> None:
    """Judge each camera by the real judgement, merge by the real centre, score the pairs."""
    with tempfile.TemporaryDirectory() as folder, Progress(transient=True) as progress:
        task = progress.add_task("streets", total=streets)
        result = score(Path(folder), streets, seed, lambda _n: progress.advance(task))
    told = {**asdict(result), "precision": result.precision, "recall": result.recall}
    for name, value in told.items():
        click.echo(f"{name:<10} {value if isinstance(value, int) else round(value, 4)}")
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=1) + "\n")
