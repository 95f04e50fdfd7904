"""The city's process: steps, splits, merge suggestions, the audit trail."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from api.access import Principal, needs
from api.audit import verify
from api.casebook import views
from api.core import CoreDep
from api.errors import refusals
from api.geo import Spot, box_around, distance_m
from api.handling import StepIn, split, walk
from api.machine import OPEN_STATES, STEPS, allowed
from api.recurrence import counts, earlier, rung
from api.review import check_version, find
from api.routes.cases import IfMatch, whole
from api.tables import Audit, CaseRow
from api.tiles import inside
from contract import Case, CaseState
from contract.base import Identifier

router = APIRouter(tags=["work"])
Worker = Annotated[Principal, needs("case.supervise", "case.dispatch", "case.handle")]
SUGGEST_M, SUGGEST_H = 50.0, 24.0


class StepsView(BaseModel):
    """What may happen next."""

    state: CaseState
    allowed: Annotated[list[str], Field(description="Steps this person may take.")]
    others: Annotated[list[str], Field(description="Steps that are possible for other roles.")]


class SplitIn(BaseModel):
    """Alerts that are another issue."""

    model_config = ConfigDict(extra="forbid")
    alerts: Annotated[list[Identifier], Field(min_length=1, max_length=200)]


class Suggestion(BaseModel):
    """An open case of the same class near by."""

    case_id: Identifier
    number: str
    state: CaseState
    camera_id: str
    distance_m: float
    hours_apart: float


class EarlierCase(BaseModel):
    """A case that the place had before."""

    case_id: Identifier
    number: str
    state: CaseState
    opened_at: datetime


class RecurrenceView(BaseModel):
    """Recurrence at a case's place."""

    within: Annotated[dict[str, int], Field(description="Earlier cases within 1h, 7d and 30d.")]
    suggested_step: str
    sheet: str
    earlier: Annotated[list[EarlierCase], Field(description="The newest first, 50 at most.")]


class AuditEntry(BaseModel):
    """One act."""

    position: int
    at: datetime
    actor: str
    action: str
    body: dict[str, Any]
    hash: str


class AuditView(BaseModel):
    """A chain and whether it is whole."""

    chain: str
    intact: bool
    fault: str | None
    entries: list[AuditEntry]


@router.get("/cases/{case_id}/steps", responses=refusals(401, 403, 404, 422))
def list_steps(
    case_id: Identifier, who: Annotated[Principal, needs("case.read")], core: CoreDep
) -> StepsView:
    """List the steps that are possible now."""
    with core.db.read() as session:
        state = CaseState(find(session, case_id, who).state)
    names = allowed(state)
    mine = [n for n in names if STEPS[(state, n)].permission in who.permissions]
    return StepsView(state=state, allowed=mine, others=[n for n in names if n not in mine])


@router.post(
    "/cases/{case_id}/steps", response_model=Case, responses=refusals(401, 403, 404, 409, 412, 413, 422)
)
def take_step(
    case_id: Identifier, told: StepIn, who: Worker, core: CoreDep, if_match: IfMatch = None
) -> JSONResponse:
    """Take a step of the case's life; 409 names the steps that are possible."""
    with core.db.write() as session:
        case = find(session, case_id, who, update=True)
        check_version(case, if_match)
        walk(session, case, told, who, core.now(), core.pack)
        session.flush()
        return whole(views(session, [case])[0])


@router.post(
    "/cases/{case_id}/split", response_model=Case, status_code=201,
    responses=refusals(401, 403, 404, 413, 422),
)  # fmt: skip
def split_case(
    case_id: Identifier, told: SplitIn, who: Annotated[Principal, needs("case.review")], core: CoreDep
) -> JSONResponse:
    """Move alerts into a new case; the history of both tells it."""
    with core.db.write() as session:
        case = find(session, case_id, who, update=True)
        made = split(session, case, list(told.alerts), who, core)
        body = views(session, [made])[0]
    return JSONResponse(body, 201, headers={"ETag": f'"{body["version"]}"'})


@router.get("/cases/{case_id}/suggestions", responses=refusals(401, 403, 404, 422))
def suggestions(
    case_id: Identifier, who: Annotated[Principal, needs("case.read")], core: CoreDep
) -> list[Suggestion]:
    """List open cases of the same class within 50 m and 24 h: perhaps one thing seen by two cameras."""
    with core.db.read() as session:
        case = find(session, case_id, who)
        spot = Spot.of(case.place)
        span = timedelta(hours=SUGGEST_H)
        rows = session.scalars(
            select(CaseRow)
            .where(
                CaseRow.id != case.id, CaseRow.issue == case.issue, CaseRow.tenant == case.tenant,
                *inside(CaseRow, box_around(spot, SUGGEST_M)),
                CaseRow.seen_at.between(case.seen_at - span, case.seen_at + span),
                CaseRow.state.in_([s.value for s in OPEN_STATES]),
            )
            .limit(100)
        ).all()  # fmt: skip
    found = [
        Suggestion(
            case_id=c.id, number=c.number, state=CaseState(c.state), camera_id=c.camera_id,
            distance_m=round(distance_m(spot, Spot.of(c.place)), 1),
            hours_apart=round(abs((c.seen_at - case.seen_at).total_seconds()) / 3600, 2),
        )
        for c in rows
    ]  # fmt: skip
    return sorted((s for s in found if s.distance_m <= SUGGEST_M), key=lambda s: s.distance_m)


@router.get("/cases/{case_id}/recurrence", responses=refusals(401, 403, 404, 422))
def recurrence(
    case_id: Identifier, who: Annotated[Principal, needs("case.read")], core: CoreDep
) -> RecurrenceView:
    """Say how often the place had the same issue before, and which step that suggests. People decide."""
    with core.db.read() as session:
        case = find(session, case_id, who)
        before = earlier(session, case, core.pack.recurrence.radius_m)
    within = counts([c.seen_at for c in before], case.seen_at)
    step = rung(within, core.pack)
    told = [
        EarlierCase(case_id=c.id, number=c.number, state=CaseState(c.state), opened_at=c.opened_at)
        for c in before
    ]
    return RecurrenceView(within=within, suggested_step=step.step, sheet=step.sheet, earlier=told[:50])


@router.get("/cases/{case_id}/audit", responses=refusals(401, 403, 404, 422))
def case_audit(
    case_id: Identifier, who: Annotated[Principal, needs("audit.read")], core: CoreDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> AuditView:  # fmt: skip
    """Return the case's audit chain, checked."""
    with core.db.read() as session:
        chain = f"case:{find(session, case_id, who).id}"
        fault = verify(session, chain)
        rows = session.scalars(
            select(Audit).where(Audit.chain == chain).order_by(Audit.position).limit(limit)
        )
        entries = [
            AuditEntry(position=r.position, at=r.at, actor=r.actor, action=r.action, body=r.body, hash=r.hash)
            for r in rows
        ]
    return AuditView(chain=chain, intact=fault is None, fault=fault, entries=entries)
