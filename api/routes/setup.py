"""Camera setup: versions of zones and ground plane, and what a draft would have kept of the stored alerts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from shapely.geometry import Polygon, box
from shapely.validation import explain_validity
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.access import Principal, needs
from api.audit import record
from api.core import Core, CoreDep
from api.db import lock, plain
from api.errors import ApiError, refusals
from api.fleet_setup import BoxTakes, box_takes, give_setup
from api.routes.cases import IfMatch
from api.routes.charts import zone_of
from api.tables import AlertRow, Camera, CaseRow, Device
from api.tables_console import CameraSetupRow
from api.weeks import FORBIDS, LAPSED, PERMITS, holds
from contract import IssueClass
from contract.base import Box, Identifier, Slug
from contract.setup import CameraSetup, SetupZone

router = APIRouter(tags=["setup"])
CameraId = Annotated[Slug, Path()]
MAX_TRIED = 500
LEAST_INSIDE = 0.5


class SavedVersion(BaseModel):
    """One version, without its zones."""

    version: int
    saved_by: str
    saved_at: datetime
    note: str
    zones: int


class SetupView(BaseModel):
    """The newest version of a camera's setup; version 0 when nothing was saved yet."""

    camera_id: str
    version: int
    setup: CameraSetup
    versions: list[SavedVersion]
    box: BoxTakes


class SetupIn(BaseModel):
    """A draft to be saved."""

    model_config = ConfigDict(extra="forbid")
    setup: CameraSetup
    note: Annotated[str, Field(max_length=300)] = ""


class TryIn(BaseModel):
    """A draft to be tried."""

    model_config = ConfigDict(extra="forbid")
    setup: CameraSetup
    hours: Annotated[float, Field(gt=0, le=24 * 7)] = 1.0


class Tried(BaseModel):
    """What the draft says of one stored alert."""

    alert_id: Identifier
    issue: IssueClass
    at: datetime
    box: Box
    outcome: Literal["raised", "outside", "permitted", "not_now"]
    zone: str | None


class TryView(BaseModel):
    """What the draft would have kept of the alerts that the box raised with its present setup.

    An object that the present zones never watched is unknown to the centre: only the box could say.
    """

    hours: float
    seen: int
    raised: int
    tried: list[Tried]


def _newest(session: Session, camera_id: str) -> CameraSetupRow | None:
    query = select(CameraSetupRow).where(CameraSetupRow.camera_id == camera_id)
    return session.scalar(query.order_by(CameraSetupRow.version.desc()).limit(1))


def find_camera(session: Session, camera_id: str, who: Principal) -> Camera:
    camera = session.scalar(select(Camera).where(Camera.id == camera_id, who.sees(Camera.tenant)))
    if camera is None:
        raise ApiError(404, f"no camera {camera_id} here; it appears with its box's first heartbeat")
    return camera


def _view(session: Session, camera: Camera) -> SetupView:
    camera_id = camera.id
    rows = session.scalars(
        select(CameraSetupRow)
        .where(CameraSetupRow.camera_id == camera_id)
        .order_by(CameraSetupRow.version.desc())
        .limit(50)
    ).all()
    versions = [
        SavedVersion(
            version=r.version, saved_by=r.saved_by, saved_at=r.saved_at, note=r.note, zones=len(r.body.get("zones", ()))
        )
        for r in rows
    ]  # fmt: skip
    setup = CameraSetup.model_validate(rows[0].body) if rows else CameraSetup()
    return SetupView(
        camera_id=camera_id, version=rows[0].version if rows else 0, setup=setup, versions=versions,
        box=box_takes(session, camera.device_id, camera_id),
    )  # fmt: skip


def _answer(view: SetupView, status: int = 200) -> JSONResponse:
    return JSONResponse(view.model_dump(mode="json"), status, headers={"ETag": f'"{view.version}"'})


@router.get("/cameras/{camera_id}/setup", response_model=SetupView, responses=refusals(401, 403, 404, 422))
def get_setup(
    camera_id: CameraId, who: Annotated[Principal, needs("camera.read")], core: CoreDep
) -> JSONResponse:
    """Return the newest version and the list of all."""
    with core.db.read() as session:
        return _answer(_view(session, find_camera(session, camera_id, who)))


@router.get("/cameras/{camera_id}/setup/{version}", responses=refusals(401, 403, 404, 422))
def get_version(
    camera_id: CameraId, version: Annotated[int, Path(ge=1, le=10**9)], core: CoreDep,
    who: Annotated[Principal, needs("camera.read")],
) -> CameraSetup:  # fmt: skip
    """Return an older version, to look at it or to save it anew."""
    with core.db.read() as session:
        find_camera(session, camera_id, who)
        row = session.get(CameraSetupRow, (camera_id, version))
    if row is None:
        raise ApiError(404, f"camera {camera_id} has no version {version}")
    return CameraSetup.model_validate(row.body)


def check(setup: CameraSetup) -> None:
    """Refuse polygons that cross themselves or hold nothing, naming the zone."""
    for zone in setup.zones:
        shape = Polygon(zone.polygon)
        if not shape.is_valid:
            why = explain_validity(shape).lower()
            raise ApiError(422, f"zones.{zone.id}.polygon: {why}; draw the corners so that no sides cross")
        if shape.area < 1e-6:
            raise ApiError(
                422, f"zones.{zone.id}.polygon: has no area; give corners that enclose some of the picture"
            )


