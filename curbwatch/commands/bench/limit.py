"""`curbwatch bench limit`: how far decoding, detector and the rest are from what the libraries alone would cost."""

from __future__ import annotations

import json
import tempfile
import time
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.limit import REST_TARGET_MS, Pair, beginning, decoded, decoding, detecting, receiving
from bench.limit_rest import Rest, feed, still_frames
from bench.throughput import BUSY_EVERY, Profile, cameras_at, machine, split_cores
from curbwatch.streets import bench_streets

# Parking alone, and a no-dumping zone with it, which also looks for left objects.
PROFILES: tuple[Profile, ...] = ("main", "acts")
PARTS = ("decode", "network", "detector", "rest")


@click.command("limit")
@click.option(
    "--clip", type=click.Path(exists=True, path_type=Path), help="Default: the busy street, 1080p25."
)
@click.option("--model", default="default", show_default=True, help="Bundle: a folder or an embedded one.")
@click.option("--provider", default="auto", show_default=True, help="auto, cpu, openvino, cuda or tensorrt.")
@click.option("--batch", "batches", default="1,4", show_default=True, help="Batch sizes of the detector.")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1, 200))
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="Default: all.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(
    clip: Path | None,
    model: str,
    provider: str,
    batches: str,
    rounds: int,
    parts: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Compare with libav's and ffmpeg's bare decoding and the bare runtime, by turns, in CPU seconds."""
    screen = Console(stderr=True)
    quiet = None
    if clip is None:
        quiet, clip = (street.main for street in bench_streets(screen.print))
    wanted, pairs, rests = parts or PARTS, list[Pair](), list[Rest]()
    videos = decoded(clip, 40)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if "decode" in wanted:
            short = beginning(clip, 24.0, Path(folder) / f"short{clip.suffix}")
            pairs += [p for mode in ("key", "all") for p in decoding(short, mode, rounds)]
        if "network" in wanted:
            plan = {"cam0": {"file": str(clip.resolve()), "start_unit": 0}}
            with cameras_at(Path(folder), plan, split_cores()[1]) as port:
                pairs.append(receiving(f"rtsp://127.0.0.1:{port}/cam0", 15.0, max(2, rounds // 3)))
        if "detector" in wanted:
            sizes = tuple(int(b) for b in batches.split(","))
            pairs += detecting(model, provider, still_frames(videos), sizes, rounds)
        if "rest" in wanted:
            streets = {"all of the clip" if quiet is None else "all busy": [videos]}
            if quiet is not None:
                # As `bench throughput` has them.
                calm = decoded(quiet, 40)
                streets[f"one in {BUSY_EVERY} busy"] = [calm] * (BUSY_EVERY - 1) + [videos]
            for i, (profile, (name, scenes)) in enumerate(product(PROFILES, streets.items())):
                home = Path(folder) / f"rest{i}"
                rests.append(feed(home, scenes, 8, 60, model, provider, REST_TARGET_MS, profile, name))
    _show(pairs, rests)
    click.echo(f"{machine()}; {time.monotonic() - began:.0f} s")
    if json_file is not None:
        told = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "pairs": [p.wire() for p in pairs],
            "rest": [r.wire() for r in rests],
        }
        json_file.write_text(json.dumps(told, indent=1) + "\n")


def _show(pairs: list[Pair], rests: list[Rest]) -> None:
    table = Table("ours against", "unit", "ours ms", "bare ms", "ratio", "target", "met")
    for p in pairs:
        target = "-" if p.target is None else f"{p.target:g}"
        table.add_row(
            p.what, p.unit, f"{p.ours_ms:.3f}", f"{p.bare_ms:.3f}", f"{p.ratio:.3f}", target, _met(p.met)
        )
    screen = Console(width=190)
    if pairs:
        screen.print(table)
    if rests:
        stages = list(rests[0].stage_ms)
        table = Table("CPU ms a sampled frame", *stages, "gate, left, rules, other", "target", "met")
        for r in rests:
            values = [f"{r.stage_ms[name]:.3f}" for name in stages]
            what = f"{r.profile}, {r.streets}: {r.cameras} cameras, {r.frames} frames, {r.judged} judged"
            table.add_row(what, *values, f"{r.rest_ms:.3f}", f"{r.target:g}", _met(r.met))
        screen.print(table)


def _met(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"
