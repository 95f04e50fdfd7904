"""Cases, the queue, and verdicts."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, Select, and_, func, or_, select, tuple_

from api.access import Principal, needs
from api.casebook import SHOWN, hold, views
from api.core import CoreDep
from api.db import plain
from api.errors import ApiError, refusals
from api.examples import CASE
from api.leases import WAITING, in_queue, next_case, wanted
from api.machine import REVIEW_STATES
from api.reading import blind, forget, next_reading, offer
from api.review import VerdictIn, check_version, find, give_verdict, undo_verdict
from api.tables import CaseRow
from api.tiles import inside
from contract import Case, CaseState, IssueClass
from contract.base import Identifier, UtcTime

router = APIRouter(tags=["cases"])
Reader = Annotated[Principal, needs("case.read")]
Reviewer = Annotated[Principal, needs("case.review")]
IfMatch = Annotated[
    str | None, Header(description="The version that was seen; 412 when the case has changed.")
]
_CASE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": CASE}}}}


class Page(BaseModel):
    """A page of cases; `next` is the cursor of the one after it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [CASE], "next": None}]})
    items: list[Case]
    next: str | None


class QueueView(BaseModel):
    """What waits."""

    waiting: int
    leased: Annotated[int, Field(description="Of these, leased to somebody now.")]
    oldest_at: datetime | None


def _cursor(case: Row[Any], queue: bool) -> str:
    key: list[Any] = [case.priority] if queue else []
    raw = json.dumps([*key, case.opened_at.isoformat(), case.id])
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def _after(query: Select[*tuple[Any, ...]], cursor: str, queue: bool) -> Select[*tuple[Any, ...]]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        *priority, at, case_id = values
        opened = datetime.fromisoformat(at)
        if opened.tzinfo is None or not isinstance(case_id, str) or len(priority) != int(queue):
            raise ValueError("shape")  # noqa: TRY301
        opened = opened.astimezone(UTC)
        if queue:
            rank = int(priority[0])
            later = tuple_(CaseRow.opened_at, CaseRow.id) > tuple_(opened, case_id)
            return query.where(or_(CaseRow.priority > rank, and_(CaseRow.priority == rank, later)))
        return query.where(
            or_(CaseRow.opened_at < opened, and_(CaseRow.opened_at == opened, CaseRow.id < case_id))
        )
    except (ValueError, TypeError, binascii.Error, OverflowError) as exc:
        raise ApiError(400, "cursor: take it from `next` of the page before, with the same filters") from exc


