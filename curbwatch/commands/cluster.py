"""`curbwatch cluster`: camera groups on a pool of nodes, and jobs over recorded footage, by Ray (the extra `cluster`)."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from curbwatch.cluster.groups import Keeper

ADDRESS = click.option(
    "--address", default="auto", show_default=True, help="The head's address, as `ray start` printed it."
)


@click.group("cluster")
def cli() -> None:
    """Many machines: `ray start` makes them one, this places cameras and jobs on them."""


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise click.ClickException("Ray is not installed; install curbwatch[cluster]") from None
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError as exc:
        raise click.ClickException(
            f"--address: no cluster at {address} ({str(exc).splitlines()[0]}); start one with `ray start --head`"
        ) from None
    return ray


def _keeper(plan: Path, address: str) -> Keeper:
    from curbwatch.cluster.plan import load_plan
    from edge.yaml_source import ConfigError

    try:
        loaded = load_plan(plan)
    except ConfigError as exc:
        for problem in exc.problems:
            click.echo(problem, err=True)
        sys.exit(2)
    _connect(address)
    from curbwatch.cluster.groups import Keeper

    return Keeper(loaded)


PLAN = click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))


@cli.command()
@PLAN
@ADDRESS
def place(plan: Path, address: str) -> None:
    """Start the groups of PLAN that do not run, end those that it no longer names; safe to call again."""
    started = _keeper(plan, address).place()
    click.echo(f"started: {', '.join(started) or 'none'}")


@cli.command()
@PLAN
@ADDRESS
@click.option("--watch", type=click.FloatRange(min=1), help="Again every so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line a look.")
def status(plan: Path, address: str, watch: float | None, as_json: bool) -> None:
    """Show where each group runs and how many of its cameras are live; exit 1 when one is not."""
    keeper = _keeper(plan, address)
    while True:
        states = keeper.states()
        if as_json:
            click.echo(json.dumps([{f: getattr(s, f) for f in s.__slots__} for s in states]))
        else:
            table = Table("group", "node", "cameras", "live", "")
            for s in states:
                table.add_row(s.name, (s.node or "")[:12], str(s.cameras), str(s.live), s.reason)
            Console().print(table)
        if watch is None:
            sys.exit(0 if all(s.node and s.live == s.cameras for s in states) else 1)
        time.sleep(watch)


@cli.command()
@PLAN
@ADDRESS
def reload(plan: Path, address: str) -> None:
    """Let every group take up its box file as it is now, without a restart."""
    failed = _keeper(plan, address).reload()
    for name, why in failed.items():
        click.echo(f"{name}: {why}", err=True)
    sys.exit(1 if failed else 0)


@cli.command()
@PLAN
@ADDRESS
def end(plan: Path, address: str) -> None:
    """End every group of PLAN in order."""
    _keeper(plan, address).end_all()


@cli.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the Parquet files.",
)
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep doubtful pictures here, blurred, as a YOLO data set.",
)
@click.option("--bundle", default="default", show_default=True)
@click.option("--provider", default="auto", show_default=True)
@click.option(
    "--every",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.04),
    help="Seconds between pictures.",
)
@click.option(
    "--least",
    default=0.25,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Least score that is written.",
)
@click.option(
    "--workers", default=4, show_default=True, type=click.IntRange(1, 4096), help="Most detectors at once."
)
@ADDRESS
def archive(
    clips: tuple[Path, ...], out: Path, pictures: Path | None, bundle: str, provider: str, every: float, least: float,
    workers: int, address: str,
) -> None:  # fmt: skip
    """Run a model over recorded CLIPS (files and folders that every node sees)."""
    _connect(address)
    from curbwatch.cluster.archive import Job, run

    files = [f for c in clips for f in (sorted(c.rglob("*")) if c.is_dir() else [c])]
    wanted = [f for f in files if f.suffix.lower() in {".mp4", ".mkv", ".avi", ".mov", ".ts"}]
    job = Job(bundle, provider, every, least, None if pictures is None else pictures.resolve())
    try:
        found = run(wanted, out.resolve(), job, workers)
    except ValueError as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(f"{found} detections of {len(wanted)} clips in {out}")
