"""Call-outs: an operator sends a fixed message to the loudspeaker beside a camera, within the city's rules."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from api.audit import record_case
from api.casebook import hold, publish, touch
from api.db import lock
from api.errors import ApiError
from api.geo import Spot, box_around
from api.inspections import order
from api.machine import OPEN_STATES
from api.pack import CalloutPack, CityPack
from api.tables import AlertRow, Callout, Camera, CaseRow, Device
from contract import CalloutOrder, CalloutReport, CaseState, IssueClass, new_id

WAITING, PLAYED, FAILED = "waiting", "played", "failed"
PATIENCE = timedelta(minutes=2)
PLACE_M = 25.0
HOUR = timedelta(hours=1)


def ask(session: Session, case: CaseRow, message: str, by: str, now: datetime, pack: CityPack) -> Callout:
    """Order a call-out.

    Raises `ApiError`: 422 for a message that the pack has not for this class; 409 when the case is over, has no camera,
    the hours are quiet, or the place has been called at often enough.
    """
    rules = pack.callout
    fitting = [n for n, m in rules.messages.items() if not m.issues or IssueClass(case.issue) in m.issues]
    if message not in fitting:
        raise ApiError(422, f"message: choose one of {', '.join(fitting) or 'none'} for {case.issue}")
    if CaseState(case.state) not in OPEN_STATES:
        raise ApiError(409, f"case {case.number} is {case.state}; there is nobody to call", [])
    zone = ZoneInfo(pack.timezone)
    if rules.is_quiet(now.astimezone(zone).time()):
        begin, end = (t.strftime("%H:%M") for t in rules.quiet)
        raise ApiError(409, f"quiet hours: no call-out from {begin} to {end}", [])
    alert = session.scalar(
        select(AlertRow).where(AlertRow.case_id == case.id).order_by(AlertRow.received_at.desc()).limit(1)
    )
    camera = session.get(Camera, alert.camera_id) if alert else None
    device = session.get(Device, camera.device_id) if camera else None
    if alert is None or camera is None or device is None or device.revoked_at is not None:
        raise ApiError(409, f"case {case.number} has no camera with a loudspeaker", [])
    lock(session, [f"callout:{camera.id}"])
    _cool(session, case, camera.id, now, rules.per_hour)
    row = Callout(
        id=new_id(), case_id=case.id, camera_id=camera.id, device_id=device.id, tenant=case.tenant, lon=case.lon,
        lat=case.lat, message=message, asked_by=by, asked_at=now, expires_at=_until(now, rules, zone), state=WAITING, reason="",
    )  # fmt: skip
    session.add(row)
    touch(case, now)
    record_case(session, case, now, f"user:{by}", "callout.asked", {"callout": row.id, "message": message})
    publish(session, case, "callout.asked", now)
    session.flush()
    return row


def _until(now: datetime, rules: CalloutPack, zone: ZoneInfo) -> datetime:
    """How long the box may still speak: not into the quiet hours."""
    end = now + PATIENCE
    while end > now and rules.is_quiet(end.astimezone(zone).time()):
        end -= timedelta(seconds=1)
    return end


def _cool(session: Session, case: CaseRow, camera_id: str, now: datetime, per_hour: int) -> None:
    """Refuse when the place, or the loudspeaker, has spoken often enough in the last hour."""
    west, south, east, north = box_around(Spot(case.lon, case.lat, 1, 1), PLACE_M)
    near = and_(Callout.lat.between(south, north), Callout.lon.between(west, east))
    last = session.scalars(
        select(Callout.asked_at)
        .where(
            Callout.tenant == case.tenant, Callout.asked_at > now - HOUR, Callout.state != FAILED,
            or_(Callout.camera_id == camera_id, near),
        )
        .order_by(Callout.asked_at.desc())
        .limit(per_hour)
    ).all()  # fmt: skip
    if len(last) >= per_hour:
        wait = (last[-1] + HOUR - now).total_seconds()
        raise ApiError(
            409, f"{per_hour} call-outs an hour at one place; the next one in {wait / 60:.0f} min", []
        )


def orders_of(session: Session, device_id: str, now: datetime) -> list[CalloutOrder]:
    """Return the call-outs that a box should make now."""
    rows = session.scalars(
        select(Callout)
        .where(Callout.device_id == device_id, Callout.state == WAITING, Callout.expires_at > now)
        .order_by(Callout.asked_at)
        .limit(16)
    )
    return [
        CalloutOrder(id=r.id, camera_id=r.camera_id, message=r.message, expires_at=r.expires_at) for r in rows
    ]


def take(
    session: Session, row: Callout, case: CaseRow, told: CalloutReport, now: datetime, pack: CityPack
) -> None:
    """Take a box's report; what was played is looked at again after some minutes."""
    if row.state != WAITING:
        return
    row.state, row.reason, row.done_at = (PLAYED if told.played else FAILED), told.reason, now
    touch(case, now)
    detail = {"callout": row.id, "message": row.message, "reason": told.reason}
    record_case(session, case, now, f"device:{told.device_id}", f"callout.{row.state}", detail)
    publish(session, case, f"callout.{row.state}", now)
    if told.played:
        later = now + timedelta(minutes=pack.callout.recheck_min)
        order(session, case, "callout", "machine:callout", now, pack, later)


def sweep(session: Session, now: datetime) -> int:
    """End the call-outs that no box took in time."""
    late = select(Callout).where(Callout.state == WAITING, Callout.expires_at < now - PATIENCE)
    found = session.execute(late.with_only_columns(Callout.id, Callout.case_id).limit(200)).all()
    hold(session, (row.case_id for row in found))
    # Asked again once the cases are held: a box's report may have come first.
    rows = session.scalars(late.where(Callout.id.in_([row.id for row in found]))).all()
    for row in rows:
        row.state, row.reason, row.done_at = FAILED, "the box did not answer in time", now
        case = session.get_one(CaseRow, row.case_id)
        record_case(
            session, case, now, "machine:callout", "callout.failed", {"callout": row.id, "reason": row.reason}
        )
    return len(rows)
