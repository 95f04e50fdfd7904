"""How often the gates of a rollout err: pure, many seeds, no servers.

A city's cameras raise alerts as Poisson draws, people decide each and slip now and then, and `api.rollout.step` asks the real
gates (`api.rollout_gates.judge`) every hour. Boxes are healthy throughout: what is measured is the evidence on alerts and decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from api.rollout import begin, step
from api.rollout_gates import BoxSum, Evidence, Sample, ShadowSum, judge
from api.rollout_plan import Plan

START = datetime(2026, 3, 2, tzinfo=UTC)
SLIP = 0.03  # share of decisions that are wrong
BASELINE_DAYS = 14
OBJECTS_A_CAMERA_HOUR = 7.2  # at a tenth of the frames of a quiet camera


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is true of a model: alerts a camera-day that are right and wrong; `good`: it should pass."""

    name: str
    right: float
    wrong: float
    good: bool
    apart: float = 0.1


CHAMPION = Candidate(
    "champion", 0.30, 0.12, True
)  # 0.42 a camera-day at 71 %: a field deployment of 239 cameras
CANDIDATES = (
    Candidate("equal", 0.30, 0.12, True),
    Candidate("better: half the false alarms", 0.30, 0.06, True),
    Candidate("better: finds a quarter more", 0.375, 0.12, True),
    Candidate("67 %, inside the margin of 5 points", 0.30, 0.15, True),
    Candidate("worse: 60 %", 0.30, 0.20, False),
    Candidate("bad: 50 %", 0.30, 0.30, False),
    Candidate("loud: three times the alerts", 0.34, 0.92, False),
    Candidate("blind: a fifth of the alerts", 0.06, 0.024, False),
)


@dataclass(slots=True)
class _Count:
    alerts: int = 0
    camera_days: float = 0.0
    confirmed: int = 0
    rejected: int = 0

    def watch(self, model: Candidate, camera_days: float, rng: np.random.Generator) -> None:
        right, wrong = (int(rng.poisson(rate * camera_days)) for rate in (model.right, model.wrong))
        slips = int(rng.binomial(right, SLIP)), int(rng.binomial(wrong, SLIP))
        self.alerts += right + wrong
        self.camera_days += camera_days
        self.confirmed += right - slips[0] + slips[1]
        self.rejected += wrong - slips[1] + slips[0]


def _sum(counts: Sequence[_Count], before: _Count | None = None) -> Sample:
    old = before or _Count()
    return Sample(
        sum(c.alerts for c in counts), sum(c.camera_days for c in counts),
        sum(c.confirmed for c in counts) + old.confirmed, sum(c.rejected for c in counts) + old.rejected,
    )  # fmt: skip


@dataclass
class City:
    """Cameras by ring, and what was raised under either model since the rollout began."""

    model: Candidate
    rings: Sequence[int]
    rng: np.random.Generator
    before: _Count = field(default_factory=_Count)
    new: list[_Count] = field(default_factory=list)
    old: list[_Count] = field(default_factory=list)
    hours: float = 0.0

    def __post_init__(self) -> None:
        self.before.watch(CHAMPION, sum(self.rings) * BASELINE_DAYS, self.rng)
        self.new, self.old = ([_Count() for _ in self.rings] for _ in range(2))

    def hour(self, ring: int) -> Evidence:
        """Let an hour pass in a stage (-1: shadow) and return what the gates look at."""
        self.hours += 1
        for i, cameras in enumerate(self.rings):
            runs = i <= ring
            (self.new if runs else self.old)[i].watch(
                self.model if runs else CHAMPION, cameras / 24, self.rng
            )
        if ring < 0:
            objects = round(sum(self.rings) * OBJECTS_A_CAMERA_HOUR * self.hours)
            apart = int(self.rng.binomial(objects, self.model.apart))
            return Evidence(
                shadow=ShadowSum(
                    9, 9, objects * 5, 0, objects - apart, apart // 2, apart - apart // 2, 20.0, 21.0
                )
            )
        boxes = sum(self.rings[: ring + 1]) // 4
        return Evidence(
            boxes=BoxSum(boxes, boxes, champion_age_s=0.6, candidate_age_s=0.63), ring=_sum([self.new[ring]]),
            candidate=_sum(self.new[: ring + 1]), champion=_sum(self.old, self.before),
        )  # fmt: skip


def one(
    model: Candidate, rings: Sequence[int], limits: dict[str, Any], days: int, seed: int
) -> tuple[str, str, float]:
    """Roll one model out; return (status, stage, hours) at its end, or when the days are over."""
    plan = Plan.model_validate(
        {"rings": [{"name": f"ring-{i}"} for i in range(len(rings))], "limits": limits}
    )
    city, state = City(model, rings, np.random.default_rng(seed)), begin(plan, START)
    for hour in range(1, days * 24 + 1):
        now = START + timedelta(hours=hour)
        gates = judge(plan, state, city.hour(plan.ring_of(state.stage)), now)
        move = step(plan, state, gates, now)
        state = move.state if move else state
        if state.status in ("halted", "done"):
            break
    return state.status, plan.stages[state.stage], hour


def odds(
    seeds: int, rings: Sequence[int] = (80, 720), days: int = 60, limits: dict[str, Any] | None = None,
    models: Sequence[Candidate] = CANDIDATES, workers: int = 1,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return for each model how its rollouts ended: `past` ring 0, `done`, `halted`, still `waiting`, median hours of the ended."""
    asked = [(m, rings, limits or {}, days, seed) for m in models for seed in range(seeds)]
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            ends = list(pool.map(one, *zip(*asked, strict=True), chunksize=8))
    else:
        ends = [one(*a) for a in asked]
    out = []
    for i, model in enumerate(models):
        mine = ends[i * seeds : (i + 1) * seeds]
        over = [hours for status, _, hours in mine if status != "running"]
        out.append(
            {
                "model": model.name, "good": model.good, "seeds": seeds,
                "past_ring_0": sum(stage not in ("shadow", "ring-0") for _, stage, _ in mine),
                "done": sum(status == "done" for status, _, _ in mine),
                "halted": sum(status == "halted" for status, _, _ in mine),
                "waiting": sum(status == "running" for status, _, _ in mine),
                "median_days": round(float(np.median(over)) / 24, 1) if over else None,
            }
        )  # fmt: skip
    return out
