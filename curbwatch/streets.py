"""The streets that benches play, made once of the demo's clip and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from bench.street_video import StreetClip, street_clips
from curbwatch.demo.clip import ClipUnavailableError, demo_clip

CACHE = Path("var/cache")

settle_option = click.option(
    "--settle",
    "settle_s",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds of empty streets before the first van: a box that has been up for a while, as nearly all are.",
)


def bench_streets(say: Callable[[str], None]) -> tuple[StreetClip, StreetClip]:
    """Return the quiet and the busy street.

    Raises:
        click.ClickException: the demo's clip cannot be had; says why.
    """
    try:
        return street_clips(demo_clip(CACHE, say), CACHE / "bench", say)
    except ClipUnavailableError as exc:
        raise click.ClickException(str(exc)) from None
