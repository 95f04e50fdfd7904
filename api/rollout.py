"""The states of a rollout, pure: which stage, what moves it, and which model each box shall have in it.

running --every gate passes--> running (next stage) --after the last ring--> done
running, paused --a gate says halt--> halted        (every box back to what it had)
running <--pause, resume--> paused                  (a person; or before a ring with `hold`)
running, paused --abort--> aborted                  (a person; every box back)
running, paused --finish--> done                    (a person; in the last ring, where few cameras may never pass the gates)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from api.machine import IllegalStepError
from api.rollout_plan import Plan

Status = Literal["running", "paused", "halted", "aborted", "done"]
Act = Literal["pause", "resume", "abort", "finish"]
LIVE: tuple[Status, ...] = ("running", "paused")
_FROM: Mapping[Act, tuple[Status, ...]] = MappingProxyType(
    {"pause": ("running",), "resume": ("paused",), "abort": LIVE, "finish": LIVE}
)


@dataclass(frozen=True, slots=True)
class Gate:
    """One question to the evidence, and its answer with figures in words."""

    name: str
    verdict: Literal["pass", "wait", "halt"]
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """Where a rollout stands. `held`: it waits before a ring with `hold`; `let_in`: the last stage that may begin all the same."""

    status: Status
    stage: int
    entered_at: datetime
    let_in: int = -1
    held: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """A new state, and what the history says of it."""

    state: State
    action: str
    body: dict[str, Any]


def begin(plan: Plan, now: datetime) -> State:
    """Return the state of a new rollout; a first stage with `hold` needs no word, since a person began it."""
    return State("running", 0, now, let_in=0, why=f"{plan.stages[0]} begins")


def step(plan: Plan, state: State, gates: Sequence[Gate], now: datetime) -> Move | None:
    """Take what the gates of the present stage say; None when nothing moves.

    A paused rollout never goes on, but what breaks boxes halts it all the same.
    """
    if state.status not in LIVE:
        return None
    told: dict[str, Any] = {"stage": plan.stages[state.stage], "gates": [asdict(gate) for gate in gates]}
    stops = [gate for gate in gates if gate.verdict == "halt"]
    if stops:
        why = "; ".join(gate.reason for gate in stops)
        halted = replace(state, status="halted", entered_at=now, why=why)
        return Move(halted, "rollout.halted", told | {"why": why})
    if state.status == "paused" or not gates or any(gate.verdict != "pass" for gate in gates):
        return None
    after = state.stage + 1
    if after == len(plan.stages):
        done = replace(state, status="done", entered_at=now, why="every gate of every stage passed")
        return Move(done, "rollout.done", told)
    name = plan.stages[after]
    if plan.rings[plan.ring_of(after)].hold and state.let_in < after:
        why = f"{name} waits for a person: `resume` lets it in"
        return Move(replace(state, status="paused", held=True, why=why), "rollout.held", told | {"why": why})
    gone = replace(state, stage=after, entered_at=now, let_in=after, why=f"{name} begins")
    return Move(gone, "rollout.advanced", told | {"to": name})


def act(plan: Plan, state: State, what: Act, reason: str, now: datetime) -> Move:
    """Take a person's word.

    Raises:
        IllegalStepError: it does not fit the state.
    """
    last = state.stage + 1 == len(plan.stages)
    allowed = [
        str(name) for name, sources in sorted(_FROM.items())
        if state.status in sources and (last or name != "finish")
    ]  # fmt: skip
    if what not in allowed:
        early = what == "finish" and state.status in LIVE
        why = "a person finishes it in its last ring alone" if early else f"it cannot {what}"
        raise IllegalStepError(f"the rollout is {state.status}; {why}", allowed)
    told = {"stage": plan.stages[state.stage], "why": reason}
    if what == "abort":
        aborted = replace(state, status="aborted", entered_at=now, why=reason or "a person aborted it")
        return Move(aborted, "rollout.aborted", told)
    if what == "finish":
        # Its boxes have the candidate already: what they lack is evidence, and a person answers for it.
        done = replace(state, status="done", entered_at=now, why=reason or "a person finished it")
        return Move(done, "rollout.finished", told)
    if what == "pause":
        return Move(
            replace(state, status="paused", why=reason or "a person paused it"), "rollout.paused", told
        )
    resumed = replace(state, status="running", held=False, why=reason or "a person resumed it")
    if state.held:
        resumed = replace(resumed, let_in=state.stage + 1)
    return Move(resumed, "rollout.resumed", told)


def wished(plan: Plan, state: State, ring: int, candidate: str, before: str) -> str:
    """Return the model that a box of `ring` shall have; `before` is what it had when the rollout began."""
    taken = state.status in (*LIVE, "done") and ring <= plan.ring_of(state.stage)
    return candidate if taken else before


def shadowed(plan: Plan, state: State) -> bool:
    """True while the candidate runs beside the champion."""
    return state.status in LIVE and plan.ring_of(state.stage) < 0
