"""Hot spots: cells in which cases gather, when, how often again, and whether that is likely to go on."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.geo import M_PER_DEG
from api.indicators import Scope, inline
from api.pack import CityPack
from api.recurrence import counts, rung
from api.tables import CaseRow

CELL_M = 50.0
MAX_ROWS = 2000
_NOT = ("rejected", "void", "merged")


class HotSpot(BaseModel):
    """One cell of about 50 m with one class."""

    issue: str
    lon: float
    lat: float
    cases: int
    days_hit: Annotated[int, Field(description="Days with a case, of the last 28.")]
    days_hit_week: Annotated[int, Field(description="Days with a case, of the last 7.")]
    last_at: datetime
    hours: Annotated[list[int], Field(description="24 counts by hour on the city's clock.")]
    peak_hours: Annotated[
        list[int], Field(description="First and last hour of the three in a row with most cases.")
    ]
    within: Annotated[dict[str, int], Field(description="Cases within 1h, 7d and 30d before now.")]
    likely_again: Annotated[bool, Field(description="Hit on 3 of the last 7 days or on 8 of the last 28.")]
    suggested_step: str
    sheet: str


def hot_spots(
    session: Session, scope: Scope, pack: CityPack, most: int, least: int, issue: str | None
) -> list[HotSpot]:
    """Return the cells with at least `least` cases, the fullest first."""
    found = [*scope.cases(), CaseRow.state.not_in(_NOT), *([CaseRow.issue == issue] if issue else [])]
    middle = session.scalar(select(func.avg(CaseRow.lat)).where(*found))
    if middle is None:
        return []
    tall = CELL_M / M_PER_DEG
    wide = tall / max(0.01, math.cos(math.radians(middle)))
    row, col = func.round(CaseRow.lat / inline(tall)), func.round(CaseRow.lon / inline(wide))
    cells = session.execute(
        select(CaseRow.issue, row, col, func.count(), func.avg(CaseRow.lon), func.avg(CaseRow.lat))
        .where(*found)
        .group_by(CaseRow.issue, row, col)
        .having(func.count() >= least)
        .order_by(func.count().desc())
        .limit(most)
    ).all()
    out = []
    for name, y, x, n, lon, lat in cells:
        inside = (
            CaseRow.lat.between((y - 0.5) * tall, (y + 0.5) * tall),
            CaseRow.lon.between((x - 0.5) * wide, (x + 0.5) * wide),
        )
        query = select(CaseRow.seen_at).where(*found, CaseRow.issue == name, *inside)
        moments = list(session.scalars(query.order_by(CaseRow.seen_at.desc()).limit(MAX_ROWS)))
        if moments:
            out.append(_spot(name, lon, lat, n, moments, scope, pack))
    return out


def _spot(
    issue: str, lon: float, lat: float, n: int, moments: list[datetime], scope: Scope, pack: CityPack
) -> HotSpot:
    told = [m.astimezone(scope.zone) for m in moments]
    by_hour = Counter(m.hour for m in told)
    hours = [by_hour[h] for h in range(24)]
    start = max(range(24), key=lambda h: sum(hours[(h + i) % 24] for i in range(3)))
    days = {m.date() for m in told}
    today = scope.now.astimezone(scope.zone).date()
    week, month = _within(days, today, 7), _within(days, today, 28)
    within = counts(moments, scope.now + timedelta(microseconds=1))
    step = rung(within, pack)
    return HotSpot(
        issue=issue, lon=round(lon, 6), lat=round(lat, 6), cases=n, days_hit=month, days_hit_week=week,
        last_at=moments[0], hours=hours, peak_hours=[start, (start + 2) % 24], within=within,
        likely_again=week >= 3 or month >= 8, suggested_step=step.step, sheet=step.sheet,
    )  # fmt: skip


def _within(days: set[date], today: date, span: int) -> int:
    return sum(0 <= (today - d).days < span for d in days)
