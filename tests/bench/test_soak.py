"""The soak's judge tells a leak from noise and faults, and a short soak of a real box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.chaos_street import make_bundle, street_clip
from bench.soak import run
from bench.soak_judge import LIMITS, plot, theil_sen, trends
from bench.soak_world import World
from bench.street_video import StreetClip

RNG = np.random.default_rng(5)


def _hour(gains: dict[str, float], away: bool = False) -> list[dict[str, float]]:
    """Samples of an hour, one each 10 s, with noise; each series gains so much. `away`: a fifth of them are far too low."""
    levels = {"rss_mib": 1500.0, "uss_mib": 1490.0, "threads": 80.0, "fds": 120.0, "waiting": 0.0}
    out = []
    for i in range(360):
        at = i * 10.0
        sample = {"at_s": at}
        for name, level in levels.items():
            noise = RNG.normal(0, level * 0.004) if "mib" in name else 0.0
            low = level * 0.3 if away and i % 5 == 0 else 0.0
            sample[name] = level + gains.get(name, 0.0) * at / 3600 + noise - low
        out.append(sample)
    return out


@pytest.mark.parametrize(
    ("gains", "away", "leaks"),
    [
        ({}, False, set()),
        ({}, True, set()),
        ({"rss_mib": 40.0, "uss_mib": 40.0}, False, {"rss_mib", "uss_mib"}),
        ({"rss_mib": 60.0}, True, {"rss_mib"}),
        ({"fds": 3.0}, True, {"fds"}),
        ({"threads": 2.0}, False, {"threads"}),
        ({"waiting": 30.0}, False, {"waiting"}),
        ({"rss_mib": -200.0, "fds": -20.0}, False, set()),
    ],
    ids=["still", "still with cameras away", "memory", "memory, cameras away", "descriptors", "threads", "queue", "falls"],
)  # fmt: skip
def test_a_leak_is_told_from_noise(gains: dict[str, float], away: bool, leaks: set[str]) -> None:
    told = trends(_hour(gains, away), 600)
    assert {t.name for t in told} == set(LIMITS)
    assert {t.name for t in told if not t.flat} == leaks
    for t in told:
        assert t.low_h <= t.slope_h <= t.high_h


def test_the_slope_is_that_of_a_line_and_too_few_samples_are_refused() -> None:
    assert theil_sen([0, 1, 2, 3, 4], [1, 3, 5, 700, 9])[0] == pytest.approx(2.0)
    with pytest.raises(ValueError, match="too few"):
        theil_sen([0, 1], [0, 1])


def test_a_short_soak_of_a_real_box(tmp_path: Path) -> None:
    clip = street_clip(tmp_path / "street.mp4", 10)
    clips = (StreetClip(clip, clip, False), StreetClip(clip, clip, True))
    world = World(tmp_path, clips, 3, str(make_bundle(tmp_path / "bundle")), confirm_s=1.0)
    try:
        wanted = ("connections cut", "server restarts", "centre cut off")
        soak = run(
            world, 6, 1.2, 0.3, 1, lambda _: None, [f for f in world.faults() if f.name in wanted]
        )  # fmt: skip
    finally:
        world.close()
    told: dict[str, Any] = soak.wire()
    assert {f["fault"] for f in told["faults"]} == set(wanted)
    assert told["live_at_end"] == 3
    assert len(soak.workers) == 1
    assert max(s["connects"] for s in soak.samples) >= 8, "three cameras of two streams, cut"
    assert all(s["pss_mib"] > 50 for s in soak.samples)
    plot(told, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 10_000
