"""`curbwatch bench sensitivity MANIFEST`: the event score when the same clips come in other light, weather, size and rate."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.changes import CHANGES, Change, changed_clip, starved_copy
from bench.events import ClipRun, run_clip
from bench.manifest import Clip, load_manifest
from bench.score import Ran, figures, match
from edge.yaml_source import ConfigError
from models.bundle import BundleError, load_bundle
from models.detector import Detector


@click.command("sensitivity")
@click.argument("manifest", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", default="default", show_default=True, help="A bundle's folder, or `default`.")
@click.option(
    "--change", "names", multiple=True, type=click.Choice(list(CHANGES)), help="Only these; all, by default."
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(manifest: Path, model: str, names: tuple[str, ...], json_file: Path | None) -> None:
    """Run the clips of MANIFEST once a change and print what was found, missed and false."""
    try:
        plan = load_manifest(manifest)
        detector = Detector(load_bundle(model))
    except (ConfigError, BundleError) as exc:
        click.echo(f"error: {exc}", err=True)
        sys.exit(2)
    table = Table("change", "found", "false", "duplicates", "missed or false")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or CHANGES:
            runs = [_run(c, CHANGES[name], manifest.parent, Path(folder), detector) for c in plan.clips]
            alerts = [a for r in runs for a in r.alerts]
            f = figures([Ran(r.clip, r.length_s, r.wall_s) for r in runs], alerts)
            missed = [
                f"missed {e.issue} in {r.clip.id}"
                for r in runs
                if not r.clip.unscored
                for i, e in enumerate(r.clip.expect)
                if not any(a.matched == i for a in r.alerts)
            ]
            scored = {r.clip.id for r in runs if not r.clip.unscored}
            false = [
                f"false {a.issue} in {a.clip} at {a.confirmed_s:.0f} s"
                for a in alerts
                if a.matched is None and a.clip in scored
            ]
            rows.append({"change": name, **f.as_json(), "words": [*missed, *false]})
            counts = (f"{f.found} of {f.expected}", str(f.false), str(f.duplicates))
            table.add_row(name, *counts, "\n".join([*missed, *false]))
            click.echo(f"{name}: {counts[0]} found, {f.false} false", err=True)
    Console(width=140).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({"model": model, "changes": rows}, indent=1) + "\n", encoding="utf-8")


def _run(clip: Clip, change: Change, folder: Path, copies: Path, detector: Detector) -> ClipRun:
    if change.crf is not None:
        copy = copies / f"{Path(clip.file).stem}.mp4"
        starved_copy(folder / clip.file, copy, change.crf)
        clip, folder = clip.model_copy(update={"file": copy.name}), copies
    run = run_clip(changed_clip(clip, change), folder, detector, change=change)
    match(run.clip, run.alerts, run.length_s)
    return run
