"""Reports of the hotline, collectors and citizens, linked with the machine's cases."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.access import Principal, needs
from api.casebook import hold
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.reports import ReportIn, relink, take_report
from api.review import find
from api.tables import CaseRow, Report
from contract import CaseSource, CaseState
from contract.base import Identifier

router = APIRouter(tags=["reports"])


class ReportView(BaseModel):
    """A report and what became of it."""

    id: Identifier
    channel: str
    external_id: str
    issue: str
    lon: float
    lat: float
    error_m: float
    text: str
    reported_at: datetime
    received_at: datetime
    case_id: Identifier
    case_number: str
    case_state: CaseState
    by_machine: Annotated[bool, Field(description="The case is one that a camera found.")]
    ahead_s: Annotated[
        float | None, Field(description="Seconds by which a camera was first; negative when it came later.")
    ]


class LinkIn(BaseModel):
    """The case that a report belongs to."""

    model_config = ConfigDict(extra="forbid")
    case_id: Identifier


def _view(report: Report, case: CaseRow) -> ReportView:
    told = {c: getattr(report, c) for c in ReportView.model_fields if hasattr(report, c)}
    more = {"case_number": case.number, "case_state": case.state, "by_machine": case.source == "camera_ai"}
    return ReportView.model_validate(told | more)


@router.post(
    "/reports", status_code=201,
    responses={200: {"model": ReportView, "description": "The report was known."}, **refusals(401, 403, 413, 422)},
)  # fmt: skip
def post_report(
    told: ReportIn, response: Response, core: CoreDep, who: Annotated[Principal, needs("report.write")]
) -> ReportView:
    """Take a report: it joins the open case of its class and place, or makes one. Sending it twice changes nothing."""
    if who.role == "citizen" and told.channel is not CaseSource.CITIZEN:
        raise ApiError(403, f"channel: a key of kind citizen speaks as citizen, not as {told.channel}")
    with core.db.write() as session:
        actor = f"{who.kind}:{who.name}"
        row, case, new = take_report(session, told, who.tenant, actor, core.now(), core.areas, core.pack)
        session.flush()
        response.status_code = 201 if new else 200
        if new:
            core.metrics.reports.labels(told.channel.value).inc()
        return _view(row, case)


@router.get("/reports", responses=refusals(401, 403, 422))
def list_reports(
    core: CoreDep, who: Annotated[Principal, needs("case.read")], case_id: Identifier | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[ReportView]:  # fmt: skip
    """List reports, the newest first; of one case when it is named."""
    query = select(Report, CaseRow).join(CaseRow, CaseRow.id == Report.case_id).where(who.sees(Report.tenant))
    if case_id:
        query = query.where(Report.case_id == case_id)
    with core.db.read() as session:
        rows = session.execute(query.order_by(Report.received_at.desc()).limit(limit)).all()
    return [_view(report, case) for report, case in rows]


def _find(session: Session, report_id: str, who: Principal) -> Report:
    row = session.scalar(select(Report).where(Report.id == report_id, who.sees(Report.tenant)))
    if row is None:
        raise ApiError(404, f"no report {report_id} here")
    return row


@router.get("/reports/{report_id}", responses=refusals(401, 403, 404, 422))
def get_report(
    report_id: Identifier, core: CoreDep, who: Annotated[Principal, needs("report.write", "case.read")]
) -> ReportView:
    """Return a report and the state of its case."""
    with core.db.read() as session:
        row = _find(session, report_id, who)
        return _view(row, session.get_one(CaseRow, row.case_id))


@router.post("/reports/{report_id}/link", responses=refusals(401, 403, 404, 409, 413, 422))
def link_report(
    report_id: Identifier, told: LinkIn, core: CoreDep, who: Annotated[Principal, needs("case.supervise")]
) -> ReportView:
    """Link a report with another case by hand; the case that it had made alone is merged into that one."""
    with core.db.write() as session:
        row = _find(session, report_id, who)
        hold(session, [row.case_id, told.case_id])
        target = find(session, told.case_id, who, update=True)
        relink(session, row, target, f"user:{who.name}", who.name, core.now())
        session.flush()
        return _view(row, target)
