"""`curbwatch bench memory`: does a detector's memory stay where warming put it?"""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("memory")
@click.option("--model", default="default", show_default=True, help="Bundle: a folder or an embedded one.")
@click.option("--provider", default="auto", show_default=True)
@click.option("--max-batch", default=16, show_default=True, type=click.IntRange(1, 16))
@click.option("--minutes", default=60.0, show_default=True, type=click.FloatRange(0.02, 10080))
@click.option(
    "--every", default=30.0, show_default=True, type=click.FloatRange(0.1, 3600), help="Seconds a sample."
)
@click.option(
    "--duty", default=1.0, show_default=True, type=click.FloatRange(0.05, 1), help="Share of time at work."
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Plot (needs matplotlib).")
def cli(
    model: str,
    provider: str,
    max_batch: int,
    minutes: float,
    every: float,
    duty: float,
    json_file: Path | None,
    picture: Path | None,
) -> None:
    """Feed a detector pictures and batches of changing sizes, and watch its resident memory."""
    from bench.memory import plot, watch
    from models.bundle import BundleError

    try:
        run = watch(
            model,
            provider,
            max_batch,
            minutes,
            every,
            duty,
            say=lambda s: click.echo(f"{s.seconds:8.0f} s {s.pictures:8} pictures {s.rss:8.1f} MB", err=True),
        )
    except (BundleError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        f"{run.model}, {run.provider}, batches to {run.max_batch}: {run.loaded:.0f} MB before, {run.warmed:.0f} warmed, "
        f"most {run.most:.0f}, last {run.samples[-1].rss:.0f}; drift in the second half {run.drift:+.1f} MB an hour; "
        f"{run.samples[-1].pictures} pictures"
    )
    if json_file is not None:
        json_file.write_text(json.dumps(run.wire(), indent=1) + "\n", "utf-8")
    if picture is not None:
        plot([run], picture)
