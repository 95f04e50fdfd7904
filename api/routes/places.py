"""What happened at a place, and the cases on the map."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from api.access import Principal, needs
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.geo import Spot, box_around, distance_m
from api.review import find
from api.routes.cases import parse_bbox
from api.tables import AlertRow, Camera, CaseRow
from api.tiles import inside
from contract import CaseState, IssueClass
from contract.base import Identifier

router = APIRouter(tags=["places"])
Reader = Annotated[Principal, needs("case.read")]
NEAR_M, HISTORY_DAYS, MAX_HISTORY = 50.0, 90, 50
MAX_POINTS = 10_000
SPANS = {"1h": timedelta(hours=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}


class Point(BaseModel):
    """A case on the map."""

    id: Identifier
    number: str
    issue: IssueClass
    state: CaseState
    camera_id: str
    camera_name: str
    opened_at: datetime
    lon: float
    lat: float


class Earlier(BaseModel):
    """A case of the same spot."""

    id: Identifier
    number: str
    issue: IssueClass
    state: CaseState
    opened_at: datetime
    dwell_s: float


class PlaceView(BaseModel):
    """The place of a case: what lies round it, and what it has seen."""

    near: Annotated[list[Point], Field(description="Cases of the last week within 50 m, without this one.")]
    history: Annotated[
        list[Earlier], Field(description="Cases of this very spot over 90 days, the newest first.")
    ]
    recurrence: Annotated[
        dict[str, int], Field(description="Cases of this class at this spot within 1h, 7d, 30d before.")
    ]


def _point(case: CaseRow) -> Point:
    return Point.model_validate({name: getattr(case, name) for name in Point.model_fields})


def _spot(session: Session, case: CaseRow) -> list[ColumnElement[bool]]:
    """Conditions of an alert at this case's spot: its ground cells; a cell of the picture counts within its camera."""
    own = session.execute(
        select(AlertRow.ground_cell, AlertRow.camera_id, AlertRow.body)
        .where(AlertRow.case_id == case.id)
        .limit(50)
    ).all()
    found: list[ColumnElement[bool]] = []
    for cell, camera, body in own:
        here = AlertRow.ground_cell == cell
        on_ground = body["place"]["source"] == "homography"
        found.append(here if on_ground else and_(here, AlertRow.camera_id == camera))
    return found


@router.get("/cases/{case_id}/place", responses=refusals(401, 403, 404, 422))
def place(case_id: Identifier, who: Reader, core: CoreDep) -> PlaceView:
    """Return the neighbours and the history of a case's place."""
    now = core.now()
    with core.db.read() as session:
        case = find(session, case_id, who)
        spot = Spot.of(case.place)
        near = session.scalars(
            select(CaseRow)
            .where(
                CaseRow.id != case.id, who.sees(CaseRow.tenant), CaseRow.opened_at >= now - SPANS["7d"],
                *inside(CaseRow, box_around(spot, NEAR_M)),
            )
            .order_by(CaseRow.opened_at.desc())
            .limit(100)
        ).all()  # fmt: skip
        spots = _spot(session, case)
        earlier: list[CaseRow] = []
        if spots:
            ids = select(AlertRow.case_id).where(or_(*spots))
            earlier = list(
                session.scalars(
                    select(CaseRow)
                    .where(
                        CaseRow.id.in_(ids), CaseRow.id != case.id, who.sees(CaseRow.tenant),
                        CaseRow.seen_at.between(case.seen_at - timedelta(days=HISTORY_DAYS), case.seen_at),
                    )
                    .order_by(CaseRow.seen_at.desc())
                    .limit(MAX_HISTORY)
                )
            )  # fmt: skip
    same = [case.seen_at - c.seen_at for c in earlier if c.issue == case.issue]
    return PlaceView(
        near=[_point(c) for c in near if distance_m(spot, Spot.of(c.place)) <= NEAR_M],
        history=[Earlier.model_validate({n: getattr(c, n) for n in Earlier.model_fields}) for c in earlier],
        recurrence={name: sum(gap <= span for gap in same) for name, span in SPANS.items()},
    )


@router.get("/map", responses=refusals(400, 401, 403, 422))
def points(
    who: Reader, core: CoreDep,
    state: Annotated[list[CaseState], Query(max_length=20)] = [],  # noqa: B006
    issue: IssueClass | None = None,
    camera: Annotated[str | None, Query(max_length=64)] = None,
    bbox: Annotated[str | None, Query(description="west,south,east,north in degrees.", max_length=100)] = None,
    hours: Annotated[float, Query(gt=0, le=24 * 366)] = 24.0,
    limit: Annotated[int, Query(ge=1, le=MAX_POINTS)] = 2000,
) -> list[Point]:  # fmt: skip
    """List cases as points, the newest first; light enough for a city's day on one map."""
    wanted: list[Any] = [who.sees(CaseRow.tenant), CaseRow.opened_at >= core.now() - timedelta(hours=hours)]
    if state:
        wanted.append(CaseRow.state.in_([s.value for s in state]))
    if issue:
        wanted.append(CaseRow.issue == issue.value)
    if camera:
        wanted.append(CaseRow.camera_id == camera)
    if bbox:
        wanted += inside(CaseRow, parse_bbox(bbox))
    with core.db.read() as session:
        rows = session.scalars(
            select(CaseRow).where(*wanted).order_by(CaseRow.opened_at.desc()).limit(limit)
        ).all()
    return [_point(c) for c in rows]


class Snapshot(BaseModel):
    """A picture of a camera's view that the centre holds."""

    sha256: str
    kind: str
    captured_at: datetime
    width: int | None
    height: int | None


@router.get("/cameras/{camera_id}/pictures", responses=refusals(401, 403, 404, 422))
def pictures(
    camera_id: str, who: Annotated[Principal, needs("camera.read")], core: CoreDep
) -> list[Snapshot]:
    """List the newest whole pictures of a camera: the background on which its zones are drawn."""
    if len(camera_id) > 64:
        raise ApiError(404, "no such camera")
    with core.db.read() as session:
        if session.scalar(select(Camera.id).where(Camera.id == camera_id, who.sees(Camera.tenant))) is None:
            raise ApiError(404, "no such camera")
        bodies = session.scalars(
            select(AlertRow.body)
            .join(CaseRow, CaseRow.id == AlertRow.case_id)
            .where(AlertRow.camera_id == camera_id, who.sees(CaseRow.tenant))
            .order_by(AlertRow.received_at.desc())
            .limit(10)
        ).all()
    found: list[Snapshot] = []
    for body in bodies:
        items = [e for e in body.get("evidence", ()) if e["kind"] in {"confirm", "first", "middle"}]
        items.sort(key=lambda e: str(e["captured_at"]), reverse=True)
        found += [
            Snapshot(
                sha256=e["sha256"], kind=e["kind"], captured_at=e["captured_at"], width=e.get("width"), height=e.get("height")
            )
            for e in items
        ]  # fmt: skip
    return found[:20]