@router.put(
    "/cameras/{camera_id}/setup", response_model=SetupView, status_code=201,
    responses=refusals(401, 403, 404, 412, 413, 422, 503),
)  # fmt: skip
def put_setup(
    camera_id: CameraId, told: SetupIn, core: CoreDep, who: Annotated[Principal, needs("device.manage")],
    if_match: IfMatch = None,
) -> JSONResponse:  # fmt: skip
    """Save a version. The hash of all setups of the box goes into its desired state.

    A box that the centre configures gets it at once, as a new signed version of its configuration.
    """
    check(told.setup)
    now = core.now()
    body = told.setup.wire()
    with core.db.write() as session:
        lock(session, [f"setup:{camera_id}"])
        camera = find_camera(session, camera_id, who)
        last = _newest(session, camera_id)
        version = last.version if last else 0
        if if_match not in {None, "*"} and str(if_match).strip('W/"') != str(version):
            raise ApiError(412, f"camera {camera_id} is at version {version}: somebody saved while you drew")
        digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        session.add(
            CameraSetupRow(
                camera_id=camera_id, version=version + 1, tenant=camera.tenant, body=plain(body), sha256=digest,
                saved_by=who.name, saved_at=now, note=told.note,
            )
        )  # fmt: skip
        session.flush()
        _desire(session, camera.device_id)
        note = f"setup of {camera_id}, version {version + 1}"
        given = give_setup(session, camera.device_id, camera_id, told.setup, f"user:{who.name}", note, core)
        detail = {"camera": camera_id, "version": version + 1, "sha256": digest} | (
            {"config_version": given} if given else {}
        )
        record(session, f"setup:{camera_id}", now, f"user:{who.name}", "setup.saved", detail)
        view = _view(session, camera)
    return _answer(view, 201)


def _desire(session: Session, device_id: str) -> None:
    """Put the hash of the newest setups of all its cameras into a box's desired state."""
    device = session.get(Device, device_id)
    if device is None:
        return
    newest = (
        select(CameraSetupRow.camera_id, func.max(CameraSetupRow.version).label("version"))
        .where(CameraSetupRow.camera_id.in_(select(Camera.id).where(Camera.device_id == device_id)))
        .group_by(CameraSetupRow.camera_id)
        .subquery()
    )
    rows = session.execute(
        select(CameraSetupRow.camera_id, CameraSetupRow.sha256)
        .join(
            newest,
            (newest.c.camera_id == CameraSetupRow.camera_id) & (newest.c.version == CameraSetupRow.version),
        )
        .order_by(CameraSetupRow.camera_id)
    ).all()
    whole = hashlib.sha256("\n".join(f"{c} {h}" for c, h in rows).encode()).hexdigest()
    desired = dict(device.desired or {})
    device.desired = desired | {"version": int(desired.get("version", 0)) + 1, "config_sha256": whole}


@router.post("/cameras/{camera_id}/setup/try", responses=refusals(401, 403, 404, 413, 422))
def try_setup(
    camera_id: CameraId, told: TryIn, core: CoreDep, who: Annotated[Principal, needs("camera.read")]
) -> TryView:
    """Lay a draft over the stored alerts of the last hours: which would it have raised?"""
    check(told.setup)
    with core.db.read() as session:
        find_camera(session, camera_id, who)
        bodies = session.scalars(
            select(AlertRow.body)
            .join(CaseRow, CaseRow.id == AlertRow.case_id)
            .where(
                AlertRow.camera_id == camera_id, who.sees(CaseRow.tenant),
                AlertRow.received_at >= core.now() - timedelta(hours=told.hours),
            )
            .order_by(AlertRow.received_at.desc())
            .limit(MAX_TRIED)
        ).all()  # fmt: skip
    tried = [_try(core, told.setup.zones, body) for body in bodies]
    raised = sum(t.outcome == "raised" for t in tried)
    return TryView(hours=told.hours, seen=len(tried), raised=raised, tried=tried[:100])


def _try(core: Core, zones: Iterable[SetupZone], body: dict[str, Any]) -> Tried:
    issue = IssueClass(body["issue"])
    at = datetime.fromisoformat(body["dwell"]["confirmed_at"])
    outcome, name = judge(zones, issue, body["box"], at.astimezone(zone_of(core)), core)
    return Tried(alert_id=body["id"], issue=issue, at=at, box=body["box"], outcome=outcome, zone=name)


def judge(
    zones: Iterable[SetupZone], issue: IssueClass, corners: Iterable[float], local: datetime, core: Core
) -> tuple[Literal["raised", "outside", "permitted", "not_now"], str | None]:
    """Return what the zones say of a box (shares of the picture) of a class at a local time, and which zone says so.

    As on the box, half of the lower tenth of the box must stand in a zone, and an active permit goes before it.
    """
    works = core.pack.work_calendar().works
    x1, y1, x2, y2 = corners
    foot = box(x1, y2 - 0.1 * (y2 - y1), x2, y2)
    inside = [z for z in zones if Polygon(z.polygon).intersection(foot).area >= LEAST_INSIDE * foot.area]
    forbid = [z for z in inside if z.kind in FORBIDS.get(issue, frozenset())]
    active = [z for z in forbid if holds(z, local, works) is not (issue in LAPSED and z.kind.permits)]
    permits = [z for z in inside if z.kind in PERMITS.get(issue, frozenset()) and holds(z, local, works)]
    if active and permits:
        return "permitted", permits[0].id
    if active:
        return "raised", active[0].id
    return ("not_now", forbid[0].id) if forbid else ("outside", None)
