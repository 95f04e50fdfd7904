"""Credentials: people, boxes, clients. A secret is shown once, in the answer that makes it."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.access import Principal, needs
from api.audit import record
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.fleet import void_codes
from api.security import add_device, add_user, digest
from api.tables import ApiKey, Device, LoginSession, User
from api.tables_fleet import EnrolmentCode
from contract import new_id
from contract.base import Slug

router = APIRouter(tags=["credentials"])
Tenant = Annotated[
    str, Field(pattern=r"^/([A-Za-z0-9._-]{1,40}/){0,4}$", description="Path such as /city/north/.")
]
Role = Literal["reviewer", "supervisor", "dispatcher", "handler", "auditor", "admin"]
Kind = Literal["export", "city", "citizen", "statistics", "monitoring"]
Users = Annotated[Principal, needs("user.manage")]
Devices = Annotated[Principal, needs("device.manage")]
Keys = Annotated[Principal, needs("key.manage")]


class UserIn(BaseModel):
    """A new person."""

    model_config = ConfigDict(extra="forbid")
    username: Annotated[str, Field(pattern=r"^[A-Za-z0-9._@-]{1,120}$")]
    role: Role = "reviewer"
    tenant: Tenant = "/"


class DeviceIn(BaseModel):
    """A new box, or a known one whose token is renewed."""

    model_config = ConfigDict(extra="forbid")
    id: Slug
    tenant: Tenant = "/"


class KeyIn(BaseModel):
    """A new client."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=120)]
    kind: Kind
    tenant: Tenant = "/"


class Secret(BaseModel):
    """A name and its secret, shown this once."""

    id: str
    secret: str


def _under(who: Principal, tenant: str) -> str:
    if not tenant.startswith(who.tenant):
        raise ApiError(403, f"tenant: {tenant} is not under yours, {who.tenant}")
    return tenant


def _revoke_user(session: Session, user: User) -> None:
    user.active = False
    session.execute(delete(LoginSession).where(LoginSession.user_id == user.id))


@router.post("/users", status_code=201, responses=refusals(401, 403, 409, 413, 422))
def new_user(told: UserIn, who: Users, core: CoreDep) -> Secret:
    """Add a person; the answer holds the first password."""
    now = core.now()
    try:
        with core.db.write() as session:
            secret = add_user(session, told.username, told.role, now, _under(who, told.tenant))
            record(session, "credentials", now, f"user:{who.name}", "user.added", told.model_dump())
    except IntegrityError as exc:
        raise ApiError(409, f"username: {told.username} is taken") from exc
    return Secret(id=told.username, secret=secret)


@router.delete("/users/{username}", status_code=204, responses=refusals(401, 403, 404, 422))
def remove_user(username: Annotated[str, Path(max_length=120)], who: Users, core: CoreDep) -> None:
    """Shut a person out and end all sessions; what they did stays in the audit."""
    with core.db.write() as session:
        user = session.scalar(select(User).where(User.username == username, who.sees(User.tenant)))
        if user is None or user.username == who.name:
            raise ApiError(404, f"no other user {username} here")
        _revoke_user(session, user)
        record(session, "credentials", core.now(), f"user:{who.name}", "user.removed", {"username": username})


@router.post("/devices", status_code=201, responses=refusals(401, 403, 413, 422))
def new_device(told: DeviceIn, who: Devices, core: CoreDep) -> Secret:
    """Add a box or renew its token; the old token works for another day."""
    now = core.now()
    with core.db.write() as session:
        known = session.get(Device, told.id)
        _under(who, known.tenant if known else told.tenant)
        secret = add_device(session, told.id, now, told.tenant)
        record(session, "credentials", now, f"user:{who.name}", "device.token", told.model_dump())
    return Secret(id=told.id, secret=secret)


@router.delete("/devices/{device_id}", status_code=204, responses=refusals(401, 403, 404, 422))
def revoke_device(device_id: Slug, who: Devices, core: CoreDep) -> None:
    """Make a box's tokens and its unused enrolment codes worthless at once."""
    with core.db.write() as session:
        # First the codes: a box that enrols at this moment holds its code, and is there when that is let go.
        codes = void_codes(session, device_id, who.sees(EnrolmentCode.tenant))
        device = session.scalar(select(Device).where(Device.id == device_id, who.sees(Device.tenant)))
        if device is not None:
            device.revoked_at = core.now()
        elif not codes:
            raise ApiError(404, f"no box {device_id} here")
        record(session, "credentials", core.now(), f"user:{who.name}", "device.revoked", {"id": device_id})


@router.post("/keys", status_code=201, responses=refusals(401, 403, 409, 413, 422))
def new_key(told: KeyIn, who: Keys, core: CoreDep) -> Secret:
    """Add a client of one of five kinds; the answer holds its key."""
    now, key_id, secret = core.now(), new_id(), f"cw_key_{secrets.token_urlsafe(32)}"
    try:
        with core.db.write() as session:
            session.add(
                ApiKey(
                    id=key_id, name=told.name, kind=told.kind, tenant=_under(who, told.tenant),
                    token_hash=digest(secret), created_at=now,
                )
            )  # fmt: skip
            record(session, "credentials", now, f"user:{who.name}", "key.added", told.model_dump())
    except IntegrityError as exc:
        raise ApiError(409, f"name: {told.name} is taken") from exc
    return Secret(id=key_id, secret=secret)


@router.delete("/keys/{key_id}", status_code=204, responses=refusals(401, 403, 404, 422))
def revoke_key(key_id: Annotated[str, Path(max_length=36)], who: Keys, core: CoreDep) -> None:
    """Make a client's key worthless at once."""
    with core.db.write() as session:
        key = session.scalar(select(ApiKey).where(ApiKey.id == key_id, who.sees(ApiKey.tenant)))
        if key is None:
            raise ApiError(404, f"no key {key_id} here")
        key.revoked_at = core.now()
        record(session, "credentials", core.now(), f"user:{who.name}", "key.revoked", {"id": key_id})
