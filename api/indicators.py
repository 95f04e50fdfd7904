"""The indicators of RULES: one grouped query each, the same words on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, and_, cast, extract, func, literal, not_, or_, select, types
from sqlalchemy import case as sql_case
from sqlalchemy.orm import Session

from api.access import Principal
from api.figures import share
from api.tables import Camera, CaseRow, Report, VerdictRow

FILED = (
    "filed", "accepted", "dispatched", "handling", "extended", "suspended", "recheck", "rework", "closed",
)  # fmt: skip
CONFIRMED = ("confirmed", *FILED)
MACHINE = "camera_ai"
BY = ("issue", "camera", "unit", "district", "grid", "street_class", "channel", "hour")
Share = Annotated[float | None, Field(ge=0, description="Null where there is nothing to divide by.")]


class Group(BaseModel):
    """Indicators of one group of cases. Shares are of 0 to 1, null where there is nothing to divide by."""

    key: str
    reported: int
    judged: Annotated[int, Field(description="Machine cases that people confirmed or rejected.")]
    confirmed: Annotated[int, Field(description="Of these, confirmed.")]
    precision: Annotated[Share, Field(description="Confirmed / judged.")]
    filed: int
    valid_report_rate: Annotated[Share, Field(description="Filed / reported.")]
    should_handle: Annotated[int, Field(description="Filed, and handled or past the deadline.")]
    handled: int
    handling_rate: Annotated[Share, Field(description="Handled / should be handled.")]
    on_time_handling_rate: Annotated[
        Share, Field(description="Handled within the deadline / should be handled.")
    ]
    should_close: Annotated[int, Field(description="Filed, and closed or past the deadline.")]
    closed: int
    settlement_rate: Annotated[Share, Field(description="Closed / should be closed.")]
    on_time_settlement_rate: Annotated[
        Share, Field(description="Handled within the deadline and closed / should be closed.")
    ]
    overdue: Annotated[int, Field(description="Filed, not handled, past the deadline.")]
    rework_rate: Annotated[Share, Field(description="Cases that were sent back at least once / handled.")]
    repeat_rate: Annotated[
        Share,
        Field(description="Cases at a place that had one in the 30 days before, or reopened / reported."),
    ]
    mean_handling_h: Annotated[float | None, Field(description="Natural hours from filing to done.")]
    median_decision_s: Annotated[float | None, Field(description="Seconds from picture to key.")]
    alerts_per_camera_day: Annotated[
        float | None,
        Field(
            description="Machine cases / days since each camera is known, one at least; null where cameras are not the scope."
        ),
    ]
    false_alerts_per_camera_day: float | None
    miss_rate: Annotated[
        Share,
        Field(
            description="Valid reports by others within a camera's reach that no machine had found before / all such reports."
        ),
    ]
    median_ahead_min: Annotated[float | None, Field(description="Minutes by which the machine was first, where somebody else reported too.")]  # fmt: skip


# An alert may come so much later than its case was seen, and the span is of what came.
LATE = timedelta(days=31)
# Groupings to which no camera belongs as a whole.
UNWATCHED = frozenset({"unit", "district", "grid"})


@dataclass(frozen=True)
class Scope:
    """Whose cases, since when, on which clock."""

    who: Principal
    since: datetime
    now: datetime
    zone: ZoneInfo

    @property
    def days(self) -> float:
        """The span's length in days."""
        return max((self.now - self.since) / timedelta(days=1), 1e-6)

    def cases(self) -> list[ColumnElement[bool]]:
        """Return the conditions of the cases."""
        return [self.who.sees(CaseRow.tenant), CaseRow.opened_at >= self.since]


def inline(value: Any) -> Any:
    """Return a constant that stands in the text: PostgreSQL must see that what is selected is what is grouped by."""
    return literal(value, literal_execute=True)


