"""Re-inspection and call-out: asked for by people, worked off by boxes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from api import callouts, rechecks
from api.access import Principal, needs
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.indicators import count_if
from api.inspections import order
from api.machine import OPEN_STATES
from api.review import find
from api.tables import AlertRow, Callout, CaseRow, Inspection
from contract import CalloutReport, CaseState, EvidenceItem, InspectionLook, InspectionReport
from contract.base import Identifier, Slug

router = APIRouter(tags=["inspections"])
Box = Annotated[Principal, needs("device.ingest")]
Reader = Annotated[Principal, needs("case.read")]


class InspectionView(BaseModel):
    """A look at the place: `before` and `after` are the same crop of the same camera."""

    id: Identifier
    why: Annotated[str, Field(description="done, deadline, callout or asked.")]
    camera_id: str
    asked_by: str
    asked_at: datetime
    state: Annotated[str, Field(description="waiting, done or expired.")]
    result: Annotated[str | None, Field(description="cleared, persists or inconclusive.")]
    advice: Annotated[
        str | None,
        Field(
            description="close, rework, remind, self_resolve, look, none; closed when the machine closed it."
        ),
    ]
    sampled: Annotated[bool, Field(description="Drawn for people instead of an automatic closing.")]
    reason: str
    looks: list[InspectionLook]
    before: EvidenceItem | None
    after: EvidenceItem | None
    context: EvidenceItem | None
    done_at: datetime | None


class CalloutIn(BaseModel):
    """A fixed message of the city's pack. There is no free text, so no name and no plate can be called out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"message": "move_vehicle"}]})
    message: Slug


class CalloutView(BaseModel):
    """A call-out."""

    id: Identifier
    message: str
    camera_id: str
    asked_by: str
    asked_at: datetime
    state: Annotated[str, Field(description="waiting, played or failed.")]
    reason: str
    done_at: datetime | None


class MessageView(BaseModel):
    """A message that fits a case."""

    message: str
    zh: str
    en: str


class InspectionStats(BaseModel):
    """What looks said, and whether people who checked the sample agreed."""

    since: datetime
    until: datetime
    asked: int
    cleared: int
    persists: int
    inconclusive: int
    closed_by_machine: int
    sampled: Annotated[
        int, Field(description="Clear places that people checked instead of an automatic closing.")
    ]
    sampled_judged: Annotated[int, Field(description="Of these, decided by a person.")]
    sampled_agreed: Annotated[int, Field(description="Of these, closed by the person too.")]


def _view(session: Session, row: Inspection) -> InspectionView:
    told: dict[str, Any] = dict(row.report or {})
    alert = session.get_one(AlertRow, row.alert_id)
    crops = [e for e in alert.body.get("evidence", ()) if e["kind"] == "crop"]
    own = (
        "id",
        "why",
        "camera_id",
        "asked_by",
        "asked_at",
        "state",
        "result",
        "advice",
        "sampled",
        "done_at",
    )
    more = {
        "reason": told.get("reason", ""), "looks": told.get("looks", []), "before": crops[0] if crops else None,
        "after": told.get("after"), "context": told.get("context"),
    }  # fmt: skip
    return InspectionView.model_validate({c: getattr(row, c) for c in own} | more)


@router.get("/cases/{case_id}/inspections", responses=refusals(401, 403, 404, 422))
def list_inspections(case_id: Identifier, who: Reader, core: CoreDep) -> list[InspectionView]:
    """List the looks at a case's place, the newest first."""
    with core.db.read() as session:
        case = find(session, case_id, who)
        rows = session.scalars(
            select(Inspection)
            .where(Inspection.case_id == case.id)
            .order_by(Inspection.asked_at.desc(), Inspection.id.desc())
            .limit(50)
        )
        return [_view(session, r) for r in rows]


@router.post("/cases/{case_id}/inspections", status_code=201, responses=refusals(401, 403, 404, 409, 422))
def ask_inspection(
    case_id: Identifier, core: CoreDep,
    who: Annotated[Principal, needs("case.supervise", "case.dispatch", "case.handle")],
) -> InspectionView:  # fmt: skip
    """Ask the case's camera for a look now; an order that waits already is returned as it is."""
    with core.db.write() as session:
        case = find(session, case_id, who, update=True)
        if CaseState(case.state) not in OPEN_STATES:
            raise ApiError(409, f"case {case.number} is {case.state}; only an open case is looked at", [])
        row = order(session, case, "asked", f"{who.kind}:{who.name}", core.now(), core.pack)
        if row is None:
            raise ApiError(409, f"case {case.number} has no camera that could look", [])
        return _view(session, row)


