"""`curbwatch bench offline`: days without an uplink at ten times the usual rate, then delivery in order."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from bench.offline import run
from edge.log import configure


@click.command("offline")
@click.option("--days", default=1, show_default=True, type=click.IntRange(1, 30))
@click.option(
    "--factor", default=10, show_default=True, type=click.IntRange(1, 1000), help="Times the usual rate."
)
@click.option("--quota-mib", default=128, show_default=True, type=click.IntRange(16, 1_000_000))
@click.option("--clip-kib", default=600, show_default=True, type=click.IntRange(1, 100_000))
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
def cli(days: int, factor: int, quota_mib: int, clip_kib: int, json_file: Path | None) -> None:
    """Fill the outbox with the uplink away, then deliver to a real API; report time, bytes, order, drops."""
    configure(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        told = asdict(run(Path(folder), days, factor, quota_mib, clip_kib))
    for name, value in told.items():
        click.echo(f"{name:<16} {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(0 if told["left"] == 0 else 1)
