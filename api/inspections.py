"""Orders to look again: when the unit says done, before the deadline, after a call-out, or when a person asks."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from api.audit import record_case
from api.casebook import hold
from api.db import lock
from api.machine import S
from api.pack import CityPack
from api.tables import AlertRow, Camera, CaseRow, Device, Inspection
from contract import InspectionOrder, new_id

MAX_ORDERS = 64
WAITING, DONE, EXPIRED = "waiting", "done", "expired"
# At work, with a clock that runs: a look before the deadline can still help.
_AT_WORK = (S.DISPATCHED, S.HANDLING, S.EXTENDED, S.REWORK)
# The box reports an order that ran out by itself; after this the centre does not wait for it.
GRACE = timedelta(minutes=2)

# Alerts with the box that looks after their camera now, where it is one of ours.
_LOOKERS = (
    select(AlertRow, Device.id)
    .outerjoin(Camera, Camera.id == AlertRow.camera_id)
    .join(Device, Device.id == func.coalesce(Camera.device_id, AlertRow.device_id))
    .where(Device.revoked_at.is_(None))
)


def order(
    session: Session, case: CaseRow, why: str, by: str, now: datetime, pack: CityPack,
    not_before: datetime | None = None,
) -> Inspection | None:  # fmt: skip
    """Order a look at the place of the case's last alert whose box is there; the order that waits already stays.

    A look that must not come before a moment (`not_before`) is no other look's, which may come too soon.
    Returns None where there is nothing to look with: no alert, or boxes that are gone.
    """
    waits = select(Inspection).where(Inspection.case_id == case.id, Inspection.state == WAITING)
    if not_before is not None:
        waits = waits.where(Inspection.not_before >= not_before)
    waiting = session.scalar(waits.order_by(Inspection.not_before).limit(1))
    if waiting is not None:
        return waiting
    found = session.execute(
        _LOOKERS.where(AlertRow.case_id == case.id).order_by(AlertRow.received_at.desc()).limit(1)
    ).first()
    if found is None:
        return None
    alert, device_id = found
    told, begin = pack.inspection, not_before or now
    made = InspectionOrder.model_validate(
        {
            "id": new_id(), "alert_id": alert.id, "camera_id": alert.camera_id, "issue": alert.issue,
            "box": alert.body["box"], "samples": told.looks, "span_s": told.span_s, "not_before": begin,
            "expires_at": begin + timedelta(minutes=told.patience_min),
        }
    )  # fmt: skip
    row = Inspection(
        id=made.id, case_id=case.id, alert_id=alert.id, camera_id=alert.camera_id, device_id=device_id,
        tenant=case.tenant, why=why, asked_by=by, asked_at=now, not_before=begin, expires_at=made.expires_at,
        order=made.wire(), state=WAITING, sampled=False,
    )  # fmt: skip
    session.add(row)
    session.flush()
    record_case(
        session,
        case,
        now,
        by,
        "inspection.asked",
        {"inspection": row.id, "why": why, "camera": row.camera_id},
    )
    return row


def orders_of(session: Session, device_id: str, now: datetime) -> list[InspectionOrder]:
    """Return the orders that a box should work off now."""
    rows = session.scalars(
        select(Inspection)
        .where(
            Inspection.device_id == device_id, Inspection.state == WAITING,
            Inspection.not_before <= now + timedelta(minutes=1), Inspection.expires_at > now,
        )
        .order_by(Inspection.asked_at)
        .limit(MAX_ORDERS)
    )  # fmt: skip
    return [InspectionOrder.model_validate(r.order) for r in rows]


def sweep(session: Session, now: datetime, pack: CityPack, most: int = 200) -> int:
    """Order looks at cases whose deadline is near, and end orders that nobody answered; return how many of both."""
    lock(session, ["inspections"])
    done, lead = 0, pack.inspection.before_deadline_min
    looked = select(Inspection.case_id).where(
        Inspection.case_id == CaseRow.id,
        or_(
            Inspection.state == WAITING,
            and_(Inspection.why == "deadline", Inspection.asked_at >= CaseRow.filed_at),
        ),
    )
    # What `order` would leave as it is stays out: it would come first again at every turn.
    near = select(CaseRow).where(
        CaseRow.state.in_([s.value for s in _AT_WORK]), CaseRow.deadline_at > now,
        CaseRow.deadline_at <= now + timedelta(minutes=lead), ~looked.exists(),
        _LOOKERS.where(AlertRow.case_id == CaseRow.id).correlate(CaseRow).exists(),
    ).order_by(CaseRow.deadline_at)  # fmt: skip
    late = select(Inspection).where(Inspection.state == WAITING, Inspection.expires_at < now - GRACE)
    due = session.scalars(near.with_only_columns(CaseRow.id).limit(most)).all() if lead > 0 else []
    over = session.execute(late.with_only_columns(Inspection.id, Inspection.case_id).limit(most)).all()
    hold(session, [*due, *(row.case_id for row in over)])
    # Asked again once the cases are held: a person may have closed one, or a box reported.
    cases = session.scalars(near.where(CaseRow.id.in_(due))).all()
    rows = session.scalars(late.where(Inspection.id.in_([row.id for row in over]))).all()
    for case in cases:
        made = order(session, case, "deadline", "machine:deadline", now, pack)
        done += made is not None
    for row in rows:
        row.state, row.result, row.advice, row.done_at = EXPIRED, "inconclusive", "look", now
        case = session.get_one(CaseRow, row.case_id)
        record_case(session, case, now, "machine:inspection", "inspection.expired", {"inspection": row.id})
        done += 1
    return done
