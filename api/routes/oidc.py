"""The two steps of signing in by a provider: there and back."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from api.access import COOKIE, public
from api.audit import record
from api.core import Core, CoreDep
from api.db import lock
from api.errors import ApiError, refusals
from api.oidc import Attempt, NoRoleError, OidcError, address, admit, claims_of, discover, role_of
from api.security import open_session

router = APIRouter(tags=["people"])
LOG = structlog.get_logger("api")
ATTEMPT = "curbwatch_oidc"
FOLDER = "/session/oidc"
ATTEMPT_S = 600
_AWAY: dict[int | str, dict[str, Any]] = {
    303: {"description": "To the provider, or back to the console."},
    502: refusals(503)[503] | {"description": "The provider did not answer as it should."},
}


class Ways(BaseModel):
    """How one may sign in here."""

    password: bool = True
    oidc: Annotated[bool, Field(description="`GET /session/oidc` leads to the city's own sign-in.")]


def _client() -> httpx.Client:
    return httpx.Client(timeout=10, follow_redirects=False, trust_env=False)


def _issuer(core: Core) -> str:
    if core.settings.oidc_issuer is None:
        raise ApiError(404, "sign-in by a provider is not set up here; sign in with a password")
    return core.settings.oidc_issuer


def _secure(core: Core, request: Request) -> bool:
    return core.settings.secure_cookie == "always" or request.url.scheme == "https"


@router.get("/session/ways", dependencies=[public("the sign-in page asks before anybody is signed in")])
def ways(core: CoreDep) -> Ways:
    """Say how one may sign in."""
    return Ways(oidc=core.settings.oidc_issuer is not None)


@router.get(
    FOLDER, status_code=303, response_class=RedirectResponse, responses={**_AWAY, **refusals(404)},
    dependencies=[public("this is a way in")],
)  # fmt: skip
def leave(request: Request, core: CoreDep) -> Response:
    """Send the browser to the city's own sign-in."""
    attempt = Attempt.new()
    try:
        with _client() as client:
            there = address(core.settings, discover(client, _issuer(core)), attempt)
    except OidcError as exc:
        raise ApiError(502, str(exc)) from exc
    answer = RedirectResponse(there, 303)
    # Lax, since the way back begins at another site; it opens nothing by itself.
    answer.set_cookie(
        ATTEMPT, attempt.cookie(), max_age=ATTEMPT_S, httponly=True, samesite="lax", secure=_secure(core, request),
        path=FOLDER,
    )  # fmt: skip
    return answer


@router.get(
    f"{FOLDER}/callback", status_code=303, response_class=RedirectResponse,
    responses={**_AWAY, **refusals(400, 401, 403, 404, 422)}, dependencies=[public("the provider sends people here")],
)  # fmt: skip
def come_back(
    request: Request, core: CoreDep,
    code: Annotated[str | None, Query(max_length=4000)] = None,
    state: Annotated[str, Query(max_length=200)] = "",
    error: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:  # fmt: skip
    """Take the provider's answer, check it, and open a session."""
    issuer, now = _issuer(core), core.now()
    attempt = Attempt.of_cookie(request.cookies.get(ATTEMPT))
    if attempt is None or not attempt.fits(state):
        raise ApiError(400, "state: this sign-in was not begun in this browser, or is too old; begin again")
    if error is not None or code is None:
        core.metrics.logins.labels("failed").inc()
        raise ApiError(401, "the provider refused the sign-in")
    try:
        with _client() as client:
            claims = claims_of(client, core.settings, discover(client, issuer), attempt, code, now)
        role, tenant = role_of(claims, core.settings)
        with core.db.write() as session:
            lock(session, [f"oidc:{claims['sub']}"])
            user = admit(session, issuer, claims, role, tenant, now)
            login = open_session(session, user, now, core.settings.session_hours)
            record(session, "logins", now, f"user:{user.username}", "login", {"way": "oidc", "role": role})
    except OidcError as exc:
        core.metrics.logins.labels("failed").inc()
        LOG.warning("oidc.refused", error=str(exc))
        raise ApiError(502, str(exc)) from exc
    except NoRoleError as exc:
        core.metrics.logins.labels("failed").inc()
        raise ApiError(403, str(exc)) from exc
    core.metrics.logins.labels("ok").inc()
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE, login.token, max_age=int(core.settings.session_hours * 3600), httponly=True, samesite="strict",
        secure=_secure(core, request), path="/",
    )  # fmt: skip
    answer.delete_cookie(ATTEMPT, path=FOLDER, httponly=True, samesite="lax")
    return answer
