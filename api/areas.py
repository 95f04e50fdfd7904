"""The city's polygons: import from GeoJSON, a point's cell and district, the responsible unit."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from shapely import STRtree
from shapely.errors import ShapelyError
from shapely.geometry import Point, box, shape
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.db import lock, next_number
from api.errors import ApiError
from api.geo import Spot, box_around, distance_m
from api.tables import Area, Counter
from contract import StreetClass, new_id

KINDS = ("grid", "district", "frontage", "street", "component")
MAX_FEATURES = 100_000
VERSION = "geo"
VERSION_NOW = select(Counter.value).where(Counter.name == VERSION)


# A lamp post or bin farther away does not help to find a place.
NEAR_M = 50.0


@dataclass(frozen=True)
class Component:
    """The nearest part of the city's furniture: a lamp post, a bin, a bus stop."""

    code: str
    name: str
    distance_m: float


@dataclass(frozen=True)
class Located:
    """What lies at a point: codes and names by kind, the unit of its grid cell or district, the street's class."""

    codes: dict[str, str]
    unit: str | None
    names: dict[str, str] = field(default_factory=dict)
    street_class: StreetClass | None = None
    component: Component | None = None


@dataclass(frozen=True)
class _Row:
    tenant: str
    kind: str
    code: str
    name: str
    unit: str | None
    street_class: str | None


@dataclass(frozen=True)
class _Trees:
    areas: Any
    rows: list[_Row]
    points: Any
    components: list[_Row]


class Areas:
    """A spatial index of all areas, rebuilt when another import (of any replica) has counted the version up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = -1
        self._trees = _Trees(STRtree([]), [], STRtree([]), [])

    def locate(
        self, session: Session, tenant: str, lon: float, lat: float, version: int | None = None
    ) -> Located:
        """Return what covers the point among the areas of the tenant and those above it; the smallest wins.

        `version` is the areas' present one, where it was asked already.
        """
        trees = self._current(session, version)
        found: dict[str, _Row] = {}
        # Rows are sorted large to small, so the last one to be set is the smallest.
        for i in sorted(trees.areas.query(Point(lon, lat), predicate="intersects")):
            row = trees.rows[int(i)]
            if tenant.startswith(row.tenant):
                found[row.kind] = row
        units = [found[k].unit for k in ("grid", "district") if k in found and found[k].unit]
        street = found["street"].street_class if "street" in found else None
        return Located(
            {k: r.code for k, r in found.items()}, units[0] if units else None, {k: r.name for k, r in found.items()},
            StreetClass(street) if street else None, _nearest(trees, tenant, lon, lat),
        )  # fmt: skip

    def _current(self, session: Session, version: int | None = None) -> _Trees:
        if version is None:
            version = session.scalar(VERSION_NOW) or 0
        with self._lock:
            if version != self._version:
                rows = [(shape(a.geometry), a) for a in session.scalars(select(Area))]
                areas = sorted((r for r in rows if r[1].kind != "component"), key=lambda r: -r[0].area)
                points = [r for r in rows if r[1].kind == "component"]
                self._trees = _Trees(
                    STRtree([g for g, _ in areas]), [_row(a) for _, a in areas],
                    STRtree([g for g, _ in points]), [_row(a) for _, a in points],
                )  # fmt: skip
                self._version = version
            return self._trees


def _row(area: Area) -> _Row:
    return _Row(area.tenant, area.kind, area.code, area.name, area.unit, area.street_class)


def _nearest(trees: _Trees, tenant: str, lon: float, lat: float) -> Component | None:
    here = Spot(lon, lat, 1.0, 1.0)
    best: Component | None = None
    for i in trees.points.query(box(*box_around(here, NEAR_M))):
        row, point = trees.components[int(i)], trees.points.geometries[int(i)]
        far = distance_m(here, Spot(point.x, point.y, 1.0, 1.0))
        if tenant.startswith(row.tenant) and far <= NEAR_M and (best is None or far < best.distance_m):
            best = Component(row.code, row.name, round(far, 1))
    return best


def import_areas(session: Session, tenant: str, kind: str, collection: dict[str, Any]) -> int:
    """Replace the tenant's areas of one kind by a GeoJSON FeatureCollection; return how many there are.

    A feature needs `properties.code`, a street its `street_class` too; `name` and `unit` are optional. Raises `ApiError` 422 that names the feature.
    """
    features = collection.get("features")
    if collection.get("type") != "FeatureCollection" or not isinstance(features, list):
        raise ApiError(422, "type: send a GeoJSON FeatureCollection")
    if len(features) > MAX_FEATURES:
        raise ApiError(422, f"features: at most {MAX_FEATURES} at once")
    wanted: set[str] = {"Point"} if kind == "component" else {"Polygon", "MultiPolygon"}
    rows, seen = [], set()
    for i, feature in enumerate(features):
        row = _area(feature, i, wanted) | {
            "street_class": _street_class(feature, i) if kind == "street" else None
        }
        if row["code"] in seen:
            raise ApiError(422, f"features[{i}].properties.code: {row['code']} is there twice")
        seen.add(row["code"])
        rows.append(row | {"id": new_id(), "tenant": tenant, "kind": kind})
    lock(session, ["areas"])
    session.execute(delete(Area).where(Area.tenant == tenant, Area.kind == kind))
    session.add_all(Area(**r) for r in rows)
    next_number(session, VERSION)
    return len(rows)


def _street_class(feature: Any, i: int) -> str:
    told = str(feature["properties"].get("street_class", ""))
    if told not in set(StreetClass):
        raise ApiError(422, f"features[{i}].properties.street_class: write {', '.join(StreetClass)}")
    return told


def _area(feature: Any, i: int, wanted: set[str]) -> dict[str, Any]:
    try:
        told, geometry = feature["properties"], feature["geometry"]
        code = str(told["code"]).strip()
        found = shape(geometry)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ShapelyError) as exc:
        raise ApiError(422, f"features[{i}]: needs a geometry and properties.code") from exc
    if found.geom_type not in wanted or found.is_empty:
        raise ApiError(422, f"features[{i}].geometry: must be {' or '.join(sorted(wanted))}")
    if not found.is_valid:
        raise ApiError(
            422, f"features[{i}].geometry: crosses itself; mend it with your editor's check of geometry"
        )
    west, south, east, north = found.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise ApiError(422, f"features[{i}].geometry: must be degrees, longitude before latitude (WGS-84)")
    if not 0 < len(code) <= 80:
        raise ApiError(422, f"features[{i}].properties.code: 1 to 80 characters")
    name, unit = str(told.get("name", code)), str(told.get("unit") or "")
    try:
        f"{code}{name}{unit}".encode()
    except UnicodeEncodeError as exc:
        raise ApiError(
            422, f"features[{i}].properties: holds half of a character (a lone surrogate)"
        ) from exc
    return {"code": code, "name": name[:200], "unit": unit[:80] or None, "geometry": geometry}
