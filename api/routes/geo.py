"""The city's geography."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel
from sqlalchemy import select

from api.access import Principal, needs
from api.areas import import_areas
from api.audit import record
from api.core import CoreDep
from api.errors import refusals
from api.locating import responsible
from api.tables import Area
from contract import IssueClass, StreetClass

router = APIRouter(tags=["geography"])
Kind = Literal["grid", "district", "frontage", "component"]


class Imported(BaseModel):
    """How many areas there are now."""

    kind: Kind
    features: int


class Resolved(BaseModel):
    """What lies at a point."""

    codes: dict[str, str]
    unit: str | None


@router.put("/geo/{kind}", responses=refusals(401, 403, 413, 422))
def put_areas(
    kind: Kind, collection: Annotated[dict[str, Any], Body()], core: CoreDep,
    who: Annotated[Principal, needs("geo.write")],
) -> Imported:  # fmt: skip
    """Replace the tenant's areas of one kind by a GeoJSON FeatureCollection (`properties.code`, `name`, `unit`)."""
    with core.db.write() as session:
        count = import_areas(session, who.tenant, kind, collection)
        record(
            session, "geo", core.now(), f"user:{who.name}", "geo.imported", {"kind": kind, "features": count}
        )
    return Imported(kind=kind, features=count)


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
    return Resolved(codes=found.codes, unit=responsible(core.pack, issue, street_class, found))
