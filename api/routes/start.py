"""What an empty centre needs next."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from api.access import Principal, needs
from api.core import CoreDep
from api.errors import refusals
from api.tables import Area, Base, Camera, CaseRow, Device, User, VerdictRow
from api.tables_console import CameraSetupRow

router = APIRouter(tags=["operation"])


class StartView(BaseModel):
    """How far the centre is set up: counts, in the order in which a newcomer fills them."""

    boxes: int
    boxes_alive: Annotated[int, Field(description="Boxes that were heard lately.")]
    cameras: int
    cameras_live: int
    cameras_drawn: Annotated[int, Field(description="Cameras with a saved version of their zones.")]
    cases: int
    verdicts: int
    reviewers: int
    areas: int
    timezone: str


def _count(session: Session, table: type[Base], *where: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(table).where(*where)) or 0


@router.get("/start", responses=refusals(401, 403))
def start(who: Annotated[Principal, needs("case.read")], core: CoreDep) -> StartView:
    """Say what is there and what is missing."""
    silent = core.now() - timedelta(seconds=core.settings.offline_s)
    with core.db.read() as session:
        alive: Any = select(Device.id).where(Device.last_seen_at >= silent)
        healths = session.scalars(
            select(Camera.health).where(who.sees(Camera.tenant), Camera.device_id.in_(alive)).limit(5000)
        ).all()
        drawn = session.scalar(
            select(func.count(func.distinct(CameraSetupRow.camera_id))).where(who.sees(CameraSetupRow.tenant))
        )
        verdicts = session.scalar(
            select(func.count())
            .select_from(VerdictRow)
            .join(CaseRow, CaseRow.id == VerdictRow.case_id)
            .where(who.sees(CaseRow.tenant))
        )
        return StartView(
            boxes=_count(session, Device, who.sees(Device.tenant), Device.revoked_at.is_(None)),
            boxes_alive=_count(session, Device, who.sees(Device.tenant), Device.last_seen_at >= silent),
            cameras=_count(session, Camera, who.sees(Camera.tenant)),
            cameras_live=sum(bool(h) and h["state"] == "live" for h in healths if h),
            cameras_drawn=drawn or 0,
            cases=_count(session, CaseRow, who.sees(CaseRow.tenant)),
            verdicts=verdicts or 0,
            reviewers=_count(
                session, User, who.sees(User.tenant), User.role == "reviewer", User.active.is_(True)
            ),
            areas=_count(session, Area, who.sees(Area.tenant)),
            timezone=core.pack.timezone,
        )
