"""`curbwatch bench privacy`: faces and plates of real pictures that stay readable after the box's blurring."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bench.privacy import Count, MissingError, measure


@click.command("privacy")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--bundle", default="default", show_default=True, help="The detector that finds people and vehicles."
)
@click.option(
    "--every",
    "every_s",
    default=2.0,
    show_default=True,
    help="Seconds between pictures of a video; of a folder, one file in so many.",
)
@click.option("--plates/--no-plates", default=True, show_default=True)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
def cli(paths: tuple[Path, ...], bundle: str, every_s: float, plates: bool, json_file: Path | None) -> None:
    """Judge PATHS (videos, or folders of pictures) with a face detector and a text reader that are not ours."""
    click.echo(
        "| pictures of | n | faces | found again | untouched | of these wide | found again | plates | read again |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|")
    counts: dict[str, Count] = {}
    try:
        for name, count in measure(list(paths), bundle, every_s, plates):
            counts[name] = count
            click.echo(_row(name, count))
    except MissingError as exc:
        raise click.ClickException(str(exc)) from None
    total = Count(*(sum(v) for v in zip(*(c.wire().values() for c in counts.values()), strict=True)))
    click.echo(_row("all", total))
    if json_file is not None:
        json_file.write_text(json.dumps({n: c.wire() for n, c in counts.items()}, indent=1) + "\n")


def _row(name: str, count: Count) -> str:
    return f"| {name} | " + " | ".join(str(v) for v in count.wire().values()) + " |"
