"""`curbwatch bench view MANIFEST`: does the view check stay quiet on real clips, and tell what is done to a camera?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command("view")
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(manifest: Path, json_file: Path | None) -> None:
    """Play the clips of MANIFEST in quiet and in broken ways and print what the view check said."""
    from bench.manifest import load_manifest
    from bench.view import run_all

    paths = [manifest.parent / clip.file for clip in load_manifest(manifest).clips]
    rows = run_all(paths, lambda name: click.echo(f"… {name}", err=True))
    table = Table("played", "reference", "must say", "clips", "told", "wrong", "bad readings", "after s")
    for r in rows:
        table.add_row(
            r.name,
            "yes" if r.referenced else "no",
            r.want or "nothing",
            str(r.clips),
            str(r.told),
            str(r.wrong),
            f"{r.bad} of {r.readings}",
            "–" if r.after_s is None else f"{r.after_s:g}",
        )
    Console(width=130).print(table)
    quiet = [r for r in rows if not r.want]
    click.echo(
        f"quiet: {sum(r.told for r in quiet)} of {sum(r.clips for r in quiet)} plays raised an event; "
        f"faults: {sum(r.told for r in rows if r.want)} of {sum(r.clips for r in rows if r.want)} told"
    )
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n", encoding="utf-8")
