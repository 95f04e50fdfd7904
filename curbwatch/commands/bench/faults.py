"""`curbwatch bench faults`: what a feed can do to a box, measured over real RTSP servers on loopback."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from camera_adapters.testing.faultbench import FaultBench, Row, summary


@click.command("faults")
@click.option("--cameras", type=click.IntRange(2, 64), default=16, show_default=True)
@click.option("--reconnects", type=click.IntRange(10, 5000), default=200, show_default=True)
@click.option("--only", default="", metavar="WORD", help="Only the faults whose name holds this.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
def cli(cameras: int, reconnects: int, only: str, json_file: Path | None) -> None:
    """Break one camera in many ways while the others play; print the time to notice and to recover."""
    with FaultBench(cameras, reconnects) as bench:
        rows = bench.run(lambda name: click.echo(f"… {name}", err=True), only)
    if not rows:
        raise click.UsageError(f"--only: no fault's name holds {only}")
    figures = summary(rows)
    Console(width=160).print(_table(rows))
    for name, value in figures.items():
        click.echo(f"{name:28} {value}")
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"rows": [asdict(r) for r in rows], "summary": figures}, indent=1))


def _table(rows: list[Row]) -> Table:
    table = Table(
        "fault", "noticed as", "notice s", "recover s", "lost", "lost by others", "threads", "fds", "RSS MiB"
    )
    for r in rows:
        table.add_row(
            r.fault,
            r.noticed_as,
            "–" if r.notice_s is None else f"{r.notice_s:.1f}",
            "–" if r.recover_s is None else f"{r.recover_s:.1f}",
            str(r.lost_by_victim),
            str(r.lost_by_others),
            f"{r.threads[0]} → {r.threads[1]}",
            f"{r.fds[0]} → {r.fds[1]}",
            f"{r.rss[0] >> 20} → {r.rss[1] >> 20}",
        )
    return table
