"""Questions about a camera that only its box can answer: asked by engineers, told with the heartbeat, reported back."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.db import lock, plain
from api.errors import ApiError
from api.tables import Camera, Device
from api.tables_console import CameraCheck
from contract import CheckOrder, CheckReport, new_id

# A box beats every half minute, and a probe takes some seconds.
PATIENCE = timedelta(minutes=3)
MAX_TOLD, KEPT = 8, 12


def ask(session: Session, camera: Camera, order: CheckOrder, by: str, now: datetime) -> CameraCheck:
    """Write a question down; the camera's oldest ones are forgotten.

    Raises `ApiError` 409 when the box is gone, or too many questions wait for it.
    """
    device = session.get(Device, camera.device_id)
    if device is None or device.revoked_at is not None:
        raise ApiError(409, f"camera {camera.id} has no box that could be asked", [])
    lock(session, [f"checks:{device.id}"])
    open_ = select(CameraCheck.id).where(
        CameraCheck.device_id == device.id, CameraCheck.done_at.is_(None), CameraCheck.expires_at > now
    )
    if len(session.scalars(open_.limit(MAX_TOLD)).all()) >= MAX_TOLD:
        raise ApiError(
            409, f"{MAX_TOLD} questions wait for box {device.id} already; ask when it has answered", []
        )
    kept = (
        select(CameraCheck.id)
        .where(CameraCheck.camera_id == camera.id)
        .order_by(CameraCheck.asked_at.desc())
        .limit(KEPT - 1)
    )
    session.execute(
        delete(CameraCheck).where(
            CameraCheck.camera_id == camera.id, CameraCheck.id.not_in(kept.scalar_subquery())
        )
    )
    row = CameraCheck(
        id=order.id, camera_id=camera.id, device_id=device.id, tenant=camera.tenant, kind=order.kind,
        question=plain(order.wire()), asked_by=by, asked_at=now, expires_at=order.expires_at,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def new_order(camera_id: str, now: datetime, **question: object) -> CheckOrder:
    """Return an order for a question that is asked now."""
    told = {"id": new_id(), "camera_id": camera_id, "expires_at": now + PATIENCE}
    return CheckOrder.model_validate(told | question)


def orders_of(session: Session, device_id: str, now: datetime) -> list[CheckOrder]:
    """Return the questions that a box should answer now."""
    rows = session.scalars(
        select(CameraCheck)
        .where(
            CameraCheck.device_id == device_id, CameraCheck.done_at.is_(None), CameraCheck.expires_at > now,
        )
        .order_by(CameraCheck.asked_at)
        .limit(MAX_TOLD)
    )  # fmt: skip
    return [CheckOrder.model_validate(r.question) for r in rows]


def take(row: CameraCheck, told: CheckReport, now: datetime) -> None:
    """Take a box's answer; the first one counts."""
    if row.done_at is None:
        row.report, row.done_at = plain(told.wire()), now
