"""Statistics: indicators, precision, hours, hot spots, reviewers, threshold proposals, public counts."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from statistics import median
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.access import Principal, needs, public
from api.core import Core, CoreDep
from api.errors import refusals
from api.figures import SMALL, hide_small, share, wilson_low
from api.hotspots import HotSpot, hot_spots
from api.indicators import CONFIRMED, MACHINE, Group, Scope, count_if, groups, inline, local
from api.tables import CaseRow, VerdictRow
from contract import IssueClass

router = APIRouter(tags=["statistics"])
Reader = Annotated[Principal, needs("stats.read")]
Days = Annotated[int, Query(ge=1, le=366)]
MAX_CELLS = 2000
PUBLIC_CELL = 0.01  # degrees, about 1 km


def scope_of(core: Core, who: Principal, days: int) -> Scope:
    """Return the asker's cases of the last `days` days on the city's clock."""
    now = core.now()
    return Scope(who, now - timedelta(days=days), now, ZoneInfo(core.pack.timezone))


class Indicators(BaseModel):
    """Indicators over a span."""

    since: datetime
    until: datetime
    by: str
    total: Group
    groups: list[Group]


class PrecisionCell(BaseModel):
    """What people said of one camera's alerts of one class in one hour of the day."""

    camera_id: str
    issue: str
    hour: int
    judged: int
    confirmed: int
    rejected: int
    precision: float
    low: Annotated[float, Field(description="Lower end of Wilson's 95 % interval: few cases prove little.")]


class Precision(BaseModel):
    """Precision by camera, class and hour; the cells with most false alerts first."""

    since: datetime
    until: datetime
    target: float
    cells: list[PrecisionCell]


class HourCell(BaseModel):
    """One hour of one weekday."""

    weekday: Annotated[int, Field(description="0 is Monday.")]
    hour: int
    reported: int
    confirmed: int
    rejected: int


class Hours(BaseModel):
    """Cases by weekday and hour of the city's clock; empty cells are left out."""

    since: datetime
    until: datetime
    cells: list[HourCell]


class HotSpots(BaseModel):
    """Where cases gather."""

    since: datetime
    until: datetime
    spots: list[HotSpot]


class ReviewerRow(BaseModel):
    """One reviewer's work."""

    reviewer: str
    verdicts: int
    confirm_share: float | None
    unsure_share: float | None
    median_decision_s: float | None
    second_readings: Annotated[int, Field(description="Verdicts on cases that somebody else judged too.")]
    agreement: Annotated[float | None, Field(description="Share of these that said the same.")]
    undone: int


class Reviewers(BaseModel):
    """Reviewers' work over a span."""

    since: datetime
    until: datetime
    reviewers: list[ReviewerRow]


class PublicCell(BaseModel):
    """Confirmed cases of all classes in a cell of about 1 km and a quarter of the day."""

    lon: float
    lat: float
    hours: str
    cases: int | None


class PublicStats(BaseModel):
    """Counts for everybody; null below five, and where one alone would be hidden."""

    days: int
    least: int = SMALL
    counts: dict[str, int | None]
    cells: list[PublicCell]


@router.get("/stats/indicators", responses=refusals(401, 403, 422))
def indicators(
    who: Reader, core: CoreDep, days: Days = 30,
    by: Annotated[
        Literal["issue", "camera", "unit", "district", "grid", "street_class", "channel", "hour"], Query()
    ] = "issue",
) -> Indicators:  # fmt: skip
    """Return the indicators by class, camera, unit, area, street class, channel or hour, and of all together."""
    scope = scope_of(core, who, days)
    with core.db.read() as session:
        total, found = groups(session, None, scope)[0], groups(session, by, scope)
    return Indicators(since=scope.since, until=scope.now, by=by, total=total, groups=found)


@router.get("/stats/precision", responses=refusals(401, 403, 422))
def precision(
    who: Reader, core: CoreDep, days: Days = 30,
    camera: Annotated[str | None, Query(max_length=64)] = None, issue: IssueClass | None = None,
    least: Annotated[int, Query(ge=1, le=1000, description="Cells with fewer judged cases are left out.")] = 1,
) -> Precision:  # fmt: skip
    """Return the precision by camera × class × hour."""
    scope = scope_of(core, who, days)
    with core.db.read() as session:
        hour = local(session, "hour", scope)
        yes, no = count_if(CaseRow.state.in_(CONFIRMED)), count_if(CaseRow.state == "rejected")
        query = select(CaseRow.camera_id, CaseRow.issue, hour, yes, no).where(
            *scope.cases(), CaseRow.source == MACHINE
        )
        if camera:
            query = query.where(CaseRow.camera_id == camera)
        if issue:
            query = query.where(CaseRow.issue == issue.value)
        grouped = query.group_by(CaseRow.camera_id, CaseRow.issue, hour).having(yes + no >= least)
        rows = session.execute(grouped.order_by(no.desc(), CaseRow.camera_id, hour).limit(MAX_CELLS)).all()
    cells = [
        PrecisionCell(
            camera_id=c, issue=i, hour=h, judged=y + n, confirmed=y, rejected=n, precision=round(y / (y + n), 4),
            low=round(wilson_low(y, y + n), 4),
        )
        for c, i, h, y, n in rows
    ]  # fmt: skip
    return Precision(since=scope.since, until=scope.now, target=0.85, cells=cells)


