"""The city's geography."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from sqlalchemy import select

from api.access import Principal, needs
from api.areas import import_areas
from api.audit import record
from api.core import Core, CoreDep
from api.errors import ApiError, refusals
from api.locating import responsible
from api.review import find
from api.tables import Area
from contract import IssueClass, StreetClass
from contract.base import Identifier

router = APIRouter(tags=["geography"])
Kind = Literal["grid", "district", "frontage", "street", "component"]


class Imported(BaseModel):
    """How many areas there are now."""

    kind: Kind
    features: int
    unknown_units: Annotated[
        list[str], Field(description="Units of the features that the city's pack does not name.")
    ]


class NearComponent(BaseModel):
    """A part of the city's furniture."""

    code: str
    name: str
    distance_m: float


class PermitView(BaseModel):
    """A permit of the pack, and whether it holds now."""

    id: str
    name: str
    holder: str
    holds: bool


class Resolved(BaseModel):
    """What lies at a point."""

    codes: dict[str, str]
    names: dict[str, str]
    unit: str | None
    street_class: StreetClass | None
    component: Annotated[NearComponent | None, Field(description="The nearest one within 50 m.")]
    permits: Annotated[list[PermitView], Field(description="Permits for the class at the place.")]


@router.put(
    "/geo/{kind}",
    responses=refusals(401, 403, 413, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "additionalProperties": True, "title": "Collection"}
                }
            },
        }
    },
)
async def put_areas(
    kind: Kind, request: Request, core: CoreDep, who: Annotated[Principal, needs("geo.write")]
) -> Imported:
    """Replace the tenant's areas of one kind by a GeoJSON FeatureCollection (`properties.code`, `name`, `unit`)."""
    # As a parameter the body would be read and parsed before the guard, and on the event loop.
    return await run_in_threadpool(_import, kind, await request.body(), core, who)


def _import(kind: Kind, body: bytes, core: Core, who: Principal) -> Imported:
    try:
        collection = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise ApiError(422, "body: not valid JSON; send a GeoJSON FeatureCollection") from exc
    if not isinstance(collection, dict):
        raise ApiError(422, "type: send a GeoJSON FeatureCollection")
    with core.db.write() as session:
        count = import_areas(session, who.tenant, kind, collection)
        record(
            session, "geo", core.now(), f"user:{who.name}", "geo.imported", {"kind": kind, "features": count}
        )
    told = {str(f["properties"]["unit"]) for f in collection["features"] if f["properties"].get("unit")}
    return Imported(kind=kind, features=count, unknown_units=sorted(told - set(core.pack.units))[:20])


@router.get("/geo/{kind}", responses=refusals(401, 403, 422))
def get_areas(kind: Kind, core: CoreDep, who: Annotated[Principal, needs("geo.read")]) -> dict[str, Any]:
    """Return the areas of one kind as GeoJSON."""
    with core.db.read() as session:
        rows = session.scalars(
            select(Area).where(Area.kind == kind, who.sees(Area.tenant)).limit(20_000)
        ).all()
    features = [
        {
            "type": "Feature", "geometry": a.geometry,
            "properties": {"code": a.code, "name": a.name, "unit": a.unit, "tenant": a.tenant},
        }
        for a in rows
    ]  # fmt: skip
    return {"type": "FeatureCollection", "features": features}


@router.get("/resolve", responses=refusals(401, 403, 422))
def resolve(
    core: CoreDep, who: Annotated[Principal, needs("geo.read")],
    lon: Annotated[float, Query(ge=-180, le=180)], lat: Annotated[float, Query(ge=-90, le=90)],
    issue: IssueClass = IssueClass.PARKING_MOTOR, street_class: StreetClass = StreetClass.CONTROL,
) -> Resolved:  # fmt: skip
    """Say which cells cover a point, and which unit answers for a class there."""
    with core.db.read() as session:
        found = core.areas.locate(session, who.tenant, lon, lat)
    permits = core.pack.permits_at(issue, lon, lat, found.codes, core.now())
    street = found.street_class or street_class
    return Resolved(
        codes=found.codes, names=found.names, unit=responsible(core.pack, issue, street, found),
        street_class=found.street_class,
        component=NearComponent(**vars(found.component)) if found.component else None,
        permits=[PermitView(id=p.id, name=p.name, holder=p.holder, holds=h) for p, h in permits],
    )  # fmt: skip


class CodeView(BaseModel):
    """A code with the table that it belongs to."""

    pack: str
    version: str
    code: str


class Terms(BaseModel):
    """What the city's pack says of a case."""

    pack: str
    codes: Annotated[list[CodeView], Field(description="Those of the city's own numbering first.")]
    filing: str
    closing: str
    limit_amount: float
    limit_unit: str
    two_persons: bool
    auto_close: bool
    unit: str | None
    unit_zh: str
    unit_en: str
    street: str
    place: Resolved


@router.get("/cases/{case_id}/terms", responses=refusals(401, 403, 404, 422))
def terms(case_id: Identifier, who: Annotated[Principal, needs("case.read")], core: CoreDep) -> Terms:
    """Return codes, filing and closing conditions, limit, unit, place and permits of a case."""
    with core.db.read() as session:
        case = find(session, case_id, who)
        found = core.areas.locate(session, case.tenant, case.lon, case.lat)
    city, issue, street = core.pack, IssueClass(case.issue), StreetClass(case.street_class)
    told, limit, unit = city.issues[issue], city.limit(issue, street), city.units.get(case.unit or "")
    permits = city.permits_at(issue, case.lon, case.lat, found.codes, case.seen_at)
    place = Resolved(
        codes=found.codes, names=found.names, unit=case.unit, street_class=found.street_class,
        component=NearComponent(**vars(found.component)) if found.component else None,
        permits=[PermitView(id=p.id, name=p.name, holder=p.holder, holds=h) for p, h in permits],
    )  # fmt: skip
    return Terms(
        pack=f"{city.name}@{city.version}",
        codes=[CodeView(**c.model_dump()) for c in city.codes(issue)],
        filing=told.filing, closing=told.closing, limit_amount=limit.amount, limit_unit=limit.unit.value,
        two_persons=told.two_persons, auto_close=told.auto_close, unit=case.unit,
        unit_zh=unit.zh if unit else case.unit or "", unit_en=unit.en if unit else case.unit or "",
        street=city.street_classes[street].en, place=place,
    )  # fmt: skip
