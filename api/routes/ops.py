"""Health, readiness, metrics."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import get_args

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sqlalchemy import func, select, text

from api.access import guards_metrics, public
from api.core import Core, CoreDep
from api.errors import ApiError, refusals
from api.fleet_metrics import fleet_page
from api.machine import ON_CLOCK, REVIEW_STATES
from api.migrate import at_head
from api.tables import Camera, CaseRow, Delivery, Device
from api.tables_city import CityRequest
from contract import CaseState, View

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


@router.get("/healthz", dependencies=[public("a probe has no credentials and learns nothing")])
def healthz() -> Health:
    """Say that the process answers; a failing database must not make an orchestrator kill it."""
    return Health()


def _database(core: Core) -> None:
    with core.db.read() as session:
        session.execute(text("SELECT 1"))
    if not at_head(core.db.engine):
        raise ApiError(503, "database: migrations are missing; run `curbwatch api migrate`")


@router.get(
    "/readyz", responses=refusals(503), dependencies=[public("a probe has no credentials and learns little")]
)
async def readyz(core: CoreDep, request: Request) -> Health:
    """Say whether requests can be served: database reachable and migrated, evidence store writable, room on the disk."""
    if getattr(request.app.state, "draining", False):
        raise ApiError(503, "shutting down")
    try:
        await asyncio.wait_for(run_in_threadpool(_database, core), 5)
    except ApiError:
        raise
    except Exception as exc:
        raise ApiError(503, f"database: not reachable ({type(exc).__name__})") from exc
    try:
        await asyncio.wait_for(core.store.probe(), 5)
    except Exception as exc:
        raise ApiError(503, f"evidence store: not writable ({type(exc).__name__})") from exc
    if not core.store.has_room():
        raise ApiError(503, "evidence store: the disk is full, uploads are refused; make room")
    return Health()


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text."}, **refusals(401, 403)},
    dependencies=[guards_metrics()],
)
def metrics(core: CoreDep) -> Response:
    """Return Prometheus metrics: open on loopback, with a `monitoring` key or a person's right elsewhere."""
    _gauges(core)
    return Response(
        core.metrics.text() + fleet_page(core), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


def _gauges(core: Core) -> None:
    now = core.now()
    with core.db.read() as session:
        waiting, oldest = session.execute(
            select(func.count(), func.min(CaseRow.opened_at)).where(
                CaseRow.state.in_([s.value for s in REVIEW_STATES])
            )
        ).one()
        overdue = session.scalar(
            select(func.count())
            .select_from(CaseRow)
            .where(
                # What waits for its recheck has been handled, as the indicators count.
                CaseRow.state.in_([s.value for s in ON_CLOCK - {CaseState.RECHECK}]),
                CaseRow.deadline_at <= now,
            )
        )
        silent = now - timedelta(seconds=core.settings.offline_s)
        online = session.scalar(
            select(func.count())
            .select_from(Camera)
            .join(Device, Device.id == Camera.device_id)
            .where(Device.last_seen_at >= silent)
        )
        every = session.scalar(select(func.count()).select_from(Camera))
        word = Camera.health["view"].as_string()
        views = session.execute(
            select(word, func.count())
            .join(Device, Device.id == Camera.device_id)
            .where(Device.last_seen_at >= silent)
            .group_by(word)
        ).all()
        unsent = select(Delivery.state, func.count()).where(Delivery.state != "sent").group_by(Delivery.state)
        hooks = {row[0]: row[1] for row in session.execute(unsent)}
        late = select(CityRequest.state, func.count()).where(CityRequest.state.in_(("due", "dead")))
        city = {row[0]: row[1] for row in session.execute(late.group_by(CityRequest.state))}
    core.metrics.queue.set(waiting)
    for state in ("due", "dead"):
        core.metrics.hooks.labels(state).set(hooks.get(state, 0))
        core.metrics.city.labels(state).set(city.get(state, 0))
    core.metrics.queue_age.set((now - oldest).total_seconds() if oldest else 0)
    core.metrics.overdue.set(overdue or 0)
    counted = {row[0]: row[1] for row in views}
    for view in get_args(View):
        core.metrics.camera_views.labels(view).set(counted.get(view, 0))
    core.metrics.cameras.labels("reporting").set(online or 0)
    core.metrics.cameras.labels("silent").set((every or 0) - (online or 0))
