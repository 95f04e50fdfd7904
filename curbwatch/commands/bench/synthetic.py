"""`curbwatch bench synthetic`: thousands of made streets with known truth through the real judgement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

COLUMNS = ("expected", "found", "recall", "false", "false_a_camera_day")


@click.command("synthetic")
@click.option("--cases", default=3600, show_default=True, type=click.IntRange(0), help="Short scripts.")
@click.option("--days", default=30, show_default=True, type=click.IntRange(0), help="Whole days of a camera.")
@click.option(
    "--seed", default=1, show_default=True, help="First seed; the same seed makes the same streets."
)
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Figures and failures."
)
def cli(cases: int, days: int, seed: int, processes: int, json_file: Path | None) -> None:
    """Print recall and false alerts a camera-day, by script and by issue."""
    from bench.synthetic.run import run

    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("scripts", total=cases + days)
        told = run(cases, days, seed, processes, lambda: progress.advance(task))
    console = Console(width=120)
    for title, rows in (("by script", told["scripts"]), ("by issue", told["issues"])):
        console.print(_table(title, rows))
    whole = {k: told[k] for k in ("short scripts", "days together")}
    console.print(_table(f"all, {told['cpu_s']} CPU seconds", whole))
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _table(title: str, rows: dict[str, dict[str, Any]]) -> Table:
    table = Table("", "camera-days", *(c.replace("_", " ") for c in COLUMNS), title=title)
    for name, row in rows.items():
        table.add_row(
            name, str(row.get("camera_days", "")), *("–" if row[c] is None else str(row[c]) for c in COLUMNS)
        )
    return table
