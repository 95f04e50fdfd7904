"""A dozen simulated boxes, three models, the real centre: what `curbwatch bench rollout` shows with two hundred."""

from __future__ import annotations

from dataclasses import replace

from bench.rollout_sim import CRASHING, GOOD, WORSE, run

# A dozen boxes see too little in a few days for the limits of a city.
LIMITS = {
    "min_hours": 6, "min_camera_days": 2, "min_verdicts": 3, "precision_margin": 0.6, "alerts_most": 8,
    "alerts_least": 0.02,
}  # fmt: skip


def test_the_good_model_arrives_the_worse_one_stops_and_the_crashing_one_goes_back() -> None:
    bad = replace(WORSE, right=0.1, wrong=9.0)
    told = run(12, 12.0, 3, 4, (CRASHING, bad, GOOD), LIMITS, 1.0, 9.0)
    crashing, worse, good = told["outcomes"]
    assert (crashing["status"], crashing["stage"]) == ("halted", "ring-0")
    assert "took it back" in crashing["why"]
    assert crashing["still_on_it"] == 0
    assert crashing["beats_to_back"] <= 2
    assert (worse["status"], worse["stage"]) == ("halted", "ring-0")
    assert "alerts a camera-day" in worse["why"] or "people confirmed" in worse["why"]
    assert (worse["ran_past_ring_0"], worse["still_on_it"]) == (0, 0)
    assert (good["status"], good["most_boxes"]) == ("done", 12)
    assert all(outcome["intact"] for outcome in told["outcomes"])
