"""`curbwatch bench peers`: the same streams and weights through Curbwatch and through its peers, side by side in one run."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.peers_run import PEERS, PeerTrial, largest, peer_trial
from bench.throughput import Profile, Trial, best, machine, report, search, trial
from curbwatch.streets import bench_streets, settle_option


def _climb(told: str) -> tuple[int, tuple[int, ...]]:
    try:
        stride, sizes = told.split(":")
        return int(stride), tuple(int(n) for n in sizes.split(","))
    except ValueError:
        raise click.BadParameter(f"{told!r} is not STRIDE:N,N,… such as 1:1,2,4") from None


@click.command("peers")
@click.option(
    "--python", required=True, type=click.Path(exists=True, path_type=Path), help="The peers' Python."
)
@click.option(
    "--weights", required=True, type=click.Path(exists=True, path_type=Path), help="yolo11n.pt for the peers."
)
@click.option("--model", required=True, help="The bundle made from the same weights.")
@click.option(
    "--profile",
    type=click.Choice(("main", "sub")),
    default="main",
    show_default=True,
    help="sub: peers read the CIF sub streams alone; Curbwatch looks at them and keeps the main ones for evidence.",
)
@settle_option
@click.option("--peer", "peers", multiple=True, type=click.Choice(PEERS), help="Default: all.")
@click.option(
    "--climb",
    "climbs",
    multiple=True,
    default=("1:1,2,4,6,8,12,16", "25:1,2,4,6,8,12,16", "200:1,2,4,6,8,12,16"),
    show_default=True,
    callback=lambda _ctx, _param, told: dict(_climb(t) for t in told),
    help="STRIDE:N,N,…: look at every STRIDE-th frame (1 is their default) of that many cameras, until one is too many.",
)
@click.option("--start", default=8, show_default=True, help="Begin of Curbwatch's own search.")
@click.option("--most", default=96, show_default=True, help="End of it.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(
    python: Path,
    weights: Path,
    model: str,
    profile: Profile,
    settle_s: float,
    peers: tuple[str, ...],
    climbs: dict[int, tuple[int, ...]],
    start: int,
    most: int,
    json_file: Path | None,
) -> None:
    """Find the largest number of cameras on one core at which every van is found in time."""
    screen = Console(stderr=True)
    clips = bench_streets(screen.print)

    def ours(n: int) -> Trial:
        with tempfile.TemporaryDirectory() as folder:
            done = trial(Path(folder), clips, n, profile, bundle=model, settle_s=settle_s)
        screen.print(f"curbwatch {n}: {done.kept} in time, {done.cores:.2f} cores")
        return done

    trials = search(ours, most, start)
    told: list[PeerTrial] = []
    for peer in peers or PEERS:

        def run(n: int, stride: int, peer: str = peer) -> PeerTrial:
            with tempfile.TemporaryDirectory() as folder:
                done = peer_trial(
                    python, peer, weights, Path(folder), clips, n, stride, profile=profile, settle_s=settle_s
                )
            screen.print(f"{peer} stride {stride}, {n}: {done.kept} in time, {done.cores} cores {done.error}")
            return done

        told += largest(run, climbs)

    Console().print(_table(told, best(trials)))
    if json_file is not None:
        json_file.write_text(
            json.dumps(
                {"peers": [asdict(t) for t in told], "curbwatch": report(trials, 110.0, settle_s)}, indent=1
            )
        )
    click.echo(machine())


def _table(told: list[PeerTrial], ours: Trial | None) -> Table:
    table = Table(
        "who", "every n-th frame", "cameras on one core", "cores used", "looks a camera-second", "ours is"
    )
    mine = ours.cameras if ours else 0
    for peer, stride in dict.fromkeys((t.peer, t.stride) for t in told):
        good = [t for t in told if (t.peer, t.stride) == (peer, stride) and t.good]
        top = max(good, key=lambda t: t.cameras, default=None)
        n = top.cameras if top else 0
        ratio = f"{mine / n:.1f} x" if n else "-"
        table.add_row(
            peer,
            str(stride),
            str(n),
            f"{top.cores if top else 0}",
            f"{top.looks_per_camera_s if top else 0}",
            ratio,
        )
    if ours is not None:
        table.add_row("curbwatch", "on demand", str(mine), f"{ours.cores:.2f}", "", "1")
    return table
