"""What boxes send: evidence, alerts, heartbeats."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from sqlalchemy import bindparam, delete, select

from api import callouts, camera_health, checks, inspections, rollout_watch
from api.access import Principal, needs
from api.core import Core, CoreDep
from api.errors import ApiError, refusals
from api.evidence import Range, Stored
from api.examples import ALERT_EVENT, HEARTBEAT
from api.filing import file_alert
from api.fleet import desired_of
from api.proposals import of_box
from api.retention import GOING, gone
from api.tables import Device, Evidence, HeartbeatRow
from api.tables_custody import Tombstone
from api.tracing import span
from contract import AlertEvent, DesiredState, Heartbeat
from contract.base import Identifier, Sha256
from contract.chain import LINK_HEADER

router = APIRouter(tags=["boxes"])
Who = Annotated[Principal, needs("device.ingest")]
Hash = Annotated[Sha256, Path(description="SHA-256 of the file in lower-case hexadecimal.")]
_CONTENT_RANGE = re.compile(r"bytes (\d{1,12})-(\d{1,12})/(\d{1,12}|\*)")
KEEP_HEARTBEATS = timedelta(days=2)


class Held(BaseModel):
    """How much of a file is here."""

    sha256: Sha256
    received: Annotated[int, Field(description="Bytes of the file that are here.")]
    complete: bool


class Receipt(BaseModel):
    """What became of an alert message."""

    alert_id: Identifier
    case_id: Identifier
    outcome: Literal["case", "joined", "reopened", "opened", "updated", "cleared", "again"]
    missing_evidence: Annotated[
        list[Sha256], Field(description="Files the alert names that are not here yet.")
    ]


def _range(value: str | None) -> Range | None:
    if value is None:
        return None
    found = _CONTENT_RANGE.fullmatch(value.strip())
    if not found:
        raise ApiError(400, "Content-Range: write it as `bytes FIRST-LAST/TOTAL`")
    return Range(int(found[1]), None if found[3] == "*" else int(found[3]))


@router.put(
    "/evidence/{sha256}",
    status_code=201,
    responses={
        200: {"model": Held, "description": "The file is known already."},
        202: {"model": Held, "description": "A part was taken; send the rest from `received`."},
        **refusals(400, 401, 403, 409, 410, 413, 422, 507),
        415: refusals(422)[422] | {"description": "The type does not fit the bytes."},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                t: {"schema": {"type": "string", "format": "binary"}}
                for t in ("image/jpeg", "image/png", "video/mp4", "application/octet-stream")
            },
        }
    },
)
async def put_evidence(
    sha256: Hash, request: Request, response: Response, who: Who, core: CoreDep,
    content_range: Annotated[str | None, Header(description="`bytes FIRST-LAST/TOTAL` of a part.")] = None,
) -> Held:  # fmt: skip
    """Store a file under its hash. The bytes are hashed while they are written; a wrong hash stores nothing."""
    noted = await run_in_threadpool(_noted, core, sha256)
    # A sweep may have deleted the file between the two; then it is taken again.
    if noted is not None and await core.store.size(sha256) is not None:
        if noted == 0:
            raise ApiError(409, "this file is being deleted; retry later")
        response.status_code = 200
        return Held(sha256=sha256, received=noted, complete=True)
    declared = (request.headers.get("content-type") or "").split(";")[0].strip().lower() or None
    try:
        with span("evidence.receive"):
            got = await core.store.receive(sha256, request.stream(), declared, _range(content_range))
    except ApiError as exc:
        core.metrics.evidence_refused.labels(exc.status).inc()
        raise
    if not isinstance(got, Stored):
        response.status_code = 202
        return Held(sha256=sha256, received=got, complete=False)
    await run_in_threadpool(_note_evidence, core, who, got)
    core.metrics.evidence_bytes.inc(got.size)
    return Held(sha256=sha256, received=got.size, complete=True)


_ROW = Evidence.sha256 == bindparam("sha256")
_GOING = select(Evidence.sha256).where(_ROW, Evidence.size == 0)
_BURIED = select(Tombstone.at).where(Tombstone.sha256 == bindparam("sha256")).limit(1)
_ASKED = select(
    select(Evidence.size).where(_ROW).scalar_subquery().label("size"),
    select(Evidence.stored_at).where(_ROW).scalar_subquery().label("stored_at"),
    _BURIED.scalar_subquery().label("buried"),
)


def _noted(core: Core, sha256: str) -> int | None:
    """Return the size of a stored file, 0 while it is deleted, None when it is not here; 410 when nobody needs it any more."""
    row = core.db.first(_ASKED, {"sha256": sha256})
    if row is not None and row.size is not None:
        # A file whose deletion was cut short is taken again.
        return None if row.size == 0 and core.now() - row.stored_at > GOING else int(row.size)
    if row is not None and row.buried is not None:
        with core.db.read() as session:
            told = gone(session, sha256)
        if told is not None:
            raise ApiError(
                410,
                f"deleted on {told.at:%Y-%m-%d} by the rule for {told.rule} cases; it is not wanted any more",
            )
    return None


def _note_evidence(core: Core, who: Principal, stored: Stored) -> None:
    told = {
        "sha256": stored.sha256, "size": stored.size, "media_type": stored.media_type, "device_id": who.id,
        "stored_at": core.now(),
    }  # fmt: skip
    # The row may be there without its bytes, when a deletion was cut short; it must not be taken for that old one.
    core.db.add(Evidence, told, renewed=("stored_at", "size"))


@router.head(
    "/evidence/{sha256}",
    responses={404: {"description": "Nothing of it is here."}, **refusals(401, 403)},
)
async def head_evidence(
    sha256: Hash, core: CoreDep, _who: Annotated[Principal, needs("device.ingest", "evidence.read")]
) -> Response:
    """Say whether a file is here (200), in part (200 with `Upload-Complete: ?0`), or not (404)."""
    size = await core.store.size(sha256)
    going = await run_in_threadpool(core.db.first, _GOING, {"sha256": sha256}) if size is not None else None
    if size is not None and going is None:
        return Response(headers={"Upload-Offset": str(size), "Upload-Complete": "?1"})
    held = core.store.held(sha256)
    if held == 0:
        return Response(status_code=404)
    return Response(headers={"Upload-Offset": str(held), "Upload-Complete": "?0"})


@router.post(
    "/alerts",
    status_code=201,
    responses={
        200: {"model": Receipt, "description": "The alert was known; it is up to date."},
        **refusals(401, 403, 413, 422),
    },
    openapi_extra={"requestBody": {"content": {"application/json": {"example": ALERT_EVENT}}}},
)
def post_alert(
    message: AlertEvent, response: Response, who: Who, core: CoreDep,
    link: Annotated[str | None, Header(alias=LINK_HEADER, description="The signed link, base64 of its DSSE envelope.")] = None,
) -> Receipt:  # fmt: skip
    """File an alert message. Sending it twice changes nothing; evidence may come before or after it."""
    if message.data.device_id != who.id:
        raise ApiError(403, f"data.device_id: the token belongs to {who.id}, not to {message.data.device_id}")
    with span("store") as told_of, core.db.write() as session:
        filed = file_alert(session, message, link, who.tenant, core)
        if told_of is not None:
            told_of.set("case.id", filed.case_id)
            told_of.set("alert.outcome", filed.outcome)
    if filed.fault is not None:
        core.metrics.chain_faults.inc()
    core.metrics.alerts.labels(filed.outcome).inc()
    response.status_code = 201 if filed.new else 200
    told: dict[str, Any] = {"outcome": filed.outcome, "missing_evidence": filed.missing}
    return Receipt(alert_id=filed.alert_id, case_id=filed.case_id, **told)


@router.post(
    "/heartbeats",
    responses=refusals(401, 403, 413, 422),
    openapi_extra={"requestBody": {"content": {"application/json": {"example": HEARTBEAT}}}},
)
def post_heartbeat(beat: Heartbeat, who: Who, core: CoreDep) -> DesiredState:
    """Take a box's heartbeat and answer with the state the centre wants it to have."""
    if beat.device_id != who.id:
        raise ApiError(403, f"device_id: the token belongs to {who.id}, not to {beat.device_id}")
    now = core.now()
    with core.db.write() as session:
        device = session.get_one(Device, who.id)
        if session.get(HeartbeatRow, beat.id) is None:
            body = beat.wire()
            cameras, events = body.pop("cameras", []), body.pop("camera_events", [])
            session.add(HeartbeatRow(id=beat.id, device_id=who.id, at=now, body=body))
            session.execute(
                delete(HeartbeatRow).where(
                    HeartbeatRow.device_id == who.id, HeartbeatRow.at < now - KEEP_HEARTBEATS
                )
            )
            device.last_seen_at, device.health = now, body
            camera_health.take(session, who, cameras, events, core)
            rollout_watch.take(session, beat, core)
        wanted = dict(device.desired or {})
        wanted |= desired_of(session, who.id)
        wanted["inspections"] = inspections.orders_of(session, who.id, now)
        wanted["callouts"] = callouts.orders_of(session, who.id, now)
        wanted["checks"] = checks.orders_of(session, who.id, now)
        wanted["thresholds"] = of_box(session, who.tenant, who.id)
    return DesiredState.model_validate(wanted | {"server_time": now})
