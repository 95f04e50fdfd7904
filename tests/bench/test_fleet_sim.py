"""A starved detector: all cameras wait alike, none goes blind, and the promise holds while it can."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.fleet_sim import Costs, simulate
from bench.throughput import Trial, judge, search
from edge.load import LoadGovernor

# A detector of a fixed speed, so that the tests' shares hold whatever was recorded last.
COSTS = replace(Costs.recorded(), detect_s=0.059, judge_s=0.002)


@pytest.mark.parametrize(("detectors", "kept"), [(0.2, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_starved_cameras_wait_alike(detectors: float, kept: float) -> None:
    # Long enough for each camera to come to its turn several times beside the looks that end dwells.
    result = simulate(200, replace(COSTS, detectors=detectors), 300)
    assert result.blind == 0
    assert result.fairness > 0.9
    assert result.overloads > 0
    assert result.promise_kept >= kept


@pytest.mark.parametrize("detectors", [0.8, 2.0, 4.0])
def test_all_wait_a_little_longer_and_not_much_longer_than_they_must(detectors: float) -> None:
    result = simulate(200, replace(COSTS, detectors=detectors), 300)
    must = 200 * (COSTS.detect_s + COSTS.judge_s) / detectors
    assert result.overloads > 0
    # What is not judged is not decoded.
    assert result.dropped <= 0.02 * result.looks
    assert result.fairness > 0.99
    assert result.promise_kept == 1.0
    # Key frames come every two seconds, and a tenth of the detector stays free.
    assert result.median_gap_s <= must / 0.7 + 2.0
    assert result.worst_gap_s <= must / 0.7 + 6.0


def test_costs_are_read_from_what_was_recorded(tmp_path: Path) -> None:
    stages = {"network": 7.2, "decode": 9.0, "gate": 1.8, "detect": 36.0, "left": 0.9, "rules": 0.9}
    trial = {"cameras": 10, "seconds": 360.0, "offered": 900, "judged": 450, "cpu_s_per_camera_hour": stages}
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"trials": [{**trial, "cameras": 1, "offered": 0}, trial]}))
    costs = Costs.recorded(path)
    assert costs.network_s == pytest.approx(0.002)
    assert costs.key_decode_s == pytest.approx(0.01)
    assert costs.gate_s == pytest.approx(0.002)
    assert costs.detect_s == pytest.approx(0.08)
    assert costs.judge_s == pytest.approx(0.004)
    path.write_text(json.dumps({"trials": [{**trial, "judged": 0}]}))
    with pytest.raises(ValueError, match="no picture was judged"):
        Costs.recorded(path)


def test_with_room_nothing_is_stretched() -> None:
    result = simulate(20, COSTS, 150)
    assert result.stretch == 1.0
    assert result.overloads == 0
    assert result.worst_gap_s <= 2.5


def test_a_short_rush_is_forgotten() -> None:
    governor = LoadGovernor()
    for second in range(200):
        governor.observe(1.0 if second < 10 else 0.3, 0.3, 0.1)
    assert governor.stretch == 1.0


def test_the_search_ends_at_the_largest_good_number() -> None:
    asked: list[int] = []

    def run(n: int) -> Trial:
        asked.append(n)
        return Trial(n, "main", kept=min(n, 37))

    trials = search(run, 128)
    top = max(t.cameras for t in trials if t.good)
    assert 35 <= top <= 37
    assert len(asked) == len(set(asked)) <= 9


def test_the_promise_counts_from_the_moment_the_van_has_stood_for_its_dwell() -> None:
    plan = {"cam0": {"start_unit": 0}, "cam1": {"start_unit": 250}, "cam2": {"start_unit": 0}}
    played = dict.fromkeys(plan, 1000.0)
    trial = Trial(3, "main", result={"alerts": {"cam0": 1075.0, "cam1": 1075.0, "cam2": 1091.0}})
    judge(trial, plan, played)
    assert trial.kept == 2
    assert trial.missed == ["cam2"]
    assert trial.delays_s == [15.0, 25.0]
