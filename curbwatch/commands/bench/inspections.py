"""`curbwatch bench inspections MANIFEST`: re-inspection on real clips with labelled events."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command("inspections")
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="default", show_default=True)
@click.option("--every", default=1.0, show_default=True, help="Seconds between looks; clips are short.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(manifest: Path, model: str, every: float, json_file: Path | None) -> None:
    """Order looks while each found event of MANIFEST lasts and after it, and compare with what is true."""
    from bench.inspections import run_all
    from bench.manifest import load_manifest
    from models.bundle import load_bundle
    from models.detector import Detector

    answers = run_all(load_manifest(manifest), manifest.parent, Detector(load_bundle(model)), every)
    counted = Counter((a.clip, a.issue, a.truth, a.result) for a in answers)
    table = Table("clip", "class", "true", "said", "orders")
    for (clip, issue, truth, result), n in sorted(counted.items()):
        table.add_row(clip, issue, truth, result, str(n))
    Console().print(table)
    wrong = sum(a.result not in {a.truth, "inconclusive"} for a in answers)
    click.echo(
        f"{len(answers)} orders, {sum(a.result == a.truth for a in answers)} right, {wrong} wrong, the rest inconclusive"
    )
    if json_file:
        json_file.write_text(json.dumps([asdict(a) for a in answers], indent=1), encoding="utf-8")
