"""A starved detector: all cameras wait alike, none goes blind, and the promise holds while it can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.fleet_sim import Costs, simulate
from bench.throughput import Trial, judge, search
from edge.load import LoadGovernor


@pytest.mark.parametrize(("detectors", "kept"), [(0.2, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_starved_cameras_wait_alike(detectors: float, kept: float) -> None:
    result = simulate(200, replace(Costs(), detectors=detectors), 200)
    assert result.blind == 0
    assert result.fairness > 0.9
    assert result.overloads > 0
    assert result.promise_kept >= kept


def test_with_room_nothing_is_stretched() -> None:
    result = simulate(20, Costs(), 150)
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
