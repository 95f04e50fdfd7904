"""What an engineer has given the centre before the first case: the city's map, and the zones of each camera as they are drawn."""

from __future__ import annotations

import math
from typing import Any

import httpx

from curbwatch.demo.box import DEMO_PLACE, DEMO_ZONES, STREET_PLACE
from curbwatch.demo.street import STREET_ZONES

CELL_M, CELLS = 100, 6  # RULES.md: unit cells of 10 000 m²
M_PER_DEG = 111320.0
SETUPS = {"yard-cam": DEMO_ZONES, "street-cam": STREET_ZONES}


def _square(lon: float, lat: float, dx: float, dy: float) -> dict[str, Any]:
    ring = [[lon, lat], [lon + dx, lat], [lon + dx, lat + dy], [lon, lat + dy], [lon, lat]]
    return {"type": "Polygon", "coordinates": [ring]}


def _areas(features: list[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    made = [
        {"type": "Feature", "properties": {"code": code, "name": name}, "geometry": geometry}
        for code, name, geometry in features
    ]
    return {"type": "FeatureCollection", "features": made}


def areas() -> dict[str, dict[str, Any]]:
    """Return a made district and its unit cells round the demo's two cameras, as GeoJSON by kind (WGS-84)."""
    lon = (float(DEMO_PLACE["lon"]) + float(STREET_PLACE["lon"])) / 2
    lat = (float(DEMO_PLACE["lat"]) + float(STREET_PLACE["lat"])) / 2
    dy = CELL_M / M_PER_DEG
    dx = dy / math.cos(math.radians(lat))
    west, south = lon - dx * CELLS / 2, lat - dy * CELLS / 2
    cells = [
        (f"grid-{row + 1}{column + 1}", "", _square(west + column * dx, south + row * dy, dx, dy))
        for row in range(CELLS)
        for column in range(CELLS)
    ]
    whole = ("demo", "Demo district", _square(west, south, dx * CELLS, dy * CELLS))
    return {"district": _areas([whole]), "grid": _areas(cells)}


def give_map(http: httpx.Client) -> None:
    """Give the centre the district and its cells. Raises `httpx.HTTPStatusError` when it refuses."""
    for kind, collection in areas().items():
        http.put(f"/geo/{kind}", json=collection).raise_for_status()


def give_zones(http: httpx.Client) -> bool:
    """Save each known camera's zones as its first setup; False while one of them has not been heard of."""
    known = {c["id"] for c in http.get("/cameras").raise_for_status().json()}
    for camera, zones in SETUPS.items():
        if camera in known and http.get(f"/cameras/{camera}/setup").json()["version"] == 0:
            told = {"setup": {"zones": zones}, "note": "the zones of the box's own file"}
            http.put(f"/cameras/{camera}/setup", json=told).raise_for_status()
    return known >= set(SETUPS)
