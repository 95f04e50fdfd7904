"""What a camera costs in memory: the slope, the parts, and a short run of a real box."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.camera_memory import Level, measure, parts_of, slope
from bench.chaos_street import make_bundle, street_clip
from bench.street_video import StreetClip
from curbwatch.commands.bench.camera_memory import cli


def test_the_slope_is_that_of_the_cameras() -> None:
    levels = [Level(n, 500 + 30.0 * n, 400 + 29.0 * n, 0, 9, {}) for n in (1, 5, 9, 17)]
    assert slope(levels, "rss") == pytest.approx(30)
    assert slope(levels, "pss") == pytest.approx(29)


def test_memory_of_its_own_is_told_from_files() -> None:
    before = parts_of(os.getpid())["mapped"]
    block = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.write(b"x" * (32 << 20))
    assert parts_of(os.getpid())["mapped"] - before == pytest.approx(32, abs=4)
    assert parts_of(os.getpid())["files"] > 5


def test_numbers_that_are_none_are_refused() -> None:
    told = CliRunner().invoke(cli, ["--cameras", "1,two"])
    assert told.exit_code == 2
    assert "--cameras" in told.output


def test_a_real_box_is_measured(tmp_path: Path) -> None:
    clip = street_clip(tmp_path / "street.mp4", 6)
    clips = (StreetClip(clip, clip, False), StreetClip(clip, clip, True))
    level = measure(tmp_path, clips, 2, "sub", 5, str(make_bundle(tmp_path / "bundle")))
    assert 50 < level.pss < level.rss <= level.most
    assert level.threads > 4, "two streams of two cameras each"
    assert level.parts["files"] + level.parts["mapped"] + level.parts["heap"] > 0.9 * level.rss