@router.get("/stats/hours", responses=refusals(401, 403, 422))
def hours(
    who: Reader, core: CoreDep, days: Days = 30, issue: IssueClass | None = None,
    camera: Annotated[str | None, Query(max_length=64)] = None,
) -> Hours:  # fmt: skip
    """Return the heat map weekday × hour."""
    scope = scope_of(core, who, days)
    with core.db.read() as session:
        dow, hour = local(session, "dow", scope), local(session, "hour", scope)
        query = select(
            dow,
            hour,
            func.count(),
            count_if(CaseRow.state.in_(CONFIRMED)),
            count_if(CaseRow.state == "rejected"),
        ).where(*scope.cases())
        if issue:
            query = query.where(CaseRow.issue == issue.value)
        if camera:
            query = query.where(CaseRow.camera_id == camera)
        rows = session.execute(query.group_by(dow, hour)).all()
    cells = [
        HourCell(weekday=(d + 6) % 7, hour=h, reported=n, confirmed=yes, rejected=no)
        for d, h, n, yes, no in rows
    ]
    return Hours(since=scope.since, until=scope.now, cells=sorted(cells, key=lambda c: (c.weekday, c.hour)))


@router.get("/stats/hotspots", responses=refusals(401, 403, 422))
def hotspots(
    who: Reader, core: CoreDep, days: Days = 30, issue: IssueClass | None = None,
    least: Annotated[int, Query(ge=2, le=1000)] = 3, limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> HotSpots:  # fmt: skip
    """Return the places where cases gather, with their hours and whether they are likely to come again."""
    scope = scope_of(core, who, days)
    with core.db.read() as session:
        spots = hot_spots(session, scope, core.pack, limit, least, issue.value if issue else None)
    return HotSpots(since=scope.since, until=scope.now, spots=spots)


@router.get("/stats/reviewers", responses=refusals(401, 403, 422))
def reviewers(who: Reader, core: CoreDep, days: Days = 30) -> Reviewers:
    """Return each reviewer's counts, median seconds and agreement with second readings."""
    scope = scope_of(core, who, days)
    with core.db.read() as session:
        rows = session.execute(
            select(VerdictRow.reviewer, VerdictRow.kind, VerdictRow.seconds, VerdictRow.case_id, VerdictRow.undone_at)
            .join(CaseRow, CaseRow.id == VerdictRow.case_id)
            .where(who.sees(CaseRow.tenant), VerdictRow.at >= scope.since)
            .order_by(VerdictRow.at.desc())
            .limit(50_000)
        ).all()  # fmt: skip
    found = sorted({r.reviewer for r in rows})
    said: dict[str, dict[str, str]] = {}
    for row in reversed(rows):
        if row.undone_at is None and row.kind in {"confirm", "reject"}:
            said.setdefault(row.case_id, {})[row.reviewer] = row.kind
    told = [_reviewer(name, [r for r in rows if r.reviewer == name], said) for name in found]
    return Reviewers(since=scope.since, until=scope.now, reviewers=told)


def _reviewer(name: str, rows: list[Any], said: dict[str, dict[str, str]]) -> ReviewerRow:
    mine = [r for r in rows if r.undone_at is None]
    seconds = [r.seconds for r in mine if r.seconds is not None]
    pairs = [
        (kinds[name], kind)
        for kinds in said.values()
        if name in kinds
        for other, kind in kinds.items()
        if other != name
    ]
    return ReviewerRow(
        reviewer=name, verdicts=len(mine), confirm_share=share(sum(r.kind == "confirm" for r in mine), len(mine)),
        unsure_share=share(sum(r.kind == "unsure" for r in mine), len(mine)),
        median_decision_s=median(seconds) if seconds else None, second_readings=len(pairs),
        agreement=share(sum(a == b for a, b in pairs), len(pairs)), undone=len(rows) - len(mine),
    )  # fmt: skip


@router.get("/stats/public", responses=refusals(422), dependencies=[public("coarse counts for everybody")])
def public_stats(core: CoreDep, days: Annotated[Literal[30, 90, 365], Query()] = 30) -> PublicStats:
    """Return confirmed cases by class, and by cell of about 1 km and quarter of the day; small counts are hidden."""
    everybody = Principal("public", "", "", "public", "/", frozenset())
    scope = scope_of(core, everybody, days)
    with core.db.read() as session:
        quarter = local(session, "hour", scope)
        found = [*scope.cases(), CaseRow.state.in_(CONFIRMED)]
        by_class = session.execute(
            select(CaseRow.issue, func.count()).where(*found).group_by(CaseRow.issue)
        ).all()
        spots = _public_cells(session, found, quarter)
    cells = []
    for key, n in sorted(hide_small(spots).items()):
        x, y, part = (int(v) for v in key.split())
        hours_of = f"{6 * part:02d}-{6 * part + 6:02d}"
        cells.append(
            PublicCell(lon=round(x * PUBLIC_CELL, 2), lat=round(y * PUBLIC_CELL, 2), hours=hours_of, cases=n)
        )
    return PublicStats(
        days=days, counts=hide_small({row[0]: row[1] for row in sorted(by_class)}), cells=cells
    )


def _public_cells(session: Session, found: list[Any], hour: Any) -> dict[str, int]:
    x, y = func.round(CaseRow.lon / inline(PUBLIC_CELL)), func.round(CaseRow.lat / inline(PUBLIC_CELL))
    rows = session.execute(select(x, y, hour, func.count()).where(*found).group_by(x, y, hour).limit(100_000))
    out: dict[str, int] = {}
    for lon, lat, at, n in rows:
        key = f"{math.floor(lon)} {math.floor(lat)} {at // 6}"
        out[key] = out.get(key, 0) + n
    return out
