"""Cases in the database: views, and what every change of one does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from api.db import plain
from api.outbox import enqueue
from api.tables import AlertRow, CaseRow, Event, VerdictRow

# What `views` needs of a case, and a page's cursor; whole rows would take twice as long to load.
SHOWN = (
    CaseRow.id, CaseRow.number, CaseRow.state, CaseRow.source, CaseRow.issue, CaseRow.street_class, CaseRow.camera_id,
    CaseRow.camera_name, CaseRow.place, CaseRow.opened_at, CaseRow.updated_at, CaseRow.deadline_at, CaseRow.dwell_s,
    CaseRow.version, CaseRow.priority,
)  # fmt: skip


def hold(session: Session, case_ids: Iterable[str]) -> None:
    """Hold cases until the transaction ends. Two transactions that want the same ones never wait crosswise."""
    ids = sorted(set(case_ids))
    if ids:
        session.execute(select(CaseRow.id).where(CaseRow.id.in_(ids)).order_by(CaseRow.id).with_for_update())


def count_reopening(case: CaseRow) -> None:
    """Count the case as reopened; it is filed and handled anew."""
    case.reopens += 1
    case.filed_at = case.done_at = case.handling_s = None


def touch(case: CaseRow, now: datetime) -> None:
    """Count the version up and free the lease's holder from a stale page."""
    case.version += 1
    case.updated_at = now


def feed_line(case: CaseRow) -> dict[str, Any]:
    """Return what the live feed and the webhooks say of a case."""
    return {
        "case_id": case.id, "number": case.number, "state": case.state, "issue": case.issue,
        "camera_id": case.camera_id, "version": case.version, "street_class": case.street_class,
        "lon": case.lon, "lat": case.lat,
    }  # fmt: skip


def publish(
    session: Session, case: CaseRow, kind: str, now: datetime, hold_s: float = 0.0, leaves: bool = True
) -> None:
    """Put a line on the live feed and into the webhooks' outbox, within the transaction.

    The outbox keeps it for `hold_s` seconds first; an event that does not leave is for the house alone.
    """
    line = feed_line(case)
    session.add(Event(at=now, tenant=case.tenant, kind=kind, body=line))
    if leaves:
        enqueue(session, case.tenant, kind, line, now, hold_s)


def verdict_view(row: VerdictRow) -> dict[str, Any]:
    """Return a verdict as `contract.Verdict` has it."""
    body = {
        "id": row.id, "case_id": row.case_id, "kind": row.kind, "reason": row.reason, "issue": row.issue,
        "text": row.text, "reviewer": row.reviewer, "at": plain(row.at), "seconds": row.seconds, "box": row.box,
        "box_of": row.before.get("box_of"),
        "on_appeal": True if "appealed_by" in row.before.get("held", ()) else None,
    }  # fmt: skip
    return {k: v for k, v in body.items() if v is not None}


def views(session: Session, cases: Sequence[CaseRow | Row[Any]]) -> list[dict[str, Any]]:
    """Return cases as `contract.Case` has them, in two queries for all."""
    ids = [c.id for c in cases]
    alerts: dict[str, list[dict[str, Any]]] = {i: [] for i in ids}
    verdicts: dict[str, list[dict[str, Any]]] = {i: [] for i in ids}
    if ids:
        for case_id, body in session.execute(
            select(AlertRow.case_id, AlertRow.body)
            .where(AlertRow.case_id.in_(ids))
            .order_by(AlertRow.received_at, AlertRow.id)
        ):
            alerts[case_id].append(body)
        for told in session.scalars(
            select(VerdictRow)
            .where(VerdictRow.case_id.in_(ids), VerdictRow.undone_at.is_(None))
            .order_by(VerdictRow.at, VerdictRow.id)
        ):
            verdicts[told.case_id].append(verdict_view(told))
    return [_view(c, alerts[c.id], verdicts[c.id]) for c in cases]


def _view(
    case: CaseRow | Row[Any], alerts: list[dict[str, Any]], verdicts: list[dict[str, Any]]
) -> dict[str, Any]:
    body = {
        "id": case.id, "number": case.number, "state": case.state, "source": case.source, "issue": case.issue,
        "street_class": case.street_class, "camera_id": case.camera_id, "camera_name": case.camera_name,
        "place": case.place, "opened_at": plain(case.opened_at), "updated_at": plain(case.updated_at),
        "dwell_s": case.dwell_s, "alerts": alerts, "verdicts": verdicts, "version": case.version,
    }  # fmt: skip
    if case.deadline_at is not None:
        body["deadline_at"] = plain(case.deadline_at)
    return body