def _case_of(session: Session, row: Inspection | Callout | None, who: Principal) -> CaseRow:
    if row is None or row.device_id != who.id:
        raise ApiError(404, "no such order for this box")
    case = session.scalars(select(CaseRow).where(CaseRow.id == row.case_id).with_for_update()).one()
    session.refresh(row)  # while we waited, the same report or the sweep may have ended the order
    return case


@router.post("/inspections/{order_id}/report", status_code=204, responses=refusals(401, 403, 404, 413, 422))
def report_inspection(order_id: Identifier, told: InspectionReport, who: Box, core: CoreDep) -> None:
    """Take what a box saw. Sending it twice changes nothing."""
    if told.order_id != order_id or told.device_id != who.id:
        raise ApiError(422, "order_id, device_id: must be those of the address and of the token")
    with core.db.write() as session:
        row = session.get(Inspection, order_id)
        case = _case_of(session, row, who)
        if row is not None:
            rechecks.take(session, row, case, told, core.now(), core.pack)
    core.metrics.inspections.labels(told.result.value).inc()


@router.get("/stats/inspections", responses=refusals(401, 403, 422))
def inspection_stats(
    who: Annotated[Principal, needs("stats.read")], core: CoreDep,
    days: Annotated[int, Query(ge=1, le=366)] = 30,
) -> InspectionStats:  # fmt: skip
    """Count what looks said; of the sample that people checked, how often they agreed with the machine."""
    now = core.now()
    since = now - timedelta(days=days)
    drawn = Inspection.sampled.is_(True)
    agreed, sent_back = (
        CaseRow.state == "closed",
        CaseRow.state.in_(("rework", "handling", "extended", "suspended")),
    )
    with core.db.read() as session:
        row = session.execute(
            select(
                func.count(),
                *(count_if(Inspection.result == r) for r in ("cleared", "persists", "inconclusive")),
                count_if(Inspection.advice == "closed"), count_if(drawn),
                count_if(drawn, or_(agreed, sent_back)), count_if(drawn, agreed),
            )
            .join(CaseRow, CaseRow.id == Inspection.case_id)
            .where(who.sees(Inspection.tenant), Inspection.asked_at >= since)
        ).one()  # fmt: skip
    names = (
        "asked",
        "cleared",
        "persists",
        "inconclusive",
        "closed_by_machine",
        "sampled",
        "sampled_judged",
        "sampled_agreed",
    )
    counted: dict[str, Any] = dict(zip(names, row, strict=True))
    return InspectionStats(since=since, until=now, **counted)


@router.get("/cases/{case_id}/callouts", responses=refusals(401, 403, 404, 422))
def list_callouts(case_id: Identifier, who: Reader, core: CoreDep) -> list[CalloutView]:
    """List the call-outs at a case, the newest first."""
    with core.db.read() as session:
        case = find(session, case_id, who)
        rows = session.scalars(
            select(Callout)
            .where(Callout.case_id == case.id)
            .order_by(Callout.asked_at.desc(), Callout.id.desc())
            .limit(50)
        )
        return [CalloutView.model_validate(r, from_attributes=True) for r in rows]


@router.get("/cases/{case_id}/callouts/messages", responses=refusals(401, 403, 404, 422))
def list_messages(case_id: Identifier, who: Reader, core: CoreDep) -> list[MessageView]:
    """List the messages that fit a case's class."""
    with core.db.read() as session:
        issue = find(session, case_id, who).issue
    told = core.pack.callout.messages.items()
    return [MessageView(message=n, zh=m.zh, en=m.en) for n, m in told if not m.issues or issue in m.issues]


@router.post("/cases/{case_id}/callouts", status_code=201, responses=refusals(401, 403, 404, 409, 413, 422))
def ask_callout(
    case_id: Identifier, told: CalloutIn, core: CoreDep, who: Annotated[Principal, needs("callout")]
) -> CalloutView:
    """Call out at a case's place: not in the quiet hours, not more often than the pack allows."""
    with core.db.write() as session:
        case = find(session, case_id, who, update=True)
        row = callouts.ask(session, case, told.message, who.name, core.now(), core.pack)
        return CalloutView.model_validate(row, from_attributes=True)


@router.post("/callouts/{order_id}/report", status_code=204, responses=refusals(401, 403, 404, 413, 422))
def report_callout(order_id: Identifier, told: CalloutReport, who: Box, core: CoreDep) -> None:
    """Take whether a box's loudspeaker spoke. Sending it twice changes nothing."""
    if told.order_id != order_id or told.device_id != who.id:
        raise ApiError(422, "order_id, device_id: must be those of the address and of the token")
    with core.db.write() as session:
        row = session.get(Callout, order_id)
        case = _case_of(session, row, who)
        if row is not None:
            callouts.take(session, row, case, told, core.now(), core.pack)
    core.metrics.callouts.labels("played" if told.played else "failed").inc()
