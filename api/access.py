"""Who asks, and what they may do. Every route names its permission; a route without one does not start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import BindParameter, ColumnElement, bindparam, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute

from api.core import Core, CoreDep
from api.errors import ApiError
from api.security import digest
from api.tables import ApiKey, Device, LoginSession, User

COOKIE = "curbwatch_session"
_REVIEW = {"case.read", "case.review", "evidence.read", "camera.read", "geo.read"}
_SUPERVISE = _REVIEW | {
    "case.supervise",
    "case.edit",
    "stats.read",
    "export.read",
    "evidence.unseal",
    "callout",
    "threshold.write",
    "report.write",
}
ROLES: dict[str, frozenset[str]] = {
    "reviewer": frozenset(_REVIEW),
    "supervisor": frozenset(_SUPERVISE | {"audit.read"}),
    "dispatcher": frozenset(
        {"case.read", "evidence.read", "camera.read", "geo.read", "case.dispatch", "stats.read", "callout"}
    ),
    "handler": frozenset({"case.read", "evidence.read", "geo.read", "case.handle"}),
    "auditor": frozenset({"case.read", "camera.read", "geo.read", "stats.read", "audit.read"}),
    "admin": frozenset(
        _SUPERVISE
        | {"case.dispatch", "case.handle", "audit.read", "user.manage", "device.manage", "key.manage"}
        | {"hook.manage", "geo.write", "metrics.read"}
    ),
}
KEYS: dict[str, frozenset[str]] = {
    "export": frozenset({"export.read", "case.read", "evidence.read"}),
    "city": frozenset({"case.read", "case.dispatch", "case.handle", "evidence.read", "report.write"}),
    "citizen": frozenset({"report.write"}),
    "statistics": frozenset({"stats.read"}),
    "monitoring": frozenset({"metrics.read"}),
}
DEVICE = frozenset({"device.ingest"})


@dataclass(frozen=True)
class Principal:
    """Who asks: a person, a box or a client, with permissions and a tenant."""

    kind: str
    id: str
    name: str
    role: str
    tenant: str
    permissions: frozenset[str]

    def sees(self, column: InstrumentedAttribute[str]) -> ColumnElement[bool]:
        """Return the condition that a row's tenant path lies at or under ours."""
        if self.tenant == "/":
            return true()
        return column.startswith(self.tenant, autoescape=True)


# Built once: every request asks one of these.
_HASH: BindParameter[str] = bindparam("hashed")
_DEVICE = select(
    Device.id, Device.tenant, Device.token_hash, Device.old_valid_until, Device.revoked_at
).where(or_(Device.token_hash == _HASH, Device.old_token_hash == _HASH))
_KEY = select(ApiKey.id, ApiKey.name, ApiKey.kind, ApiKey.tenant, ApiKey.revoked_at).where(
    ApiKey.token_hash == _HASH
)
_PERSON = (
    select(User.id, User.username, User.role, User.tenant, User.active, LoginSession.expires_at)
    .join(LoginSession, LoginSession.user_id == User.id)
    .where(LoginSession.token_hash == _HASH)
)


def _from_token(core: Core, token: str) -> Principal | None:
    values = {"hashed": digest(token)}
    device = core.db.first(_DEVICE, values)
    if device:
        old = device.token_hash != values["hashed"]
        expired = old and (device.old_valid_until is None or device.old_valid_until <= core.now())
        if device.revoked_at is not None or expired:
            return None
        return Principal("device", device.id, device.id, "device", device.tenant, DEVICE)
    key = core.db.first(_KEY, values)
    if key and key.revoked_at is None:
        return Principal("key", key.id, key.name, key.kind, key.tenant, KEYS[key.kind])
    return None


def _from_cookie(core: Core, cookie: str) -> Principal | None:
    user = core.db.first(_PERSON, {"hashed": digest(cookie)})
    if not user or user.expires_at <= core.now() or not user.active:
        return None
    return Principal("user", user.id, user.username, user.role, user.tenant, ROLES[user.role])


def same_origin(request: Request) -> bool:
    """True unless a browser says that another site sent the request (Fetch Metadata, then Origin)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def refuse_foreign(request: Request) -> None:
    """Refuse a change that another site asks for. The cookie is SameSite=Strict besides."""
    if not same_origin(request):
        raise ApiError(403, "the request came from another site")


async def identify(request: Request, core: CoreDep) -> Principal:
    """Return who asks, by bearer token or by session cookie."""
    return await run_in_threadpool(identify_by, request, core, None)


def identify_by(request: Request, core: Core, api_key: str | None) -> Principal:
    """Return who asks; a key that a protocol carries in its own place counts as a bearer token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if api_key is not None:
        found = _from_token(core, api_key)
    elif scheme.lower() == "bearer" and token:
        found = _from_token(core, token.strip())
    else:
        cookie = request.cookies.get(COOKIE)
        found = _from_cookie(core, cookie) if cookie else None
        if found and request.method not in {"GET", "HEAD", "OPTIONS"}:
            refuse_foreign(request)
    if found is None:
        raise ApiError(401, "sign in first, or send a valid token", headers={"WWW-Authenticate": "Bearer"})
    return found


def needs(*permissions: str, person: bool = False) -> Any:
    """Return the dependency that lets those pass who have one of `permissions`; people alone with `person`."""

    async def guard(who: Annotated[Principal, Depends(identify)]) -> Principal:
        if not who.permissions.intersection(permissions):
            raise ApiError(403, f"{who.role} may not do this; it needs {' or '.join(permissions)}")
        if person and who.kind != "user":
            raise ApiError(403, f"a {who.kind} may not do this; it is for people")
        return who

    guard.__dict__["permissions"] = permissions
    return Depends(guard)


def public(reason: str) -> Any:
    """Return the dependency that marks a route as open to all, with the reason why."""

    async def open_to_all() -> None:
        return None

    open_to_all.__dict__["public"] = reason
    return Depends(open_to_all)


def guards_of(calls: list[Callable[..., Any]]) -> tuple[str, ...] | None:
    """Return what the marked dependencies among `calls` demand: permissions, () when public, None when unmarked."""
    for call in calls:
        marks = getattr(call, "__dict__", {})
        if "permissions" in marks:
            return tuple(marks["permissions"])
        if "public" in marks:
            return ()
    return None


def check_guards(router: APIRouter) -> None:
    """Raise `RuntimeError` when a route names neither its permission nor why it is public."""

    def calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
        for inner in dependant.dependencies:
            if inner.call is not None:
                yield inner.call
            yield from calls(inner)

    for route in router.routes:
        if isinstance(route, APIRoute) and guards_of(list(calls(route.dependant))) is None:
            raise RuntimeError(
                f"{route.path}: name its permission by `needs`, or say by `public` why it has none"
            )


def guards_metrics() -> Any:
    """Return the dependency of the metrics: loopback passes, everybody else needs `metrics.read`."""

    async def guard(request: Request, core: CoreDep) -> None:
        forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
        if not forwarded and request.client and request.client.host in {"127.0.0.1", "::1", "testclient"}:
            return
        who = await identify(request, core)
        if "metrics.read" not in who.permissions:
            raise ApiError(403, f"{who.role} may not do this; it needs metrics.read")

    guard.__dict__["permissions"] = ("metrics.read",)
    return Depends(guard)
