"""Nothing grows faster than linearly, and a benchmark that did less than it was asked says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import growth_cameras
from bench.growth import Series, made_clip, sites, zones
from bench.limit import ours_decoded


@pytest.mark.parametrize(("make", "few", "many"), [(sites, 100, 400), (zones, 8, 64)])
def test_zones_and_places_cost_no_more_than_their_number(make: object, few: int, many: int) -> None:
    assert callable(make)
    # Thread CPU time, medians: a busy machine adds a half at most, where a square would be many times it.
    told: Series = make((few, many))
    assert told.ms[1] / told.ms[0] <= 1.6 * many / few


@pytest.mark.parametrize(("gop", "pictures"), [(100, 2), (50, 4), (25, 8)])
def test_work_follows_the_key_frames(tmp_path: Path, gop: int, pictures: int) -> None:
    assert ours_decoded(made_clip(tmp_path / "c.mp4", 320, 240, gop), "key")[1] == pictures


def test_the_power_is_the_slope_of_the_larger_half() -> None:
    x = (1.0, 2.0, 4.0, 8.0)
    assert Series("s", "u", x, tuple(v * v for v in x)).power == pytest.approx(2.0)
    assert Series("s", "u", x, tuple(5.0 + 0 * v for v in x)).power == pytest.approx(0.0, abs=1e-9)


def test_real_cameras_are_counted_in_cpu_and_memory(tmp_path: Path) -> None:
    cpu, memory = growth_cameras.cameras(tmp_path, (2,), seconds=5.0, warm_s=1.0)
    assert cpu.x == memory.x == (2.0,)
    assert min(cpu.ms) > 0
    assert 50 < min(memory.ms) < 5000


def test_a_silent_camera_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = {"lanes": {"cam0": {"offered": 3}, "cam1": {"offered": 0}}, "cpu_s": 1.0, "seconds": 1.0}
    monkeypatch.setattr(growth_cameras, "run_box", lambda *_: (silent, {}))
    with pytest.raises(RuntimeError, match="1 of 2 cameras gave no picture: cam1"):
        growth_cameras.cameras(tmp_path, (2,))
