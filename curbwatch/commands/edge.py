"""`curbwatch edge`: run a box, check its file, print the file's JSON Schema."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

import click

from edge.allocator import few_arenas
from edge.box import Box
from edge.changes import check_addresses
from edge.config import BoxConfig, load_box
from edge.log import configure, get_logger
from edge.reload import ConfigWatch
from edge.yaml_source import ConfigError
from models.bundle import BundleError

_config = click.argument("config", type=click.Path(dir_okay=False, path_type=Path))


@click.group("edge")
def cli() -> None:
    """One box beside its cameras."""


def _load(config: Path) -> BoxConfig:
    try:
        return load_box(config)
    except ConfigError as exc:
        for problem in exc.problems:
            click.echo(problem, err=True)
        sys.exit(2)


@cli.command()
@_config
def run(config: Path) -> None:
    """Run the box until SIGINT or SIGTERM. Changes of the file are taken up while it runs; SIGHUP reads it at once."""
    configure()
    few_arenas()
    log = get_logger()
    # Before the file is read, so that no change of it in between is missed.
    watch = ConfigWatch(config, lambda new: box.apply(new), log)
    try:
        loaded = _load(config)
        check_addresses(loaded, {c.id for c in loaded.cameras if c.enabled})
        box = Box(loaded, log)
    except (BundleError, ValueError) as exc:
        click.echo(f"error: {exc}", err=True)
        sys.exit(2)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    box.config_problem = lambda: watch.problem
    signal.signal(signal.SIGHUP, lambda *_: watch.poke())
    box.start()
    watch.start()
    done.wait()
    watch.stop()
    box.stop()


@cli.command()
@_config
def check(config: Path) -> None:
    """Read the file and answer each mistake with file, line, field and mend."""
    box = _load(config)
    zones = sum(len(c.zones) for c in box.cameras)
    click.echo(f"{config}: good: box {box.device}, {len(box.cameras)} cameras, {zones} zones")


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the box's file."""
    click.echo(json.dumps(BoxConfig.model_json_schema(), indent=1, ensure_ascii=False))
