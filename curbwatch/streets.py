"""The streets that benches play, made once of the demo's clip and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from bench.street_video import StreetClip, street_clips
from curbwatch.demo.clip import ClipUnavailableError, demo_clip

CACHE = Path("var/cache")


def bench_streets(say: Callable[[str], None]) -> tuple[StreetClip, StreetClip]:
    """Return the quiet and the busy street.

    Raises:
        click.ClickException: the demo's clip cannot be had; says why.
    """
    try:
        return street_clips(demo_clip(CACHE, say), CACHE / "bench", say)
    except ClipUnavailableError as exc:
        raise click.ClickException(str(exc)) from None
