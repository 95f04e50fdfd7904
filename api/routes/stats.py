"""Indicators, and public aggregates in which small counts are hidden."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import case as sql_case
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.access import Principal, needs, public
from api.core import CoreDep
from api.errors import refusals
from api.tables import CaseRow, VerdictRow

router = APIRouter(tags=["statistics"])
SMALL = 5
_FILED = (
    "filed",
    "accepted",
    "dispatched",
    "handling",
    "extended",
    "suspended",
    "recheck",
    "rework",
    "closed",
)
_HANDLED = ("recheck", "rework", "closed")


class Group(BaseModel):
    """Indicators of one group. Shares are null where there is nothing to divide by."""

    key: str
    reported: int
    judged: int
    confirmed: int
    precision: Annotated[float | None, Field(description="Confirmed / judged.")]
    filed: int
    valid_report_rate: Annotated[float | None, Field(description="Filed / reported.")]
    handled: int
    handling_rate: Annotated[float | None, Field(description="Handled / filed.")]
    closed: int
    settlement_rate: Annotated[float | None, Field(description="Closed / filed.")]
    overdue: int


class Stats(BaseModel):
    """Indicators over a span."""

    since: datetime
    by: str
    groups: list[Group]
    median_decision_s: float | None


class PublicStats(BaseModel):
    """Counts for everybody."""

    days: int
    counts: Annotated[dict[str, int | None], Field(description="Confirmed cases by class; null below 5.")]


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _count(session: Session, column: Any, who: Principal, since: datetime, now: datetime) -> list[Group]:
    def counted(*states: str) -> Any:
        return func.sum(sql_case((CaseRow.state.in_(states), 1), else_=0))

    late = func.sum(sql_case((CaseRow.deadline_at < func.coalesce(CaseRow.ended_at, now), 1), else_=0))
    rows = session.execute(
        select(
            column, func.count(), counted("rejected"), counted("confirmed", *_FILED), counted(*_FILED),
            counted(*_HANDLED), counted("closed"), late,
        )
        .where(who.sees(CaseRow.tenant), CaseRow.opened_at >= since)
        .group_by(column)
        .order_by(func.count().desc())
        .limit(500)
    )  # fmt: skip
    return [
        Group(
            key=str(key or ""), reported=n, judged=no + yes, confirmed=yes, precision=_share(yes, yes + no),
            filed=filed, valid_report_rate=_share(filed, n), handled=handled, handling_rate=_share(handled, filed),
            closed=closed, settlement_rate=_share(closed, filed), overdue=overdue,
        )
        for key, n, no, yes, filed, handled, closed, overdue in rows
    ]  # fmt: skip


@router.get("/stats", responses=refusals(401, 403, 422))
def stats(
    who: Annotated[Principal, needs("stats.read")], core: CoreDep,
    by: Annotated[Literal["issue", "camera_id", "unit", "district", "street_class", "source"], Query()] = "issue",
    days: Annotated[int, Query(ge=1, le=366)] = 30,
) -> Stats:  # fmt: skip
    """Return the indicators by class, camera, unit, district, street class or channel."""
    now = core.now()
    since = now - timedelta(days=days)
    with core.db.read() as session:
        groups = _count(session, getattr(CaseRow, by), who, since, now)
        seconds = session.scalars(
            select(VerdictRow.seconds)
            .join(CaseRow, CaseRow.id == VerdictRow.case_id)
            .where(who.sees(CaseRow.tenant), VerdictRow.at >= since, VerdictRow.seconds.is_not(None))
            .order_by(VerdictRow.at.desc())
            .limit(10_000)
        ).all()
    found = [s for s in seconds if s is not None]
    return Stats(since=since, by=by, groups=groups, median_decision_s=median(found) if found else None)


@router.get("/public/stats", responses=refusals(422), dependencies=[public("coarse counts for everybody")])
def public_stats(core: CoreDep, days: Annotated[Literal[30, 90, 365], Query()] = 30) -> PublicStats:
    """Return confirmed cases by class over a span; counts below five are hidden."""
    with core.db.read() as session:
        rows = session.execute(
            select(CaseRow.issue, func.count())
            .where(
                CaseRow.opened_at >= core.now() - timedelta(days=days),
                CaseRow.state.in_(("confirmed", *_FILED)),
            )
            .group_by(CaseRow.issue)
        ).all()
    return PublicStats(
        days=days, counts={i: (n if n >= SMALL else None) for i, n in sorted((r[0], r[1]) for r in rows)}
    )