def whole(case: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """Return one case with its version as ETag."""
    return JSONResponse(case, headers={"ETag": f'"{case["version"]}"', **(headers or {})})


@router.get("/cases", response_model=Page, responses=refusals(400, 401, 403, 422))
def list_cases(
    who: Reader, core: CoreDep,
    state: Annotated[list[CaseState], Query(description="Repeat for several.", max_length=20)] = [],  # noqa: B006
    issue: IssueClass | None = None,
    camera: Annotated[str | None, Query(max_length=64)] = None,
    bbox: Annotated[str | None, Query(description="west,south,east,north in degrees.", max_length=100)] = None,
    since: Annotated[UtcTime | None, Query(description="Opened at or after.")] = None,
    order: Annotated[str, Query(pattern="^(newest|queue)$", description="`queue`: main streets, then the oldest.")] = "newest",
    cursor: Annotated[str | None, Query(max_length=300)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JSONResponse:  # fmt: skip
    """List cases, the newest first, or in the queue's order."""
    queue = order == "queue"
    query: Select[*tuple[Any, ...]] = select(*SHOWN).where(who.sees(CaseRow.tenant))
    if state:
        query = query.where(CaseRow.state.in_([s.value for s in state]))
        query = query.where(WAITING) if queue and REVIEW_STATES.issuperset(state) else query
    if issue:
        query = query.where(CaseRow.issue == issue.value)
    if camera:
        query = query.where(CaseRow.camera_id == camera)
    if since:
        query = query.where(CaseRow.opened_at >= since)
    if bbox:
        query = query.where(*inside(CaseRow, parse_bbox(bbox)))
    if cursor:
        query = _after(query, cursor, queue)
    if queue:
        query = query.order_by(CaseRow.priority, CaseRow.opened_at, CaseRow.id)
    else:
        query = query.order_by(CaseRow.opened_at.desc(), CaseRow.id.desc())
    with core.db.read() as session:
        rows = list(session.execute(query.limit(limit + 1)))
        items = views(session, rows[:limit])
    following = _cursor(rows[limit - 1], queue) if len(rows) > limit else None
    return JSONResponse({"items": items, "next": following})


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """Read west,south,east,north; 400 when it is none."""
    try:
        west, south, east, north = (float(v) for v in text.split(","))
    except ValueError as exc:
        raise ApiError(400, "bbox: write west,south,east,north in degrees") from exc
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise ApiError(400, "bbox: west must not exceed east, nor south north, within the earth")
    return west, south, east, north


@router.get("/cases/{case_id}", response_model=Case, responses={**_CASE, **refusals(401, 403, 404, 422)})
def get_case(case_id: Identifier, who: Reader, core: CoreDep) -> JSONResponse:
    """Return one case."""
    with core.db.read() as session:
        return whole(views(session, [find(session, case_id, who)])[0])


@router.post(
    "/cases/{case_id}/verdicts", response_model=Case,
    responses={**_CASE, **refusals(401, 403, 404, 409, 412, 413, 422)},
)  # fmt: skip
def post_verdict(
    case_id: Identifier, told: VerdictIn, who: Reviewer, core: CoreDep, if_match: IfMatch = None
) -> JSONResponse:
    """Judge a case: confirm, reject with a reason, unsure (a second person decides), or merge into another."""
    with core.db.write() as session:
        hold(session, [case_id, told.into] if told.into else [])
        case = find(session, case_id, who, update=True)
        check_version(case, if_match)
        was = case.state
        row = give_verdict(session, case, told, who, core.now(), core)
        offer(session, case, row, was, core.settings.second_share)
        session.flush()
        answer = whole(views(session, [case])[0], {"Verdict-Id": row.id})
    core.metrics.verdicts.labels(told.kind.value, str(int(told.reason)) if told.reason else "").inc()
    return answer


@router.delete(
    "/cases/{case_id}/verdicts/{verdict_id}", response_model=Case,
    responses={**_CASE, **refusals(401, 403, 404, 409, 422)},
)  # fmt: skip
def delete_verdict(case_id: Identifier, verdict_id: Identifier, who: Reviewer, core: CoreDep) -> JSONResponse:
    """Take one's own verdict back within 30 s."""
    with core.db.write() as session:
        merged_into = find(session, case_id, who).merged_into
        hold(session, [case_id, merged_into] if merged_into else [])
        case = find(session, case_id, who, update=True)
        undo_verdict(session, case, verdict_id, who, core.now(), core.settings.undo_s)
        forget(session, verdict_id)
        session.flush()
        return whole(views(session, [case])[0])


def _often(share: float) -> bool:
    """True for about `share` of the calls, in a way that a reviewer cannot foresee."""
    return secrets.randbelow(1_000_000) < share * 1_000_000


@router.get(
    "/queue/next", response_model=Case,
    responses={**_CASE, 204: {"description": "The queue is empty."}, **refusals(401, 403, 422)},
)  # fmt: skip
def queue_next(
    who: Reviewer, core: CoreDep,
    exclude: Annotated[list[Identifier], Query(description="Cases to pass over.", max_length=100)] = [],  # noqa: B006
    issue: IssueClass | None = None,
    camera: Annotated[str | None, Query(max_length=64)] = None,
    readings: Annotated[bool, Query(description="Mix in blind readings; their answers go to /readings.")] = False,
) -> Response:  # fmt: skip
    """Lease the next case for me; nobody else gets it until the lease ends."""
    now, settings = core.now(), core.settings
    with core.db.write() as session:
        reading = None
        if readings and not issue and not camera and _often(settings.reading_mix):
            reading = next_reading(session, who, now, settings.lease_s, exclude)
        filters = wanted(issue.value if issue else None, camera)
        case = None if reading else next_case(session, who, now, settings.lease_s, exclude, filters)
        if case is None and reading is None and readings:
            reading = next_reading(session, who, now, settings.lease_s, exclude)
        if reading is not None:
            body = blind(views(session, [session.get_one(CaseRow, reading.case_id)])[0])
            return whole(body, {"Lease-Until": plain(reading.lease_until), "Reading-Id": reading.id})
        if case is None:
            return Response(status_code=204)
        session.flush()
        body = views(session, [case])[0]
        return whole(body, {"Lease-Until": plain(case.lease_until)})


@router.get("/queue", responses=refusals(401, 403))
def queue_view(who: Reviewer, core: CoreDep) -> QueueView:
    """Say how much waits."""
    now = core.now()
    with core.db.read() as session:
        waiting, oldest = session.execute(
            select(func.count(), func.min(CaseRow.opened_at)).where(WAITING, who.sees(CaseRow.tenant))
        ).one()
        free = session.scalar(select(func.count()).select_from(CaseRow).where(*in_queue(who, now))) or 0
    return QueueView(waiting=waiting, leased=max(0, waiting - free), oldest_at=oldest)
