"""Leases: who holds which case of the queue, so that two people never hold one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from api.access import Principal
from api.machine import REVIEW_STATES
from api.tables import CaseRow
from api.tables_console import Deferral
from contract import CaseState

# One shown, two whose pictures are on their way, and what a batch holds.
MAX_HELD = 60


# In the text and in this order, so that the database finds the index of what waits.
WAITING = CaseRow.state.in_([literal_column(f"'{s.value}'") for s in sorted(REVIEW_STATES)])


def in_queue(who: Principal, now: datetime) -> list[ColumnElement[bool]]:
    """Return the conditions of a case that this person could take now."""
    return [
        WAITING,
        who.sees(CaseRow.tenant),
        or_(CaseRow.lease_until.is_(None), CaseRow.lease_until <= now, CaseRow.lease_by == who.name),
    ]


def wanted(issue: str | None, camera: str | None) -> list[ColumnElement[bool]]:
    """Return the conditions of the reviewer's own filters."""
    found: list[ColumnElement[bool]] = []
    if issue:
        found.append(CaseRow.issue == issue)
    if camera:
        found.append(CaseRow.camera_id == camera)
    return found


def put_back(who: Principal, now: datetime) -> Select[str]:
    """Return the query for the cases that this person has put back."""
    return select(Deferral.case_id).where(Deferral.reviewer == who.name, Deferral.until > now)


def next_case(
    session: Session,
    who: Principal,
    now: datetime,
    lease_s: float,
    skip: Sequence[str] = (),
    filters: Sequence[ColumnElement[bool]] = (),
) -> CaseRow | None:
    """Lease the first case of the queue. One's own second reviews and what one has deferred are left out."""
    first = CaseRow.held["first_reviewer"].as_string()
    not_mine = or_(CaseRow.state != CaseState.SECOND_REVIEW.value, first.is_(None), first != who.name)
    query = (
        select(CaseRow)
        .where(
            *in_queue(who, now),
            not_mine,
            *filters,
            CaseRow.id.not_in(skip),
            CaseRow.id.not_in(put_back(who, now)),
        )
        .order_by(CaseRow.priority, CaseRow.opened_at, CaseRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    case = session.scalars(query).first()
    if case is not None:
        case.lease_by, case.lease_until = who.name, now + timedelta(seconds=lease_s)
    return case


def take(
    session: Session, who: Principal, now: datetime, lease_s: float, ids: Sequence[str]
) -> dict[str, str]:
    """Take or extend leases; return, for each case that was refused, who holds it ('' when it left the queue)."""
    until = now + timedelta(seconds=lease_s)
    refused: dict[str, str] = {}
    found = {
        c.id: c
        for c in session.scalars(
            select(CaseRow)
            .where(CaseRow.id.in_(ids), who.sees(CaseRow.tenant))
            .order_by(CaseRow.id)
            .with_for_update()
        )
    }
    for case_id in ids:
        case = found.get(case_id)
        if case is None or CaseState(case.state) not in REVIEW_STATES:
            refused[case_id] = ""
        elif case.lease_by not in {None, who.name} and case.lease_until and case.lease_until > now:
            refused[case_id] = str(case.lease_by)
        else:
            case.lease_by, case.lease_until = who.name, until
    return refused


def release(session: Session, who: Principal, ids: Sequence[str] | None) -> int:
    """Give back leases of one's own; all of them when `ids` is None. Return how many."""
    query = update(CaseRow).where(CaseRow.lease_by == who.name).values(lease_by=None, lease_until=None)
    if ids is not None:
        query = query.where(CaseRow.id.in_(ids))
    return int(session.connection().execute(query).rowcount)


def defer(session: Session, case: CaseRow, who: Principal, now: datetime, minutes: float) -> datetime:
    """Put a case back for this person; sweep what is over. Return until when."""
    until = now + timedelta(minutes=minutes)
    session.execute(delete(Deferral).where(Deferral.until <= now))
    insert = pg_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    session.execute(
        insert(Deferral)
        .values(case_id=case.id, reviewer=who.name, until=until)
        .on_conflict_do_update(index_elements=["case_id", "reviewer"], set_={"until": until})
    )
    if case.lease_by == who.name:
        case.lease_by = case.lease_until = None
    return until
