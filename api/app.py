"""The app of the centre."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from api.core import Core
from api.db import Database
from api.errors import ApiError, answer
from api.evidence import EvidenceStore
from api.metrics import Metrics
from api.middleware import Outer
from api.migrate import migrate
from api.pack import load_pack
from api.settings import Settings
from contract import utc_now

ROUTERS = ("ingest", "people", "cases", "files", "live", "work", "exports", "keys", "stats", "ops")


def create_app(settings: Settings, now: Callable[[], datetime] = utc_now) -> FastAPI:
    """Build one replica. `now` is the clock; the database is migrated first when the settings say so."""
    db = Database(settings)
    if settings.migrate_at_start:
        migrate(db.engine)
    core = Core(settings, db, EvidenceStore(settings), now, Metrics(), load_pack(settings.pack))
    app = FastAPI(
        title="Curbwatch",
        version=version("curbwatch"),
        summary="Street issues found by cameras, reviewed by people.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.core = core
    app.add_exception_handler(ApiError, answer)
    app.add_exception_handler(RequestValidationError, _invalid)
    for name in ROUTERS:
        app.include_router(import_module(f"api.routes.{name}").router)
    if find_spec("api.console") is not None:
        import_module("api.console").mount(app)
    app.add_middleware(_outer(settings, core.metrics))
    return app


def _outer(settings: Settings, metrics: Metrics) -> Callable[[ASGIApp], ASGIApp]:
    def wrap(inner: ASGIApp) -> ASGIApp:
        return Outer(inner, settings, metrics)

    return wrap


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        app.state.draining = True
        app.state.core.db.close()


async def _invalid(_request: Request, exc: Exception) -> JSONResponse:
    """Name each wrong field and its mend; never echo the input, which may hold a password."""
    if not isinstance(exc, RequestValidationError):
        raise exc
    fields = [
        f"{'.'.join(str(p) for p in e['loc'] if p != 'body') or 'body'}: {e['msg']}" for e in exc.errors()
    ]
    return JSONResponse({"detail": "; ".join(fields[:5]), "fields": fields[:50]}, 422)
