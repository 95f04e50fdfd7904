"""Sign-in and sign-out."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy import delete, select

from api.access import COOKIE, ROLES, Principal, needs, public, refuse_foreign
from api.audit import record
from api.core import Core, CoreDep
from api.errors import ApiError, refusals
from api.security import LockedError, begin_try, check_password, digest, end_try, open_session
from api.tables import LoginSession, User
from contract.datum import Datum

router = APIRouter(tags=["people"])
ALL = sorted(frozenset().union(*ROLES.values()))


class Credentials(BaseModel):
    """A user name and a password."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"username": "admin", "password": "as printed at first start"}]},
    )
    username: Annotated[str, Field(min_length=1, max_length=120)]
    password: Annotated[SecretStr, Field(max_length=1000)]


class SessionView(BaseModel):
    """Who is signed in."""

    username: str
    role: str
    tenant: str
    permissions: list[str]
    timezone: Annotated[str, Field(description="IANA zone in which the city's times are shown.")]
    undo_s: Annotated[float, Field(description="How long a verdict can be taken back.")]
    lease_s: Annotated[float, Field(description="How long a leased case is one's own.")]
    map_tiles: Annotated[str | None, Field(description="Address of map tiles with {z}, {x} and {y}.")] = None
    map_datum: Annotated[Datum, Field(description="The datum in which the tiles are drawn.")] = "wgs84"
    expires_at: datetime | None = None


def _view(core: Core, name: str, role: str, tenant: str, permissions: frozenset[str]) -> SessionView:
    settings = core.settings
    return SessionView(
        username=name, role=role, tenant=tenant, permissions=sorted(permissions),
        timezone=core.pack.timezone, undo_s=settings.undo_s, lease_s=settings.lease_s,
        map_tiles=settings.map_tiles, map_datum=settings.map_datum,
    )  # fmt: skip


@router.post(
    "/session", responses=refusals(401, 403, 413, 422, 429), dependencies=[public("this is the way in")]
)
def sign_in(told: Credentials, request: Request, response: Response, core: CoreDep) -> SessionView:
    """Sign in; the answer sets an HttpOnly, SameSite=Strict cookie. Five wrong passwords lock the name for a while."""
    refuse_foreign(request)
    now = core.now()
    address = request.client.host if request.client else ""
    try:
        with core.db.write() as session:
            before = begin_try(session, told.username, address, now)
    except LockedError as exc:
        core.metrics.logins.labels("locked").inc()
        raise ApiError(429, str(exc), headers={"Retry-After": str(math.ceil(exc.retry_s))}) from exc
    with core.db.read() as session:
        user = session.scalar(select(User).where(User.username == told.username, User.active))
    if (
        not check_password(user.password_hash if user else None, told.password.get_secret_value())
        or user is None
    ):
        core.metrics.logins.labels("failed").inc()
        raise ApiError(401, "user name or password is wrong")
    with core.db.write() as session:
        end_try(session, told.username, address, now, before)
        login = open_session(session, user, now, core.settings.session_hours)
        record(session, "logins", now, f"user:{user.username}", "login")
    core.metrics.logins.labels("ok").inc()
    response.set_cookie(
        COOKIE, login.token, max_age=int(core.settings.session_hours * 3600), httponly=True, samesite="strict",
        secure=core.settings.secure_cookie == "always" or request.url.scheme == "https", path="/",
    )  # fmt: skip
    view = _view(core, user.username, user.role, user.tenant, ROLES[user.role])
    return view.model_copy(update={"expires_at": login.expires_at})


@router.get("/session", responses=refusals(401, 403))
def who_am_i(who: Annotated[Principal, needs(*ALL)], core: CoreDep) -> SessionView:
    """Say who is signed in."""
    return _view(core, who.name, who.role, who.tenant, who.permissions)


@router.delete(
    "/session", status_code=204, responses=refusals(403), dependencies=[public("ends only one's own")]
)
def sign_out(request: Request, response: Response, core: CoreDep) -> None:
    """Sign out; the cookie is worthless from then on."""
    refuse_foreign(request)
    cookie = request.cookies.get(COOKIE)
    if cookie:
        with core.db.write() as session:
            session.execute(delete(LoginSession).where(LoginSession.token_hash == digest(cookie)))
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
