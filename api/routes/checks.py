"""Probe a camera, see it now, try a draft of its zones on its box's record: the questions and their answers."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import checks
from api.access import Principal, needs
from api.audit import record
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.routes.setup import CameraId, check, find_camera
from api.tables_console import CameraCheck
from contract import CheckReport, TrialCase
from contract.base import Identifier
from contract.orders import CheckQuestion

router = APIRouter(tags=["setup"])
CheckId = Annotated[Identifier, Path()]
JPEG = b"\xff\xd8\xff"


class CheckIn(CheckQuestion):
    """A question to the camera's box."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "probe"}]})


class CheckView(BaseModel):
    """A question and, once its box has answered, the answer."""

    id: Identifier
    camera_id: str
    kind: str
    asked_by: str
    asked_at: datetime
    expires_at: datetime
    state: Literal["waiting", "done", "expired"]
    ok: bool | None = None
    reason: str = ""
    answered_at: datetime | None = None
    facts: list[tuple[str, str]] = []
    has_picture: bool = False
    seen_from: datetime | None = None
    looks: int = 0
    raised: int = 0
    cases: list[TrialCase] = []


def _view(row: CameraCheck, now: datetime) -> CheckView:
    told: dict[str, Any] = dict(row.report or {})
    state = "done" if row.done_at else "expired" if row.expires_at <= now else "waiting"
    names = ("ok", "reason", "facts", "seen_from", "looks", "raised", "cases")
    own = ("id", "camera_id", "kind", "asked_by", "asked_at", "expires_at")
    return CheckView.model_validate(
        {n: getattr(row, n) for n in own}
        | {n: told[n] for n in names if n in told}
        | {"state": state, "answered_at": told.get("at"), "has_picture": bool(told.get("picture"))}
    )


@router.post("/cameras/{camera_id}/checks", status_code=202, responses=refusals(401, 403, 404, 409, 413, 422))
def ask_check(
    camera_id: CameraId, told: CheckIn, core: CoreDep, who: Annotated[Principal, needs("device.manage")]
) -> CheckView:
    """Ask the camera's box. It answers after its next heartbeat; read the question again until it is `done`."""
    if told.setup is not None:
        check(told.setup)
    now = core.now()
    setup = told.setup.wire() if told.setup else None
    order = checks.new_order(camera_id, now, kind=told.kind, setup=setup, hours=told.hours)
    with core.db.write() as session:
        row = checks.ask(session, find_camera(session, camera_id, who), order, who.name, now)
        detail = {"camera": camera_id, "check": row.id, "kind": row.kind}
        record(session, f"setup:{camera_id}", now, f"user:{who.name}", "camera.checked", detail)
        return _view(row, now)


@router.get("/cameras/{camera_id}/checks", responses=refusals(401, 403, 404, 422))
def list_checks(
    camera_id: CameraId, who: Annotated[Principal, needs("device.manage")], core: CoreDep
) -> list[CheckView]:
    """List the last questions, the newest first."""
    now = core.now()
    with core.db.read() as session:
        find_camera(session, camera_id, who)
        query = select(CameraCheck).where(CameraCheck.camera_id == camera_id, who.sees(CameraCheck.tenant))
        rows = session.scalars(query.order_by(CameraCheck.asked_at.desc()).limit(checks.KEPT))
        return [_view(r, now) for r in rows]


@router.get("/cameras/{camera_id}/checks/{check_id}", responses=refusals(401, 403, 404, 422))
def get_check(
    camera_id: CameraId, check_id: CheckId, who: Annotated[Principal, needs("device.manage")], core: CoreDep
) -> CheckView:
    """Return one question with its answer."""
    with core.db.read() as session:
        return _view(_own(session, check_id, camera_id, who), core.now())


@router.get(
    "/cameras/{camera_id}/checks/{check_id}/picture", response_class=Response, responses=refusals(401, 403, 404, 422)
)  # fmt: skip
def get_picture(
    camera_id: CameraId, check_id: CheckId, who: Annotated[Principal, needs("device.manage")], core: CoreDep
) -> Response:
    """Return a snapshot's picture (JPEG)."""
    with core.db.read() as session:
        row = _own(session, check_id, camera_id, who)
        told = str((row.report or {}).get("picture") or "")
    if not told:
        raise ApiError(404, "this question has no picture")
    headers = {"Cache-Control": "private, max-age=600", "X-Content-Type-Options": "nosniff"}
    return Response(base64.b64decode(told), media_type="image/jpeg", headers=headers)


def _own(session: Session, check_id: str, camera_id: str, who: Principal) -> CameraCheck:
    row = session.scalar(
        select(CameraCheck).where(
            CameraCheck.id == check_id, CameraCheck.camera_id == camera_id, who.sees(CameraCheck.tenant)
        )
    )
    if row is None:
        raise ApiError(404, f"camera {camera_id} has no such question")
    return row


@router.post("/checks/{order_id}/report", status_code=204, responses=refusals(401, 403, 404, 413, 422))
def report_check(
    order_id: CheckId, told: CheckReport, core: CoreDep, who: Annotated[Principal, needs("device.ingest")]
) -> None:
    """Take a box's answer. Sending it twice changes nothing."""
    if told.order_id != order_id or told.device_id != who.id:
        raise ApiError(422, "order_id, device_id: must be those of the address and of the token")
    if told.picture:
        try:
            data = base64.b64decode(told.picture, validate=True)
        except binascii.Error:
            raise ApiError(422, "picture: is not base64") from None
        if not data.startswith(JPEG):
            raise ApiError(422, "picture: is no JPEG")
    with core.db.write() as session:
        row = session.get(CameraCheck, order_id)
        if row is None or row.device_id != who.id:
            raise ApiError(404, "no such order for this box")
        checks.take(row, told, core.now())