def local(session: Session, part: str, scope: Scope) -> ColumnElement[int]:
    """Return `hour` (0-23) or `dow` (0 is Sunday) of when a case was seen, on the city's clock.

    SQLite knows no zones: there each stretch of the span between two changes of the clock has its own offset.
    """
    if session.get_bind().dialect.name == "postgresql":
        return cast(extract(part, func.timezone(inline(scope.zone.key), CaseRow.seen_at)), types.Integer)
    code = inline({"hour": "%H", "dow": "%w"}[part])

    def shifted(offset: timedelta) -> ColumnElement[Any]:
        return func.strftime(code, CaseRow.seen_at, inline(f"{offset.total_seconds():+.0f} seconds"))

    (_, first), *later = stretches(scope.since - LATE, scope.now, scope.zone)
    if not later:
        return cast(shifted(first), types.Integer)
    arms = [(CaseRow.seen_at >= at, shifted(offset)) for at, offset in reversed(later)]
    return cast(sql_case(*arms, else_=shifted(first)), types.Integer)


def stretches(since: datetime, until: datetime, zone: ZoneInfo) -> list[tuple[datetime, timedelta]]:
    """Return (first moment, offset from UTC) of each stretch of one offset, from `since` to `until`."""

    def offset(at: datetime) -> timedelta:
        return at.astimezone(zone).utcoffset() or timedelta(0)

    at, out = since.astimezone(UTC), [(since, offset(since))]
    while at < until:
        after = min(at + timedelta(days=1), until)
        low, high = at, after
        while offset(high) != out[-1][1]:
            if high - low <= timedelta(seconds=1):
                out.append((high.replace(microsecond=0), offset(high)))
                break
            middle = low + (high - low) / 2
            low, high = (middle, high) if offset(middle) == out[-1][1] else (low, middle)
        at = after
    return out


def column(session: Session, by: str, scope: Scope) -> Any:
    """Return the column of a grouping."""
    if by == "hour":
        return local(session, "hour", scope)
    return {
        "issue": CaseRow.issue, "camera": CaseRow.camera_id, "unit": CaseRow.unit, "district": CaseRow.district,
        "grid": CaseRow.grid, "street_class": CaseRow.street_class, "channel": CaseRow.source,
    }[by]  # fmt: skip


