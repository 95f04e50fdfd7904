"""`curbwatch bench events MANIFEST`: score the whole edge on real clips with labelled events."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.events import ClipRun, run_clip
from bench.manifest import Manifest, load_manifest
from bench.score import Figures, figures, match
from edge.yaml_source import ConfigError
from models.bundle import BundleError, load_bundle
from models.detector import Detector

FAMILIES = ("parking", "dumping", "street_occupation", "vendor")


@click.command("events")
@click.argument("manifest", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", default="default", show_default=True, help="A bundle's folder, or `default`.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the figures and every alert here.",
)
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="One annotated frame an alert goes here.",
)
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 64), help="CPU threads of the detector."
)
def cli(manifest: Path, model: str, json_file: Path | None, pictures: Path | None, threads: int) -> None:
    """Run every clip of MANIFEST through the edge and print found, false and missed events."""
    try:
        plan = load_manifest(manifest)
        detector = Detector(load_bundle(model), threads=threads)
    except (ConfigError, BundleError) as exc:
        click.echo(f"error: {exc}", err=True)
        sys.exit(2)
    warnings: list[str] = []
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("clips", total=len(plan.clips))
        runs = []
        for clip in plan.clips:
            progress.update(task, description=clip.id)
            run = run_clip(clip, manifest.parent, detector, pictures, warn=warnings)
            match(clip, run.alerts, run.length_s)
            runs.append(run)
            progress.advance(task)
    for line in warnings:
        click.echo(f"warning: {line}", err=True)
    _print(plan, runs)
    if json_file is not None:
        json_file.write_text(json.dumps(_as_json(plan, runs, model), indent=1) + "\n", encoding="utf-8")


def _print(plan: Manifest, runs: list[ClipRun]) -> None:
    console = Console(width=150)
    clips = Table(
        "clip", "length s", "expected", "found", "false", "alerts: issue zone first-confirmed", "s per s"
    )
    for run in runs:
        words = [
            f"{a.issue} {a.zone} {a.first_seen_s:.1f}-{a.confirmed_s:.1f}{_mark(a.matched, a.duplicate)}"
            for a in run.alerts
        ]
        found = sum(a.matched is not None for a in run.alerts)
        speed = f"{run.wall_s / max(run.length_s, 0.01):.2f}"
        row = (
            run.clip.id,
            f"{run.length_s:.1f}",
            str(len(run.clip.expect)),
            str(found),
            str(len(run.alerts) - found),
            "\n".join(words),
            speed,
        )
        clips.add_row(*row)
    console.print(clips)
    total = Table(
        "family", "expected", "found", "false", "duplicates", "precision", "recall", "F1", "median delay s"
    )
    alerts = [a for r in runs for a in r.alerts]
    for name in (*FAMILIES, None):
        f = figures(plan.clips, alerts, name)
        numbers = [str(v) for v in (f.expected, f.found, f.false, f.duplicates)]
        total.add_row(
            name or "all", *numbers, _share(f.precision), _share(f.recall), _share(f.f1), _share(f.delay_s)
        )
    console.print(total)
    length, wall = _totals(runs)
    false = figures(plan.clips, alerts).false
    console.print(
        f"{length:.0f} s of clips in {wall:.0f} s: {wall / length:.2f} s per second; {false / length * 3600:.2f} false alerts per hour"
    )


def _totals(runs: list[ClipRun]) -> tuple[float, float]:
    return max(sum(r.length_s for r in runs), 0.01), sum(r.wall_s for r in runs)


def _mark(matched: int | None, duplicate: bool) -> str:
    return " ✓" if matched is not None else " duplicate" if duplicate else " FALSE"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _as_json(plan: Manifest, runs: list[ClipRun], model: str) -> dict[str, object]:
    alerts = [a for r in runs for a in r.alerts]
    length, wall = _totals(runs)

    def flat(f: Figures) -> dict[str, object]:
        return {**asdict(f), "precision": f.precision, "recall": f.recall, "f1": f.f1}

    return {
        "version": 1,
        "model": model,
        "all": flat(figures(plan.clips, alerts)),
        "families": {name: flat(figures(plan.clips, alerts, name)) for name in FAMILIES},
        "false_per_hour": figures(plan.clips, alerts).false / length * 3600,
        "seconds_per_second": wall / length,
        "clips": [
            {"id": r.clip.id, "length_s": r.length_s, "wall_s": r.wall_s, "judged": r.judged} for r in runs
        ],
        "alerts": [{**asdict(a), "matched": a.matched is not None} for a in alerts],
    }
