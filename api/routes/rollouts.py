"""Rollouts of a model: begin one, see where it stands and why, pause, resume, abort, finish."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.access import Principal, needs
from api.audit import verify
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.rollout import Act, Status
from api.rollout_evidence import boxes_of, of_rings
from api.rollout_plan import Plan
from api.rollouts import command, create, plan_of, state_of
from api.tables import Audit
from api.tables_fleet import Rollout, RolloutBox
from contract.base import Identifier
from contract.fleet import ModelPath

router = APIRouter(tags=["fleet"])
Manager = Annotated[Principal, needs("device.manage")]
Reader = Annotated[Principal, needs("device.manage", "audit.read")]
HISTORY = 500


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RolloutIn(_In):
    """Which model goes to which boxes, and by what stages."""

    candidate: ModelPath
    plan: Plan
    tenant: Annotated[
        str | None,
        Field(pattern=r"^/([A-Za-z0-9._-]{1,40}/){0,4}$", description="Whose boxes; yours without."),
    ] = None


class Reason(_In):
    """Why."""

    reason: Annotated[str, Field(max_length=300)] = ""


class RolloutLine(BaseModel):
    """A rollout in one line."""

    id: Identifier
    tenant: str
    candidate: str
    champion: Annotated[
        str, Field(description="What most of its boxes had; `own` is the one of the box's file.")
    ]
    status: Status
    stage: Annotated[str, Field(description="`shadow` or the name of a ring; the last one when it is over.")]
    stages: list[str]
    why: Annotated[str, Field(description="Reason of the last move, in words.")]
    boxes: int
    made_by: str
    made_at: datetime
    entered_at: Annotated[datetime, Field(description="When the stage, or the end, began.")]


class GateView(BaseModel):
    """One question to the evidence, and its answer."""

    name: str
    verdict: Literal["pass", "wait", "halt"]
    reason: str


class RingView(BaseModel):
    """How far a ring is."""

    name: str
    boxes: int
    wished: Annotated[int, Field(description="Boxes that shall have the candidate now.")]
    running: Annotated[
        int, Field(description="That ran it at their last heartbeat while the rollout was live.")
    ]
    holding: Annotated[int, Field(description="Of these, past the box's own trial.")]
    took_back: Annotated[int, Field(description="That took it back by themselves.")]


class Step(BaseModel):
    """One entry of the history."""

    at: datetime
    actor: str
    action: str
    body: dict[str, Any]


class RolloutView(RolloutLine):
    """A rollout with its plan, gates and history."""

    plan: Plan
    rings: list[RingView]
    gates: Annotated[list[GateView], Field(description="As the evidence stood at `judged_at`.")]
    judged_at: datetime | None
    history: Annotated[list[Step], Field(description="Append-only and chained by hashes, the oldest first.")]
    intact: Annotated[bool, Field(description="The history's chain of hashes holds.")]


def _one(session: Session, rollout_id: str, who: Principal) -> Rollout:
    found = session.scalar(select(Rollout).where(Rollout.id == rollout_id, who.sees(Rollout.tenant)))
    if found is None:
        raise ApiError(404, "no such rollout here")
    return found


def _line(rollout: Rollout, boxes: int) -> dict[str, Any]:
    plan, state = plan_of(rollout), state_of(rollout)
    return {
        "id": rollout.id, "tenant": rollout.tenant, "candidate": rollout.candidate,
        "champion": rollout.champion or "", "status": state.status, "stage": plan.stages[state.stage],
        "stages": list(plan.stages), "why": state.why, "boxes": boxes, "made_by": rollout.made_by,
        "made_at": rollout.made_at, "entered_at": state.entered_at,
    }  # fmt: skip


def view_of(session: Session, rollout: Rollout) -> RolloutView:
    """Return a rollout with its gates, as the evidence stood, and its history."""
    plan, state = plan_of(rollout), state_of(rollout)
    boxes, chain = boxes_of(session, rollout.id), f"rollout:{rollout.id}"
    told = rollout.evidence or {}
    rows = session.scalars(
        select(Audit).where(Audit.chain == chain).order_by(Audit.position.desc()).limit(HISTORY)
    )
    history = [Step(at=r.at, actor=r.actor, action=r.action, body=r.body) for r in reversed(list(rows))]
    return RolloutView(
        **_line(rollout, len(boxes)), plan=plan, rings=[RingView(**r) for r in of_rings(boxes, plan, state)],
        gates=[GateView(**g) for g in told.get("gates", ())], judged_at=told.get("at"), history=history,
        intact=verify(session, chain) is None,
    )  # fmt: skip


@router.post("/fleet/rollouts", status_code=201, responses=refusals(401, 403, 409, 413, 422))
def begin_rollout(told: RolloutIn, who: Manager, core: CoreDep) -> RolloutView:
    """Begin a rollout over the enrolled boxes of a tenant. From now on it decides over their model and shadow."""
    tenant = told.tenant or who.tenant
    if not tenant.startswith(who.tenant):
        raise ApiError(403, f"tenant: {tenant} is not under yours, {who.tenant}")
    with core.db.write() as session:
        made = create(session, told.candidate, told.plan, tenant, f"user:{who.name}", core)
        return view_of(session, made)


@router.get("/fleet/rollouts", responses=refusals(401, 403, 422))
def rollouts(
    who: Reader, core: CoreDep,
    status: Annotated[Status | None, Query(description="Those alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[RolloutLine]:  # fmt: skip
    """List rollouts, the newest first."""
    query = select(Rollout).where(who.sees(Rollout.tenant)).order_by(Rollout.made_at.desc(), Rollout.id)
    if status is not None:
        query = query.where(Rollout.phase == status)
    with core.db.read() as session:
        found = session.scalars(query.limit(limit)).all()
        counted = select(RolloutBox.rollout_id, func.count()).group_by(RolloutBox.rollout_id)
        mine = counted.where(RolloutBox.rollout_id.in_([r.id for r in found]))
        sizes = {row[0]: int(row[1]) for row in session.execute(mine)}
        return [RolloutLine(**_line(r, sizes.get(r.id, 0))) for r in found]


@router.get("/fleet/rollouts/{rollout_id}", responses=refusals(401, 403, 404, 422))
def one_rollout(rollout_id: Identifier, who: Reader, core: CoreDep) -> RolloutView:
    """Show a rollout: where it stands, what each gate says and why, and all that happened."""
    with core.db.read() as session:
        return view_of(session, _one(session, rollout_id, who))


@router.post("/fleet/rollouts/{rollout_id}/{act}", responses=refusals(401, 403, 404, 409, 413, 422))
def say(
    rollout_id: Identifier, act: Act, who: Manager, core: CoreDep, told: Reason | None = None
) -> RolloutView:
    """Pause a rollout, resume it (which lets in a ring with `hold`), abort it: every box goes back to what it had; or finish it.

    `finish` is for the last ring, where too few alerts or no champion left to compare with would let it wait for ever.
    """
    with core.db.write() as session:
        rollout = _one(session, rollout_id, who)
        command(session, rollout, act, told.reason if told else "", f"user:{who.name}", core)
        return view_of(session, rollout)
