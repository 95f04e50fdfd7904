"""The fleet: enrolment codes, boxes as they shall be and as they are, their configurations, the releases' files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from api.access import Principal, needs, public
from api.audit import record
from api.core import CoreDep
from api.db import lock
from api.errors import ApiError, refusals
from api.fleet import ROLLOUTS, box_row, drift_of, enrol_box, make_code, releases_of, save_config
from api.rollout_join import join
from api.rollout_watch import try_again
from api.tables import Camera, Device
from api.tables_fleet import BoxConfigRow, FleetBox
from contract.base import Slug
from contract.fleet import ConfigEnvelope, Enrolled, Enrolment, ShadowOrder, WantedModel

router = APIRouter(tags=["fleet"])
Manager = Annotated[Principal, needs("device.manage")]
Box = Annotated[Principal, needs("device.ingest")]
Labels = Annotated[
    dict[Slug, Slug], Field(max_length=16, description="Such as `ring: early`, `site: north`.")
]
Tenant = Annotated[str, Field(pattern=r"^/([A-Za-z0-9._-]{1,40}/){0,4}$")]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CodeIn(_In):
    """Which box may enrol."""

    device_id: Slug
    tenant: Tenant = "/"
    labels: Labels = {}
    hours: Annotated[float, Field(gt=0, le=24 * 14, description="How long the code works.")] = 24.0


class Code(BaseModel):
    """A one-time code, shown this once."""

    code: str
    expires_at: datetime


class WishIn(_In):
    """What a box shall have; fields left out stay as they are."""

    labels: Labels | None = None
    model: WantedModel | None = None
    shadow: ShadowOrder | None = None
    config_version: Annotated[
        int | None,
        Field(ge=0, description="0: the box's own file. An older version is sent anew as the next."),
    ] = None
    again: Annotated[
        str | None,
        Field(
            min_length=1, max_length=300,
            description="Let the box try again what it refused or took back, and why: what has changed since.",
        ),
    ] = None  # fmt: skip


class ConfigIn(_In):
    """A configuration for a box."""

    body: Annotated[
        str, Field(min_length=1, max_length=1_000_000, description="YAML: `cameras`, `messages`.")
    ]
    note: Annotated[str, Field(max_length=300)] = ""


class ConfigView(BaseModel):
    """One version."""

    version: int
    sha256: str
    saved_by: str
    saved_at: datetime
    note: str
    body: str | None = None


class BoxView(BaseModel):
    """A box: what it shall have, what it says, and where the two differ."""

    device_id: str
    tenant: str
    online: bool
    last_seen_at: datetime | None
    labels: dict[str, str]
    desired: dict[str, Any]
    reported: dict[str, Any]
    drift: list[str]
    cameras: Annotated[
        int, Field(description="That it looks after; `reported.cameras` of one box names them.")
    ] = 0
    cameras_live: int = 0


@router.post("/fleet/codes", status_code=201, responses=refusals(401, 403, 413, 422))
def new_code(told: CodeIn, who: Manager, core: CoreDep) -> Code:
    """Make a code with which one box enrols itself; a code of that box before it is void."""
    with core.db.write() as session:
        known = session.get(Device, told.device_id)
        tenant = known.tenant if known else told.tenant
        if not tenant.startswith(who.tenant):
            raise ApiError(403, f"tenant: {told.tenant} is not under yours, {who.tenant}")
        ttl = timedelta(hours=told.hours)
        code, ends = make_code(
            session, told.device_id, tenant, told.labels, f"user:{who.name}", core.now(), ttl
        )
    return Code(code=code, expires_at=ends)


@router.post(
    "/enrol",
    status_code=201,
    responses=refusals(403, 413, 422, 503),
    dependencies=[public("a box has no token yet; the one-time code of 160 bits is its credential")],
)
def enrol_self(told: Enrolment, core: CoreDep) -> Enrolled:
    """Enrol a box by its one-time code: its key is believed from now on, and it gets its token."""
    with core.db.write() as session:
        made = enrol_box(session, told, core)
        join(session, made.device_id, core.now())
        return made


def _device(session: Session, device_id: str, who: Principal) -> Device:
    found = session.scalar(select(Device).where(Device.id == device_id, who.sees(Device.tenant)))
    if found is None:
        raise ApiError(404, f"no box {device_id} here")
    return found


def _counted(session: Session, views: list[BoxView]) -> list[BoxView]:
    """Fill in how many cameras each box has, and how many of them were live at its last heartbeat."""
    live = func.sum(case((Camera.health["state"].as_string() == "live", 1), else_=0))
    query = select(Camera.device_id, func.count(), live).group_by(Camera.device_id)
    rows = session.execute(query.where(Camera.device_id.in_([v.device_id for v in views])))
    found = {row[0]: (row[1], int(row[2])) for row in rows}
    for view in views:
        view.cameras, view.cameras_live = found.get(view.device_id, (0, 0))
    return views


def _view(device: Device, row: FleetBox | None, silent: datetime) -> BoxView:
    health = device.health or {}
    desired: dict[str, Any] = {}
    if row is not None:
        desired = {"config_version": row.config_version, "model": row.model, "shadow": row.shadow}
    online = device.last_seen_at is not None and device.last_seen_at >= silent
    return BoxView(
        device_id=device.id, tenant=device.tenant, online=online, last_seen_at=device.last_seen_at,
        labels=dict(row.labels) if row else {}, desired=desired, reported=health, drift=drift_of(row, health),
    )  # fmt: skip


@router.get("/fleet/boxes", responses=refusals(401, 403, 422))
def boxes(
    who: Annotated[Principal, needs("device.manage", "audit.read")], core: CoreDep,
    drifted: Annotated[bool, Query(description="Those alone that differ from what they shall be.")] = False,
    after: Annotated[str, Query(max_length=64, description="Id of the last box of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[BoxView]:  # fmt: skip
    """List boxes by id: desired, reported, drift."""
    silent = core.now() - timedelta(seconds=core.settings.offline_s)
    query = (
        select(Device, FleetBox)
        .join(FleetBox, FleetBox.device_id == Device.id, isouter=True)
        .where(who.sees(Device.tenant), Device.revoked_at.is_(None), Device.id > after)
        .order_by(Device.id)
    )
    found: list[BoxView] = []
    with core.db.read() as session:
        for device, row in session.execute(query if drifted else query.limit(limit)):
            view = _view(device, row, silent)
            if view.drift or not drifted:
                found.append(view)
            if len(found) == limit:
                break
        return _counted(session, found)


@router.get("/fleet/boxes/{device_id}", responses=refusals(401, 403, 404, 422))
def one_box(
    device_id: Slug, who: Annotated[Principal, needs("device.manage", "audit.read")], core: CoreDep
) -> BoxView:
    """Show one box."""
    silent = core.now() - timedelta(seconds=core.settings.offline_s)
    with core.db.read() as session:
        view = _view(_device(session, device_id, who), session.get(FleetBox, device_id), silent)
        mine = select(Camera).where(Camera.device_id == device_id).order_by(Camera.id)
        cameras = [{**(c.health or {}), "camera_id": c.id} for c in session.scalars(mine)]
        view.reported = view.reported | ({"cameras": cameras} if cameras else {})
        return _counted(session, [view])[0]


@router.put("/fleet/boxes/{device_id}", responses=refusals(401, 403, 404, 409, 413, 422))
def wish(device_id: Slug, told: WishIn, who: Manager, core: CoreDep) -> BoxView:
    """Say what a box shall have: labels, model, shadow, an earlier configuration again; or let it try again what it refused."""
    now = core.now()
    silent = now - timedelta(seconds=core.settings.offline_s)
    with core.db.write() as session:
        device = _device(session, device_id, who)
        given = told.model_dump(exclude_unset=True)
        decides = not given.keys().isdisjoint({"model", "shadow"})
        if decides:
            lock(session, [ROLLOUTS])  # a rollout that begins now must not be written over
        row = box_row(session, device_id)
        if decides and row.rollout_id is not None:
            raise ApiError(409, "model: a rollout decides over this box's model; abort it first")
        if "labels" in given:
            row.labels = dict(told.labels or {})
        if "model" in given:
            row.model, row.since = told.model, now
        if "shadow" in given:
            row.shadow = told.shadow.wire() if told.shadow else None
        if told.again is not None:
            try_again(session, row, device.health)
        if told.config_version == 0:
            row.config_version = 0
        elif told.config_version is not None:
            old = session.get(BoxConfigRow, (device_id, told.config_version))
            if old is None:
                raise ApiError(404, f"no version {told.config_version} of this box's configuration")
            save_config(session, device_id, old.body, f"user:{who.name}", f"as version {old.version}", core)
        record(session, f"box:{device_id}", now, f"user:{who.name}", "box.wish", given)
        return _counted(session, [_view(device, row, silent)])[0]


@router.put(
    "/fleet/boxes/{device_id}/config", status_code=201, responses=refusals(401, 403, 404, 413, 422, 503)
)
def put_config(device_id: Slug, told: ConfigIn, who: Manager, core: CoreDep) -> ConfigView:
    """Give a box a configuration. It is signed here, checked there, and taken back by the box when its health falls."""
    with core.db.write() as session:
        _device(session, device_id, who)
        row = save_config(session, device_id, told.body, f"user:{who.name}", told.note, core)
        return _config(row, body=False)


@router.get("/fleet/boxes/{device_id}/configs", responses=refusals(401, 403, 404, 422))
def configs(device_id: Slug, who: Manager, core: CoreDep) -> list[ConfigView]:
    """List a box's configurations, the newest first."""
    with core.db.read() as session:
        _device(session, device_id, who)
        rows = session.scalars(
            select(BoxConfigRow)
            .where(BoxConfigRow.device_id == device_id)
            .order_by(BoxConfigRow.version.desc())
        )
        return [_config(row, body=True) for row in rows]


