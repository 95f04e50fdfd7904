"""The rollout's states and gates, pure: random histories, and tables of evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.machine import IllegalStepError
from api.rollout import LIVE, Act, Gate, Move, State, act, begin, shadowed, step, wished
from api.rollout_gates import BoxSum, Evidence, Sample, ShadowSum, judge, rate_ratio, surely_more
from api.rollout_plan import Limits, Plan, Ring, Shadow

NOW = datetime(2026, 3, 4, 8, tzinfo=UTC)
NEW, OLD = "north/m@2", "north/m@1"
PLAN = Plan(rings=(Ring(name="first", labels={"ring": "0"}), Ring(name="rest")))

plans = st.builds(
    lambda shadow, holds: Plan(
        shadow=Shadow() if shadow else None,
        rings=tuple(Ring(name=f"r{i}", hold=hold) for i, hold in enumerate(holds)),
    ),
    st.booleans(),
    st.lists(st.booleans(), min_size=1, max_size=4),
)
gates = st.lists(
    st.builds(Gate, st.just("g"), st.sampled_from(["pass", "pass", "wait", "halt"]), st.just("why")),
    max_size=4,
)
acts: st.SearchStrategy[Any] = st.sampled_from(["pause", "resume", "abort", "finish"])
turns = st.lists(st.one_of(gates, acts), max_size=30)


def play(plan: Plan, turns_: list[Any]) -> list[tuple[State, Any, Move | None]]:
    """Return for every turn: the state before, what came, the move."""
    state, out = begin(plan, NOW), []
    for i, turn in enumerate(turns_):
        now = NOW + timedelta(hours=i)
        try:
            move = act(plan, state, turn, "", now) if isinstance(turn, str) else step(plan, state, turn, now)
        except IllegalStepError:
            move = None
        out.append((state, turn, move))
        state = move.state if move else state
    return out


@given(plans, turns)
def test_a_rollout_goes_one_stage_on_and_only_when_every_gate_passed(plan: Plan, told: list[Any]) -> None:
    for before, turn, move in play(plan, told):
        if move is None:
            continue
        further = move.state.stage > before.stage or move.state.status == "done"
        if turn == "finish":
            assert (move.state.status, before.stage) == ("done", len(plan.stages) - 1)
        elif further:
            assert before.status == "running", "paused never goes on"
            assert turn, "no evidence is no pass"
            assert all(gate.verdict == "pass" for gate in turn)
            assert move.state.stage - before.stage in {0, 1}
        assert move.state.stage >= before.stage
        if further and move.state.status != "done":
            ring = plan.rings[plan.ring_of(move.state.stage)]
            assert not ring.hold or before.let_in >= move.state.stage, "a ring with `hold` waits for a person"


@given(plans, turns)
def test_after_halt_abort_or_the_end_nothing_moves_and_no_box_is_left_on_a_halted_candidate(
    plan: Plan, told: list[Any]
) -> None:
    ended: str | None = None
    for before, turn, move in play(plan, told):
        if ended is not None:
            assert move is None
        state = move.state if move else before
        if not isinstance(turn, str) and before.status in LIVE and any(g.verdict == "halt" for g in turn):
            assert state.status == "halted", "paused or not"
        if state.status not in LIVE:
            ended = state.status
        wishes = {ring: wished(plan, state, ring, NEW, OLD) for ring in range(len(plan.rings))}
        if state.status in {"halted", "aborted"}:
            assert set(wishes.values()) == {OLD}
            assert not shadowed(plan, state)
        elif state.status == "done":
            assert set(wishes.values()) == {NEW}
        else:
            assert [r for r, model in wishes.items() if model == NEW] == list(
                range(plan.ring_of(state.stage) + 1)
            )
            assert shadowed(plan, state) is (plan.shadow is not None and state.stage == 0)


GOOD_SHADOW = ShadowSum(10, 10, 5000, 0, 900, 50, 50, 20.0, 22.0)
GOOD_BOXES = BoxSum(wished=10, holding=10, running=10, later=90, champion_age_s=1.0, candidate_age_s=1.1)
GOOD = Evidence(
    shadow=GOOD_SHADOW, boxes=GOOD_BOXES, ring=Sample(60, 120.0, 88, 12), candidate=Sample(60, 120.0, 88, 12),
    champion=Sample(500, 1000.0, 850, 150),
)  # fmt: skip


def verdicts(seen: Evidence, stage: int = 1, hours: float = 48, plan: Plan = PLAN) -> dict[str, str]:
    told = judge(plan, State("running", stage, NOW), seen, NOW + timedelta(hours=hours))
    assert all(gate.reason for gate in told)
    return {gate.name: gate.verdict for gate in told}


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_good_evidence_passes_every_gate(stage: int) -> None:
    assert set(verdicts(GOOD, stage).values()) == {"pass"}
    assert verdicts(GOOD, stage, hours=1)["time"] == "wait"


@pytest.mark.parametrize(
    ("change", "gate", "verdict"),
    [
        ({"frames": 100}, "evidence", "wait"),
        ({"frames": 100}, "disagreement", "wait"),
        ({"candidate_only": 900}, "disagreement", "halt"),
        ({"champion_only": 330}, "disagreement", "wait"),  # 29.7 %: under the limit, and not surely
        ({"failures": 100}, "failures", "halt"),
        ({"failures": 100, "frames": 100}, "failures", "halt"),  # what fails needs no further evidence
        ({"failures": 2}, "failures", "pass"),
        ({"trouble": ("a: no memory",)}, "failures", "halt"),
        ({"candidate_ms": 33.0}, "latency", "halt"),
        ({"candidate_ms": 33.0, "frames": 100}, "latency", "wait"),
        ({"champion_ms": 0.0, "candidate_ms": 0.0}, "latency", "pass"),  # on GPUs nobody times it
        ({"champion_ms": 0.0, "candidate_ms": 0.0, "frames": 100}, "latency", "wait"),
    ],
)
def test_the_shadows_gates(change: dict[str, Any], gate: str, verdict: str) -> None:
    assert verdicts(replace(GOOD, shadow=replace(GOOD_SHADOW, **change)), 0)[gate] == verdict


@pytest.mark.parametrize(
    ("change", "gate", "verdict"),
    [
        ({"holding": 8}, "arrived", "wait"),
        ({"holding": 9}, "arrived", "pass"),
        ({"wished": 0, "holding": 0}, "arrived", "wait"),
        ({"taken_back": ("a: it ended",)}, "health", "halt"),
        ({"safe": ("a: safe mode",)}, "health", "halt"),
        ({"wished": 100, "holding": 95, "taken_back": ("a: a camera was down",)}, "health", "pass"),
        ({"restarts": 1}, "running", "pass"),
        ({"restarts": 6}, "running", "halt"),
        ({"silent": 1, "wished": 5}, "running", "wait"),
        ({"silent": 2}, "running", "halt"),
        ({"silent": 2, "running": 2, "wished": 2, "later": 9}, "running", "halt"),
        (
            {"silent": 10, "later_silent": 90},
            "running",
            "wait",
        ),  # nobody is heard: the network, not the model
        ({"silent": 10, "later_silent": 30}, "running", "halt"),
        ({"silent": 4, "later_silent": 20}, "running", "wait"),
        ({"silent": 2, "later": 10}, "running", "wait"),  # of so few it may be chance
        ({"silent": 10, "later": 0}, "running", "wait"),  # the last ring has none to compare with
        ({"silent": 1, "wished": 20, "later_silent": 0}, "running", "pass"),
        ({"candidate_age_s": 1.6}, "latency", "pass"),  # within the slack
        ({"candidate_age_s": 1.9}, "latency", "halt"),
        ({"candidate_age_s": 1.9, "holding": 5}, "latency", "wait"),
        ({"candidate_age_s": None}, "latency", "wait"),
    ],
)
def test_the_boxes_gates(change: dict[str, Any], gate: str, verdict: str) -> None:
    assert verdicts(replace(GOOD, boxes=replace(GOOD_BOXES, **change)))[gate] == verdict


@pytest.mark.parametrize(
    ("sample", "gate", "verdict"),
    [
        (Sample(3, 5.0, 88, 12), "alerts", "wait"),  # too few camera-days
        (Sample(70, 120.0, 88, 12), "alerts", "pass"),
        (Sample(110, 120.0, 88, 12), "alerts", "wait"),  # perhaps twice as many
        (Sample(200, 120.0, 88, 12), "alerts", "halt"),
        (Sample(2, 120.0, 88, 12), "alerts", "halt"),  # blind
        (Sample(60, 120.0, 29, 0), "precision", "wait"),  # 29 decided
        (Sample(60, 120.0, 26, 4), "precision", "wait"),  # good, but not yet surely
        (Sample(60, 120.0, 93, 7), "precision", "pass"),
        (Sample(60, 120.0, 70, 30), "precision", "wait"),
        (Sample(60, 120.0, 50, 50), "precision", "halt"),
        (Sample(60, 120.0, 0, 12), "precision", "halt"),
    ],
)
def test_what_people_and_cameras_say(sample: Sample, gate: str, verdict: str) -> None:
    assert verdicts(replace(GOOD, ring=sample, candidate=sample))[gate] == verdict
    rotten = replace(GOOD, candidate=sample)  # an earlier ring that went bad later halts the next one
    assert (verdicts(rotten, 2)[gate] == "halt") is (verdict == "halt")


@pytest.mark.parametrize("champion", [Sample(), Sample(3, 0.0, 0, 0)])
def test_without_a_champions_evidence_nothing_passes(champion: Sample) -> None:
    told = verdicts(replace(GOOD, champion=champion))
    assert (told["alerts"], told["precision"]) == ("wait", "wait")


@given(st.integers(0, 500), st.floats(0.1, 1e4), st.integers(0, 500), st.floats(0.1, 1e4))
def test_the_interval_of_a_ratio(x: int, a: float, y: int, b: float) -> None:
    one, other = Sample(x, a), Sample(y, b)
    found, wider, turned = (
        rate_ratio(one, other, 1.96),
        rate_ratio(one, other, 3),
        rate_ratio(other, one, 1.96),
    )
    assert found is not None
    assert wider is not None
    assert turned is not None
    ratio = ((x + 0.5) / a) / ((y + 0.5) / b)
    assert wider[0] < found[0] < ratio < found[1] < wider[1]
    assert found == pytest.approx((1 / turned[1], 1 / turned[0]))


@given(
    st.integers(0, 60),
    st.integers(1, 60),
    st.integers(0, 60),
    st.integers(1, 60),
    st.sampled_from([1.96, 3.0]),
)
def test_a_share_is_surely_more_one_way_at_most(x: int, n: int, y: int, m: int, z: float) -> None:
    x, y = min(x, n), min(y, m)
    if surely_more(x, n, y, m, z):
        assert x / n > y / m
        assert not surely_more(y, m, x, n, z)
        assert surely_more(10 * x, 10 * n, 10 * y, 10 * m, z), "more of the same makes it surer"
    assert not surely_more(x, n, 0, 0, z)


def test_a_ring_may_have_its_own_least_evidence() -> None:
    plan = Plan(
        rings=(Ring(name="a", min_hours=1, min_verdicts=5), Ring(name="b")), shadow=Shadow(min_hours=2)
    )
    assert [plan.limits_of(i).min_hours for i in range(3)] == [2, 1, 24]
    assert [plan.limits_of(i).min_verdicts for i in range(3)] == [30, 5, 30]
    with pytest.raises(ValidationError, match="a name of its own"):
        Plan(rings=(Ring(name="shadow"),))
    assert plan.ring_for({}) == 0
    assert PLAN.ring_for({"ring": "0", "site": "x"}) == 0
    assert Plan(rings=(Ring(name="a", labels={"x": "y"}),)).ring_for({"x": "z"}) is None


@pytest.mark.parametrize("what", ["pause", "resume", "abort"])
def test_a_word_that_does_not_fit_is_refused(what: Act) -> None:
    for status in ("halted", "aborted", "done"):
        with pytest.raises(IllegalStepError) as said:
            act(PLAN, State(status, 0, NOW), what, "", NOW)  # type: ignore[arg-type]
        assert said.value.allowed == []


def test_default_limits_are_a_days_watch() -> None:
    assert Limits().min_hours == 24
