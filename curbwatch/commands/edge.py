"""`curbwatch edge`: run boxes under a supervisor, ask how they are, check a file, print the file's JSON Schema."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from edge.alone import end_with, hold
from edge.log import configure, get_logger
from edge.supervisor import AGAIN, REFUSED, Supervisor, settings_of
from edge.vitals import Vitals, VitalsWriter, read_vitals, starting, vitals_file, write_vitals

if TYPE_CHECKING:
    from edge.box import Box
    from edge.config import BoxConfig

_file = click.Path(dir_okay=False, path_type=Path)
_config = click.argument("config", type=_file)


@click.group("edge")
def cli() -> None:
    """One box beside its cameras."""


def _load(config: Path) -> BoxConfig:
    # Here, so that the supervisor, which lives in the same command, stays small.
    from edge.config import load_box
    from edge.yaml_source import ConfigError

    try:
        return load_box(config)
    except ConfigError as exc:
        for problem in exc.problems:
            click.echo(problem, err=True)
        sys.exit(REFUSED)


@cli.command()
@click.argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=_file)
def run(configs: tuple[Path, ...]) -> None:
    """Keep a worker process for each CONFIG (a group of cameras) until SIGINT or SIGTERM; SIGHUP reads the files again."""
    configure()
    if len({c.resolve() for c in configs}) < len(configs):
        raise click.BadParameter("a file is named twice", param_hint="CONFIG")
    supervisor = Supervisor(configs, get_logger())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.stop())
    signal.signal(signal.SIGHUP, lambda *_: supervisor.reload())
    os.environ["CURBWATCH_SUPERVISOR"] = str(os.getpid())
    sys.exit(supervisor.run())


@cli.command(hidden=True)
@_config
@click.option("--safe", is_flag=True, help="Uplink and heartbeat alone.")
def work(config: Path, safe: bool) -> None:
    """Be one worker. `curbwatch edge run` starts it; alone it does for a debugger."""
    configure()
    faulthandler.enable()
    if parent := os.environ.get("CURBWATCH_SUPERVISOR"):
        end_with(int(parent))
        # A terminal sends Ctrl-C to both; the supervisor says when this one ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signs = vitals_file(config)
    write_vitals(signs, starting())
    done = threading.Event()
    for number in (signal.SIGTERM,) if parent else (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    (_work_safe if safe else _work)(config, signs, done)


def _end(exc: Exception) -> NoReturn:
    """Say why the worker cannot start. Only a wrong file is worth waiting for a person; the rest is tried again."""
    from edge.changes import RefusedConfigError
    from edge.yaml_source import ConfigError

    click.echo(f"error: {exc}", err=True)
    sys.exit(REFUSED if isinstance(exc, (ConfigError, RefusedConfigError)) else 1)


def _work(config: Path, signs: Path, done: threading.Event) -> None:
    from edge.allocator import lean_process
    from edge.box import Box
    from edge.changes import check_addresses
    from edge.reload import ConfigWatch

    lean_process()
    log = get_logger()
    # Before the file is read, so that no change of it in between is missed.
    watch = ConfigWatch(config, lambda new: box.apply_file(new), log)
    loaded = _load(config)
    try:
        check_addresses(loaded, {c.id for c in loaded.cameras if c.enabled})
        held = hold(loaded.data_dir)
        box = Box(loaded, log, env_file=config.with_suffix(".env"))
    except (ValueError, OSError) as exc:
        _end(exc)
    box.config_problem = lambda: watch.problem
    again = threading.Event()

    def restart() -> None:
        again.set()
        done.set()

    box.on_restart(restart)
    signal.signal(signal.SIGHUP, lambda *_: watch.poke())
    box.start()
    watch.start()
    writer = VitalsWriter(signs, lambda: _look(box))
    writer.start()
    done.wait()
    watch.stop()
    writer.close()
    box.stop()
    held.close()
    if again.is_set():
        sys.exit(AGAIN)


def _work_safe(config: Path, signs: Path, done: threading.Event) -> None:
    from edge.safe import SafeBox

    loaded = _load(config)
    try:
        held = hold(loaded.data_dir)
        box = SafeBox(loaded, get_logger(), env_file=config.with_suffix(".env"))
    except (ValueError, OSError) as exc:
        _end(exc)
    again = threading.Event()

    def restart() -> None:
        again.set()
        done.set()

    box.on_restart(restart)
    box.start()

    def look() -> Vitals:
        now = time.monotonic()
        return Vitals(os.getpid(), now, now, "safe")

    writer = VitalsWriter(signs, look)
    writer.start()
    done.wait()
    writer.close()
    box.stop()
    held.close()
    if again.is_set():
        sys.exit(AGAIN)


def _look(box: Box) -> Vitals:
    lanes = box.worker.lanes
    live = sum(1 for lane in lanes if lane.stream.health().state.value == "live")
    return Vitals(os.getpid(), time.monotonic(), box.worker.turned_s, "normal", len(lanes), live)


@cli.command()
@_config
def health(config: Path) -> None:
    """Print one JSON line; exit 0 while the worker of CONFIG shows signs of life, 1 when it does not.

    Safe mode is life: starting the container again would change nothing.
    """
    vitals = read_vitals(vitals_file(config))
    if vitals is None:
        click.echo(json.dumps({"alive": False, "reason": "no worker of this file runs here"}))
        sys.exit(1)
    settings, age = settings_of(config), vitals.age_s(time.monotonic())
    alive = age < (settings.start_s if vitals.mode == "starting" else settings.watchdog_s)
    told = {"mode": vitals.mode, "cameras": vitals.cameras, "live": vitals.live, "age_s": round(age, 1)}
    click.echo(json.dumps({"alive": alive} | told))
    sys.exit(0 if alive else 1)


@cli.command()
@click.option("--api", required=True, help="Address of the centre.")
@click.option("--code", required=True, help="One-time code of the centre; - reads it from standard input.")
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), default=Path("var/edge"), show_default=True,
    help="The box's `data_dir`.",
)  # fmt: skip
@click.option("--ca-file", type=_file, help="Certificates (PEM) that sign the centre's.")
def enroll(api: str, code: str, data_dir: Path, ca_file: Path | None) -> None:
    """Make this box's key, show it to the centre with a one-time code, and keep token and trust in the data folder."""
    from edge.fleet.enrol import TOKEN, EnrolError, enrol
    from edge.uplink import client_for

    if not api.startswith(("https://", "http://")):
        raise click.BadParameter("write http:// or https://", param_hint="--api")
    told = sys.stdin.readline() if code == "-" else code
    try:
        with client_for(api.rstrip("/"), "none", ca_file=ca_file) as client:
            got = enrol(data_dir, client, told)
    except (EnrolError, OSError, ValueError) as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(
        f"device: {got.device_id}\ndata_dir: {data_dir}\napi: {{url: '{api}', token_file: {data_dir / TOKEN}}}\n"
        f"# enrolled; these lines begin the box's file. Releases: {'trusted' if got.root else 'none at the centre yet'}"
    )


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
    from edge.config import BoxConfig

    click.echo(json.dumps(BoxConfig.model_json_schema(), indent=1, ensure_ascii=False))