def _config(row: BoxConfigRow, body: bool) -> ConfigView:
    return ConfigView(
        version=row.version, sha256=row.sha256, saved_by=row.saved_by, saved_at=row.saved_at, note=row.note,
        body=row.body if body else None,
    )  # fmt: skip


@router.get("/devices/self/config/{version}", responses=refusals(401, 403, 404, 422))
def my_config(version: Annotated[int, Path(ge=1)], who: Box, core: CoreDep) -> ConfigEnvelope:
    """Give a box one of its configurations, signed."""
    with core.db.read() as session:
        row = session.get(BoxConfigRow, (who.id, version))
        if row is None:
            raise ApiError(404, f"no version {version} of this box's configuration")
        return ConfigEnvelope(envelope=row.envelope)


@router.get(
    "/releases/{path:path}",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file."},
        206: {"content": {"application/octet-stream": {}}, "description": "The part that `Range` asks for."},
        **refusals(401, 403, 404, 422),
    },
)
def release_file(
    path: Annotated[str, Path(max_length=400)],
    core: CoreDep,
    _who: Annotated[Principal, needs("device.ingest", "device.manage")],
) -> FileResponse:
    """Give a file of the model releases: signed metadata and targets. Boxes trust the signatures, not this server."""
    root = releases_of(core.settings).resolve()
    try:
        file: FilePath = (root / path).resolve()
        fits = file.is_relative_to(root) and file.is_file()
    except (OSError, ValueError):
        fits = False
    if not fits:
        raise ApiError(404, "no such file of a release")
    return FileResponse(file, media_type="application/octet-stream")
