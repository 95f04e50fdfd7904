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
from bench.manifest import load_manifest
from bench.score import FAMILIES, Raised, Ran, figures, match, seconds_per_second
from edge.yaml_source import ConfigError
from models.bundle import BundleError, load_bundle
from models.detector import Detector


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
        runs, warnings = run_events(manifest, model, pictures, threads)
    except (ConfigError, BundleError) as exc:
        click.echo(f"error: {exc}", err=True)
        sys.exit(2)
    for line in warnings:
        click.echo(f"warning: {line}", err=True)
    _print(runs)
    if json_file is not None:
        json_file.write_text(
            json.dumps(events_json(runs, model, warnings), indent=1) + "\n", encoding="utf-8"
        )


def run_events(
    manifest: Path, model: str, pictures: Path | None = None, threads: int = 1
) -> tuple[list[ClipRun], list[str]]:
    """Run every clip through the edge; with the runs what the manifest says that nobody reads.

    Raises ConfigError or BundleError where the manifest or the bundle cannot be used.
    """
    plan = load_manifest(manifest)
    detector = Detector(load_bundle(model), threads=threads)
    warnings = plan.unknown_fields()
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("clips", total=len(plan.clips))
        runs = []
        for clip in plan.clips:
            progress.update(task, description=clip.id)
            run = run_clip(clip, manifest.parent, detector, pictures, warn=warnings)
            match(clip, run.alerts, run.length_s)
            runs.append(run)
            progress.advance(task)
    return runs, warnings


def _print(runs: list[ClipRun]) -> None:
    console = Console(width=150)
    clips = Table(
        "clip", "length s", "expected", "found", "false", "alerts: issue zone first-confirmed", "s per s"
    )
    for run in runs:
        words = [
            f"{a.issue} {a.zone} {a.first_seen_s:.1f}-{a.confirmed_s:.1f}{_mark(run, a)}" for a in run.alerts
        ]
        found = sum(a.matched is not None for a in run.alerts)
        counts = (
            ("–", "–", "–") if run.clip.unscored else (len(run.clip.expect), found, len(run.alerts) - found)
        )
        speed = f"{run.wall_s / max(run.length_s, 0.01):.2f}"
        note = f"failed: {run.error}" if run.error else "\n".join(words)
        clips.add_row(run.clip.id, f"{run.length_s:.1f}", *map(str, counts), note, speed)
    console.print(clips)
    total = Table(
        *("family", "expected", "found", "false", "duplicates", "precision", "recall", "F1"),
        *("median delay s", "longest", "early", "false an hour"),
    )
    ran, alerts = _ran(runs), [a for r in runs for a in r.alerts]
    for name in (*FAMILIES, None):
        f = figures(ran, alerts, name)
        numbers = [str(v) for v in (f.expected, f.found, f.false, f.duplicates)]
        shares = [_share(v) for v in (f.precision, f.recall, f.f1, f.delay_s, f.longest_delay_s)]
        total.add_row(name or "all", *numbers, *shares, str(f.early), _share(f.false_per_hour))
    console.print(total)
    length = sum(r.length_s for r in ran if not r.clip.unscored)
    wall, cpu = seconds_per_second(ran) or (None, None)
    console.print(
        f"{length:.0f} s of scored clips; a second took {_share(wall)} s, of these {_share(cpu)} s of processor"
    )


def _ran(runs: list[ClipRun]) -> list[Ran]:
    return [Ran(r.clip, r.length_s, r.wall_s, r.cpu_s) for r in runs]


def _mark(run: ClipRun, alert: Raised) -> str:
    if run.clip.unscored:
        return ""
    return " ✓" if alert.matched is not None else " duplicate" if alert.duplicate else " FALSE"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def events_json(runs: list[ClipRun], model: str, warnings: list[str]) -> dict[str, object]:
    """The figures as `--json` writes them."""
    ran, alerts = _ran(runs), [a for r in runs for a in r.alerts]
    speed = seconds_per_second(ran) or (None, None)
    return {
        "version": 1,
        "model": model,
        "model_sha256": load_bundle(model).sha256,
        "all": figures(ran, alerts).as_json(),
        "families": {name: figures(ran, alerts, name).as_json() for name in FAMILIES},
        "false_per_hour": figures(ran, alerts).false_per_hour,
        "seconds_per_second": speed[0],
        "cpu_seconds_per_second": speed[1],
        "clips": [
            {
                "id": r.clip.id,
                "unscored": r.clip.unscored,
                "length_s": r.length_s,
                "wall_s": r.wall_s,
                "cpu_s": r.cpu_s,
                "judged": r.judged,
                "error": r.error,
            }
            for r in runs
        ],
        "alerts": [
            {**asdict(a), "matched": a.matched is not None, "unscored": r.clip.unscored}
            for r in runs
            for a in r.alerts
        ],
        "warnings": warnings,
    }
