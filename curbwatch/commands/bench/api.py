"""`curbwatch bench api`: load on the centre."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command("api")
@click.option("--cases", default=1_000_000, show_default=True, help="Cases that are in the store before.")
@click.option("--times", default=400, show_default=True, help="Requests of each kind.")
@click.option("--workers", default=2, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures as JSON.")
def cli(cases: int, times: int, workers: int, out: Path | None) -> None:
    """Measure ingest, queue page, map box and verdict on a real PostgreSQL."""
    from bench.load_api import run

    told = run(cases, times, workers)
    load = [round(v, 1) for v in os.getloadavg()]
    title = f"{told['cases']} cases, {workers} workers, {told['cores']} cores, load {load}"
    head = (
        "n",
        "a second",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "API CPU ms",
        "PG CPU ms",
        "client CPU ms",
        "a second by CPU",
    )
    table = Table("", *head, title=title)
    for name, row in told["figures"].items():
        table.add_row(name, *(str(v) for v in row.values()))
    Console().print(table)
    if out:
        out.write_text(json.dumps(told | {"load": load}, indent=1), encoding="utf-8")
