"""The city's polygons: import from GeoJSON, a point's cell and district, the responsible unit."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from shapely import STRtree
from shapely.errors import ShapelyError
from shapely.geometry import Point, shape
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.db import lock, next_number
from api.errors import ApiError
from api.tables import Area, Counter
from contract import new_id

KINDS = ("grid", "district", "frontage", "component")
MAX_FEATURES = 100_000
VERSION = "geo"


@dataclass(frozen=True)
class Located:
    """What lies at a point: code by kind, and the unit of its grid cell or district."""

    codes: dict[str, str]
    unit: str | None


@dataclass(frozen=True)
class _Tree:
    tree: Any
    rows: list[tuple[str, str, str, str | None]]


class Areas:
    """A spatial index of all areas, rebuilt when another import (of any replica) has counted the version up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = -1
        self._tree = _Tree(STRtree([]), [])

    def locate(self, session: Session, tenant: str, lon: float, lat: float) -> Located:
        """Return what covers the point among the areas of the tenant and those above it; the smallest wins."""
        tree = self._current(session)
        codes: dict[str, tuple[str, str | None]] = {}
        for i in tree.tree.query(Point(lon, lat), predicate="intersects"):
            owner, kind, code, unit = tree.rows[int(i)]
            # Rows are sorted large to small, so the last one to be set is the smallest.
            if tenant.startswith(owner):
                codes[kind] = (code, unit)
        units = [codes[k][1] for k in ("grid", "district") if k in codes and codes[k][1]]
        return Located({k: v[0] for k, v in codes.items()}, units[0] if units else None)

    def _current(self, session: Session) -> _Tree:
        version = session.scalar(select(Counter.value).where(Counter.name == VERSION)) or 0
        with self._lock:
            if version != self._version:
                rows = [
                    (shape(a.geometry), a)
                    for a in session.scalars(select(Area).where(Area.kind != "component"))
                ]
                rows.sort(key=lambda r: -r[0].area)
                told = [(a.tenant, a.kind, a.code, a.unit) for _, a in rows]
                self._tree, self._version = _Tree(STRtree([g for g, _ in rows]), told), version
            return self._tree


def import_areas(session: Session, tenant: str, kind: str, collection: dict[str, Any]) -> int:
    """Replace the tenant's areas of one kind by a GeoJSON FeatureCollection; return how many there are.

    A feature needs `properties.code`; `name` and `unit` are optional. Raises `ApiError` 422 that names the feature.
    """
    features = collection.get("features")
    if collection.get("type") != "FeatureCollection" or not isinstance(features, list):
        raise ApiError(422, "type: send a GeoJSON FeatureCollection")
    if len(features) > MAX_FEATURES:
        raise ApiError(422, f"features: at most {MAX_FEATURES} at once")
    wanted = {"Point"} if kind == "component" else {"Polygon", "MultiPolygon"}
    rows, seen = [], set()
    for i, feature in enumerate(features):
        row = _area(feature, i, wanted)
        if row["code"] in seen:
            raise ApiError(422, f"features[{i}].properties.code: {row['code']} is there twice")
        seen.add(row["code"])
        rows.append(row | {"id": new_id(), "tenant": tenant, "kind": kind})
    lock(session, ["areas"])
    session.execute(delete(Area).where(Area.tenant == tenant, Area.kind == kind))
    session.add_all(Area(**r) for r in rows)
    next_number(session, VERSION)
    return len(rows)


def _area(feature: Any, i: int, wanted: set[str]) -> dict[str, Any]:
    try:
        told, geometry = feature["properties"], feature["geometry"]
        code = str(told["code"]).strip()
        found = shape(geometry)
    except (KeyError, TypeError, ValueError, AttributeError, ShapelyError) as exc:
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
    unit = told.get("unit")
    return {
        "code": code, "name": str(told.get("name", code))[:200], "unit": str(unit)[:80] if unit else None,
        "geometry": geometry,
    }  # fmt: skip