def count_if(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """Return the number of rows for which all conditions hold."""
    return func.coalesce(func.sum(sql_case((and_(*conditions), 1), else_=0)), 0)


def _columns(now: datetime) -> list[ColumnElement[Any]]:
    machine, filed = CaseRow.source == MACHINE, CaseRow.state.in_(FILED)
    due = and_(CaseRow.deadline_at <= now, CaseRow.state != "suspended")  # whose clock stands
    handled = and_(filed, CaseRow.done_at.is_not(None), CaseRow.state.in_(("recheck", "closed")))
    closed, in_time = CaseRow.state == "closed", CaseRow.done_at <= CaseRow.deadline_at
    return [
        func.count(),
        count_if(machine, CaseRow.state == "rejected"),
        count_if(machine, CaseRow.state.in_(CONFIRMED)),
        count_if(filed),
        count_if(filed, or_(handled, due)),
        count_if(handled),
        count_if(handled, in_time),
        count_if(filed, or_(closed, due)),
        count_if(closed),
        count_if(closed, in_time),
        count_if(filed, due, not_(handled)),
        count_if(CaseRow.done_at.is_not(None)),
        count_if(CaseRow.done_at.is_not(None), CaseRow.reworks > 0),
        count_if(or_(CaseRow.repeat_of.is_not(None), CaseRow.reopens > 0)),
        func.avg(CaseRow.handling_s),
        count_if(machine),
    ]


def groups(session: Session, by: str | None, scope: Scope) -> list[Group]:
    """Return the indicators of each group, the largest first; of everything as one group without `by`."""
    key: Any = column(session, by, scope) if by else None
    columns: list[Any] = [key, *_columns(scope.now)] if by else _columns(scope.now)
    query = select(*columns).where(*scope.cases())
    if by:
        query = query.group_by(key).order_by(func.count().desc(), key).limit(500)
    rows: Sequence[Sequence[Any]] = [tuple(r) for r in session.execute(query)]
    seconds, missed = _seconds(session, key, scope), _missed(session, key, scope)
    days = _camera_days(session, scope)
    watched = sum(days.values())
    out = []
    for row in rows:
        name = _name(row[0]) if by else "all"
        scale = {"camera": days.get(name, 0.0), "hour": watched / 24}.get(
            by or "", 0.0 if by in UNWATCHED else watched
        )
        out.append(_group(name, row[1:] if by else row, seconds.get(name, []), missed.get(name), scale))
    return out


def _group(
    name: str,
    row: Sequence[Any],
    seconds: list[float],
    missed: tuple[int, int, list[float]] | None,
    scale: float,
) -> Group:
    (n, no, yes, filed, should, handled, in_time, should_close, closed, closed_in_time, late, done, again,
     repeats, mean_s, machine) = row  # fmt: skip
    lost, found, ahead = missed or (0, 0, [])
    return Group(
        key=name, reported=n, judged=yes + no, confirmed=yes, precision=share(yes, yes + no), filed=filed,
        valid_report_rate=share(filed, n), should_handle=should, handled=handled,
        handling_rate=share(handled, should), on_time_handling_rate=share(in_time, should),
        should_close=should_close, closed=closed, settlement_rate=share(closed, should_close),
        on_time_settlement_rate=share(closed_in_time, should_close), overdue=late, rework_rate=share(again, done),
        repeat_rate=share(repeats, n), mean_handling_h=None if mean_s is None else round(float(mean_s) / 3600, 2),
        median_decision_s=median(seconds) if seconds else None, alerts_per_camera_day=share(machine, scale),
        false_alerts_per_camera_day=share(no, scale), miss_rate=share(lost, lost + found),
        median_ahead_min=round(median(ahead) / 60, 1) if ahead else None,
    )  # fmt: skip


def _name(key: Any) -> str:
    return "" if key is None else str(key)


def _camera_days(session: Session, scope: Scope) -> dict[str, float]:
    """Return for each camera the days of the span in which it was known; one at least, since an hour makes no rate a day."""
    rows = session.execute(select(Camera.id, Camera.since).where(scope.who.sees(Camera.tenant)))
    return {
        name: min(scope.days, max(1.0, (scope.now - (since or scope.since)) / timedelta(days=1))) for name, since in rows
    }  # fmt: skip


def _seconds(session: Session, key: Any, scope: Scope) -> dict[str, list[float]]:
    """Return the seconds of the last 10 000 decisions by group."""
    rows = session.execute(
        select(VerdictRow.seconds, *([] if key is None else [key]))
        .join(CaseRow, CaseRow.id == VerdictRow.case_id)
        .where(*scope.cases(), VerdictRow.seconds.is_not(None), VerdictRow.undone_at.is_(None))
        .order_by(VerdictRow.at.desc())
        .limit(10_000)
    )
    out: dict[str, list[float]] = {}
    for seconds, *rest in rows:
        out.setdefault(_name(rest[0]) if rest else "all", []).append(seconds)
    return out


def _missed(session: Session, key: Any, scope: Scope) -> dict[str, tuple[int, int, list[float]]]:
    """Return (missed, found, seconds ahead) by group: reports of others against the machine's own cases."""
    rows = session.execute(
        select(Report.ahead_s, Report.in_reach, *([] if key is None else [key]))
        .join(CaseRow, CaseRow.id == Report.case_id)
        .where(*scope.cases(), CaseRow.state.in_(CONFIRMED))
        .order_by(Report.received_at.desc())
        .limit(50_000)
    )
    out: dict[str, tuple[int, int, list[float]]] = {}
    for ahead, in_reach, *rest in rows:
        name = _name(rest[0]) if rest else "all"
        lost, found, moments = out.get(name, (0, 0, []))
        first = ahead is not None and ahead >= 0
        if ahead is not None:
            moments.append(ahead)
        out[name] = (lost + (in_reach and not first), found + first, moments)
    return out
