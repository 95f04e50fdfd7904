"""The app of the centre."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from obstore.exceptions import BaseError
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.types import ASGIApp

from api import callouts, inspections, rollouts
from api.access import check_guards
from api.areas import Areas
from api.city_loop import exchange_forever
from api.core import Core
from api.db import Database
from api.errors import OPEN311, ApiError, answer, georeport_error, unfit
from api.evidence import EvidenceStore
from api.log import going_on
from api.metrics import Metrics
from api.middleware import Outer
from api.migrate import migrate
from api.outbox import send_due
from api.pack import load_pack
from api.playable import Playable
from api.retention import sweep
from api.settings import Settings
from api.stamps import stamp_forever
from api.tracing import tracing_of
from contract import utc_now

if TYPE_CHECKING:
    from contract.tracing import Tracing

SWEEP_S = 30
ROUTERS = (
    "ingest",
    "people",
    "oidc",
    "cases",
    "files",
    "live",
    "leases",
    "readings",
    "labels",
    "places",
    "charts",
    "setup",
    "checks",
    "start",
    "work",
    "exports",
    "custody",
    "keys",
    "fleet",
    "rollouts",
    "stats",
    "thresholds",
    "inspections",
    "reports",
    "open311",
    "geo",
    "hooks",
    "city",
    "traces",
    "ops",
)


def core_for(settings: Settings, db: Database, now: Callable[[], datetime] = utc_now) -> Core:
    """Put together what routes and commands work with."""
    pack = load_pack(settings.pack)
    if settings.timezone is not None:
        pack = pack.model_copy(update={"timezone": settings.timezone})
    store = EvidenceStore(settings)
    return Core(settings, db, store, Playable(settings, store), now, Metrics(), pack, Areas())


def create_app(settings: Settings, now: Callable[[], datetime] = utc_now) -> FastAPI:
    """Build one replica. `now` is the clock; the database is migrated first when the settings say so."""
    db = Database(settings)
    if settings.migrate_at_start:
        migrate(db.engine)
    core = core_for(settings, db, now)
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
    app.add_exception_handler(DataError, unfit)
    for name in ROUTERS:
        router = import_module(f"api.routes.{name}").router
        check_guards(router)
        app.include_router(router)
    if find_spec("api.console") is not None:
        import_module("api.console").mount(app)
    app.state.tracing = tracing_of(settings)
    app.add_middleware(_outer(settings, core.metrics, app.state.tracing))
    return app


def _outer(settings: Settings, metrics: Metrics, tracing: Tracing | None) -> Callable[[ASGIApp], ASGIApp]:
    def wrap(inner: ASGIApp) -> ASGIApp:
        return Outer(inner, settings, metrics, tracing)

    return wrap


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    core: Core = app.state.core
    tasks = [
        asyncio.create_task(run(core))
        for run in (_send_hooks, _retain, stamp_forever, _sweep, _roll, exchange_forever)
    ]
    try:
        yield
    finally:
        app.state.draining = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        core.db.close()
        if app.state.tracing is not None:
            await run_in_threadpool(app.state.tracing.close)


async def _send_hooks(core: Core) -> None:
    """Send webhooks for as long as the replica lives; a fault waits and tries again."""
    settings = core.settings
    with httpx.Client(timeout=10, follow_redirects=False, trust_env=False) as client:
        while True:
            sent = 0
            with going_on("webhooks.failed", SQLAlchemyError):
                sent = await run_in_threadpool(
                    send_due, core.db, client, core.now, settings.hook_tries, settings.allow_private_hooks
                )
            if not sent:
                await asyncio.sleep(2)


async def _retain(core: Core) -> None:
    """Delete what has had its time, for as long as the replica lives."""
    while core.settings.retention_every_s:
        await asyncio.sleep(core.settings.retention_every_s)
        with going_on("retention.failed", SQLAlchemyError, OSError, BaseError):
            await sweep(core)


async def _sweep(core: Core) -> None:
    """Order looks before deadlines and end orders that nobody answered, every half minute."""

    def looks() -> None:
        with core.db.write() as session:
            inspections.sweep(session, core.now(), core.pack)

    def calls() -> None:
        with core.db.write() as session:
            callouts.sweep(session, core.now())

    while True:
        for once in (looks, calls):
            with going_on("sweep.failed", SQLAlchemyError, what=once.__name__):
                await run_in_threadpool(once)
        await asyncio.sleep(SWEEP_S)


async def _roll(core: Core) -> None:
    """Ask the gates of every live rollout, for as long as the replica lives."""
    while core.settings.rollout_every_s:
        await asyncio.sleep(core.settings.rollout_every_s)
        with going_on("rollouts.failed", SQLAlchemyError):
            await run_in_threadpool(rollouts.tick, core)


async def _invalid(request: Request, exc: Exception) -> Response:
    """Name each wrong field and its mend; never echo the input, which may hold a password."""
    if not isinstance(exc, RequestValidationError):
        raise exc
    fields = [
        f"{'.'.join(str(p) for p in e['loc'] if p != 'body') or 'body'}: {e['msg']}" for e in exc.errors()
    ]
    if request.url.path.startswith(OPEN311):
        return georeport_error(request.url.path, 422, "; ".join(fields[:5]))
    return JSONResponse({"detail": "; ".join(fields[:5]), "fields": fields[:50]}, 422)
