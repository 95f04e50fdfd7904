"""Streets that are empty for a while before the van comes: a box that has been up for longer than a minute."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from bench.growth_cameras import still_clip
from bench.throughput import Trial, judge
from camera_adapters.testing.rtp_clip import RtpClip


def test_a_clip_is_led_in_by_its_own_beginning(tmp_path: Path) -> None:
    clip = RtpClip(still_clip(tmp_path / "street.mp4", 8))
    gop = next(i for i, unit in enumerate(clip.units[1:], 1) if unit.key)
    head = 2 * gop
    led = clip.led_in(3 * gop, head)
    assert len(led.units) == 3 * gop + len(clip.units)
    # Its second GOP, both, and then the clip.
    order = [*range(gop, head), *range(head), *range(len(clip.units))]
    assert [unit.blob for unit in led.units] == [clip.units[i].blob for i in order]
    assert {b.pts90k - a.pts90k for a, b in pairwise(led.units)} == {round(90_000 / clip.fps)}
    assert led.units[0].key
    assert led.duration90k == round(len(led.units) * 90_000 / clip.fps)
    # The clip itself stays as it was.
    assert clip.led_in(0, head).units == clip.units


def test_a_lead_that_no_one_could_decode_is_refused(tmp_path: Path) -> None:
    clip = RtpClip(still_clip(tmp_path / "street.mp4", 4))
    with pytest.raises(ValueError, match="no key frame"):
        clip.led_in(1, 2)


def test_the_van_is_waited_for_until_the_street_has_been_empty_for_so_long() -> None:
    plan = {f"cam{i}": {"start_unit": 250, "lead_units": 1500} for i in range(2)}
    played = dict.fromkeys(plan, 1000.0)
    trial = Trial(2, "main", result={"alerts": {"cam0": 1139.0, "cam1": 1141.0}})
    judge(trial, plan, played)
    # 60 s of lead, 30 s to the van, 10 s of which are passed over, 30 s of dwell.
    assert (trial.missed, trial.delays_s) == (["cam1"], [29.0])
