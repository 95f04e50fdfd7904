"""The live feed (SSE) and the cameras' state."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.access import Principal, identify_by, needs
from api.core import Core, CoreDep
from api.errors import ApiError, refusals
from api.tables import Camera, Device, Event
from contract import CameraHealth

router = APIRouter(tags=["live"])
POLL_S = 0.5
PAGE = 200
# A sequence number is given before its transaction commits, so a lower one may show up after a higher one.
LOOK_BACK = 256
MAX_STREAMS = 200
# A feed lives for hours: who was shut out, or moved to other cases, is noticed within this time.
ASK_AGAIN_S = 5.0


class CameraView(BaseModel):
    """A camera and how it is."""

    id: str
    name: str
    device_id: str
    lon: float | None
    lat: float | None
    state: Annotated[
        str, Field(description="As its box says; `offline` when the box is silent, `unknown` before.")
    ]
    reason: str
    health: CameraHealth | None
    health_at: datetime | None
    device_seen_at: datetime | None


def _newest(core: Core) -> int:
    with core.db.read() as session:
        return session.scalar(select(func.max(Event.seq))) or 0


def _oldest(core: Core) -> int:
    with core.db.read() as session:
        return session.scalar(select(func.min(Event.seq))) or 0


def _page(core: Core, who: Principal, after: int) -> list[Event]:
    with core.db.read() as session:
        query = select(Event).where(Event.seq > after, who.sees(Event.tenant)).order_by(Event.seq)
        return list(session.scalars(query.limit(PAGE + LOOK_BACK)))


def _still(request: Request, core: Core) -> Principal | None:
    """Return who asks as of now; None when the session has ended, or may no longer read cases."""
    try:
        who = identify_by(request, core, None)
    except ApiError:
        return None
    return who if "case.read" in who.permissions else None


async def feed(
    core: Core, who: Principal, request: Request, after: int | None
) -> AsyncIterator[ServerSentEvent]:
    """Yield events after `after` (a sequence number) or from now on, until the client goes or may not read them."""
    asked = monotonic()
    last = after if after is not None else await run_in_threadpool(_newest, core)
    start, sent = last, deque[int](maxlen=4 * LOOK_BACK)
    core.metrics.streams.inc()
    try:
        told = {"seq": last}
        # Old events are swept: who resumes before them learns that some may be missing.
        if after is not None and (oldest := await run_in_threadpool(_oldest, core)) > after + 1:
            told["oldest"] = oldest
        yield ServerSentEvent(event="hello", data=json.dumps(told), retry=2000)
        while not await request.is_disconnected():
            if monotonic() - asked >= ASK_AGAIN_S:
                now = await run_in_threadpool(_still, request, core)
                if now is None:
                    return
                who, asked = now, monotonic()
            for row in await run_in_threadpool(_page, core, who, max(start, last - LOOK_BACK)):
                if row.seq in sent:
                    continue
                sent.append(row.seq)
                last = max(last, row.seq)
                yield ServerSentEvent(event=row.kind, id=str(row.seq), data=json.dumps(row.body))
            await asyncio.sleep(POLL_S)
    finally:
        core.metrics.streams.dec()


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "Server-sent events; the id is a sequence number.",
        },
        **refusals(401, 403, 422),
        503: refusals(503)[503] | {"description": "Too many feeds are open."},
    },
)
async def events(
    request: Request, core: CoreDep, who: Annotated[Principal, needs("case.read")],
    last_event_id: Annotated[int | None, Header(ge=0, le=2**53)] = None,
    after: Annotated[int | None, Query(ge=0, le=2**53, description="Start after this event.")] = None,
) -> EventSourceResponse:  # fmt: skip
    """Follow cases live. `Last-Event-ID` (or `after`) replays what was missed."""
    if core.metrics.streams._value.get() >= MAX_STREAMS:
        raise ApiError(503, "too many live feeds are open; retry later", headers={"Retry-After": "10"})
    start = last_event_id if last_event_id is not None else after
    return EventSourceResponse(feed(core, who, request, start), ping=15, headers={"X-Accel-Buffering": "no"})


@router.get("/cameras", responses=refusals(401, 403))
def cameras(core: CoreDep, who: Annotated[Principal, needs("camera.read")]) -> list[CameraView]:
    """List the cameras and their state."""
    with core.db.read() as session:
        rows = session.execute(
            select(Camera, Device.last_seen_at)
            .outerjoin(Device, Device.id == Camera.device_id)
            .where(who.sees(Camera.tenant))
            .order_by(Camera.id)
            .limit(5000)
        ).all()
    return [_camera(core, camera, seen) for camera, seen in rows]


def _camera(core: Core, camera: Camera, seen: datetime | None) -> CameraView:
    health: dict[str, Any] | None = camera.health
    state, reason = (health["state"], health.get("reason", "")) if health else ("unknown", "no heartbeat yet")
    if health and (seen is None or (core.now() - seen).total_seconds() > core.settings.offline_s):
        state, reason = "offline", "its box is silent"
    return CameraView(
        id=camera.id, name=camera.name, device_id=camera.device_id, lon=camera.lon, lat=camera.lat, state=state,
        reason=reason, health=CameraHealth.model_validate(health) if health else None,
        health_at=camera.health_at, device_seen_at=seen,
    )  # fmt: skip
