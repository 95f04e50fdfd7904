"""The case's states and steps: a pure table. Supervising (review, close) and executing (handle) are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from contract import CaseState

S = CaseState
OPEN_STATES = frozenset(
    {
        S.IN_REVIEW, S.SECOND_REVIEW, S.CONFIRMED, S.FILED, S.ACCEPTED, S.DISPATCHED,
        S.HANDLING, S.EXTENDED, S.SUSPENDED, S.RECHECK, S.REWORK,
    }
)  # fmt: skip
REVIEW_STATES = frozenset({S.IN_REVIEW, S.SECOND_REVIEW})
ON_CLOCK = frozenset({S.FILED, S.ACCEPTED, S.DISPATCHED, S.HANDLING, S.EXTENDED, S.RECHECK, S.REWORK})


class IllegalStepError(ValueError):
    """The step is not possible; `allowed` holds those that are."""

    def __init__(self, message: str, allowed: list[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


@dataclass(frozen=True)
class Step:
    """One step: where it may start, where it leads, who may take it, and what it needs."""

    name: str
    sources: frozenset[CaseState]
    target: CaseState
    permission: str
    reason: bool = False
    not_same_as: str | None = None
    two_persons: bool = False


def _step(
    name: str,
    sources: set[CaseState] | frozenset[CaseState],
    target: CaseState,
    permission: str,
    *,
    reason: bool = False,
    not_same_as: str | None = None,
    two_persons: bool = False,
) -> Step:
    return Step(name, frozenset(sources), target, permission, reason, not_same_as, two_persons)


_AFTER_FILING = {S.FILED, S.ACCEPTED, S.DISPATCHED, S.HANDLING, S.EXTENDED, S.SUSPENDED, S.RECHECK, S.REWORK}
_STEPS = (
    _step("confirm", {S.IN_REVIEW}, S.CONFIRMED, "case.review"),
    _step("confirm", {S.SECOND_REVIEW}, S.CONFIRMED, "case.review", not_same_as="first_reviewer"),
    _step("reject", {S.IN_REVIEW}, S.REJECTED, "case.review"),
    _step("reject", {S.SECOND_REVIEW}, S.REJECTED, "case.review", not_same_as="first_reviewer"),
    _step("unsure", {S.IN_REVIEW}, S.SECOND_REVIEW, "case.review"),
    # The first of the two confirmations that a class of the pack may ask for.
    _step("confirm_first", {S.IN_REVIEW}, S.SECOND_REVIEW, "case.review"),
    _step("merge", REVIEW_STATES | {S.CONFIRMED}, S.MERGED, "case.review"),
    _step("self_resolve", REVIEW_STATES | {S.CONFIRMED}, S.SELF_RESOLVED, "case.supervise"),
    _step("file", {S.CONFIRMED}, S.FILED, "case.supervise"),
    _step("accept", {S.FILED}, S.ACCEPTED, "case.dispatch"),
    _step("return", {S.FILED, S.ACCEPTED}, S.CONFIRMED, "case.dispatch", reason=True),
    _step("dispatch", {S.ACCEPTED}, S.DISPATCHED, "case.dispatch"),
    _step("return", {S.DISPATCHED, S.HANDLING}, S.ACCEPTED, "case.handle", reason=True),
    _step("start", {S.DISPATCHED, S.REWORK}, S.HANDLING, "case.handle"),
    _step("extend", {S.HANDLING}, S.EXTENDED, "case.dispatch", reason=True),
    _step("suspend", {S.HANDLING, S.EXTENDED}, S.SUSPENDED, "case.dispatch", reason=True),
    _step("resume", {S.SUSPENDED}, S.HANDLING, "case.dispatch"),
    _step("done", {S.HANDLING, S.EXTENDED}, S.RECHECK, "case.handle"),
    _step("rework", {S.RECHECK}, S.REWORK, "case.supervise", reason=True),
    _step("close", {S.RECHECK}, S.CLOSED, "case.supervise", not_same_as="handler"),
    _step("void", REVIEW_STATES | {S.CONFIRMED}, S.VOID, "case.supervise", reason=True),
    _step("void", _AFTER_FILING, S.VOID, "case.supervise", reason=True, two_persons=True),
    _step("appeal", {S.REJECTED, S.CONFIRMED, S.CLOSED}, S.SECOND_REVIEW, "case.supervise", reason=True, not_same_as="first_reviewer"),
    _step("reopen", {S.REJECTED, S.CLOSED, S.SELF_RESOLVED}, S.IN_REVIEW, "case.supervise", reason=True),
)  # fmt: skip

STEPS: Mapping[tuple[CaseState, str], Step] = MappingProxyType(
    {(source, step.name): step for step in _STEPS for source in step.sources}
)
# Steps that nobody names: a verdict becomes one of them by the rules of its class.
INNER = frozenset({"confirm_first"})
NAMES = tuple(sorted({s.name for s in _STEPS}))


def allowed(state: CaseState) -> list[str]:
    """Return the names of the steps that may start in `state`, sorted."""
    return sorted(name for source, name in STEPS if source is state and name not in INNER)


@dataclass(frozen=True)
class Taken:
    """The outcome of a step: the new state, the notes the case keeps, and whether a second person is awaited."""

    state: CaseState
    notes: Mapping[str, str]
    waits: bool = False


def take(state: CaseState, name: str, actor: str, reason: str, notes: Mapping[str, str]) -> Taken:
    """Take the step `name` in `state` as `actor`. `notes` are the case's notes so far (who did what).

    Raises `IllegalStepError`, with the allowed steps, when the state, the person or the reason does not fit.
    """
    step = STEPS.get((state, name))
    can = allowed(state)
    if step is None:
        raise IllegalStepError(f"{name} is not possible while the case is {state}", can)
    if step.reason and not reason.strip():
        raise IllegalStepError(f"{name} needs a reason", can)
    if step.not_same_as and actor in people(notes, step.not_same_as):
        who = step.not_same_as.replace("_", " ")
        raise IllegalStepError(f"{name} needs another person than the {who}", [n for n in can if n != name])
    if name == "extend" and "extended_by" in notes:
        raise IllegalStepError("the limit has been extended once already", [n for n in can if n != name])
    kept = dict(notes)
    if step.two_persons:
        first = kept.get(f"{name}_asked_by")
        if first is None:
            kept[f"{name}_asked_by"] = actor
            return Taken(state, kept, waits=True)
        if first == actor:
            raise IllegalStepError(
                f"{name} needs a second person; {actor} has asked already", [n for n in can if n != name]
            )
    kept.pop("void_asked_by", None)
    _remember(kept, state, name, actor)
    target = CaseState(kept.pop("suspended_from", step.target)) if name == "resume" else step.target
    return Taken(target, kept)


def people(notes: Mapping[str, str], part: str) -> list[str]:
    """Return who took a part in the case, such as `handler`."""
    return notes[part].split("\n") if notes.get(part) else []


def _remember(kept: dict[str, str], state: CaseState, name: str, actor: str) -> None:
    """Keep what later steps ask about: who read first, who has ever handled or extended it, where a suspension began,
    and that an appeal waits for its decision."""
    judged = state is S.IN_REVIEW and name in {"unsure", "confirm", "confirm_first"}
    if judged or name == "reject":
        kept["first_reviewer"] = actor
    if name in {"start", "done"} and actor not in people(kept, "handler"):
        kept["handler"] = "\n".join([*people(kept, "handler"), actor])
    if name == "appeal":
        kept["appealed_by"] = actor
    else:
        kept.pop("appealed_by", None)
    if name == "extend":
        kept["extended_by"] = actor
    if name == "file":  # a new limit, which may be extended once
        kept.pop("extended_by", None)
    if name == "suspend":
        kept["suspended_from"] = state.value
    if name == "reopen":
        for part in ("first_reviewer", "handler", "suspended_from"):
            kept.pop(part, None)
