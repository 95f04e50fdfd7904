"""Map datums of China. WGS-84 is what Curbwatch keeps; GCJ-02 and BD-09 exist at a map's edge alone.

GCJ-02 (maps by AMap, Tencent) shifts WGS-84 by up to 700 m inside China; BD-09 (Baidu) shifts GCJ-02 once more. The
formulas were never published by their owner; these are the ones in general use, first written down by the EvilTransform
project (https://github.com/googollee/eviltransform, 2013) and the same in coordtransform and proj4-based tools. The way
back is solved by iteration to well under a millimetre.
"""

from __future__ import annotations

import math
from typing import Literal

Datum = Literal["wgs84", "gcj02", "bd09"]
LonLat = tuple[float, float]

# Krasovsky 1940, on which GCJ-02 works: semi-major axis in metres, first eccentricity squared.
_A, _EE = 6_378_245.0, 0.00669342162296594323
_X_PI = math.pi * 3000.0 / 180.0
# Outside of this box the maps do not shift.
_WEST, _EAST, _SOUTH, _NORTH = 72.004, 137.8347, 0.8293, 55.8271


def to_datum(lon: float, lat: float, datum: Datum) -> LonLat:
    """Return a WGS-84 point, degrees, as a map of `datum` wants it."""
    if datum == "wgs84":
        return lon, lat
    gcj = _to_gcj02(lon, lat)
    return gcj if datum == "gcj02" else _gcj02_to_bd09(*gcj)


def from_datum(lon: float, lat: float, datum: Datum) -> LonLat:
    """Return a point that was read off a map of `datum`, degrees, in WGS-84."""
    if datum == "wgs84":
        return lon, lat
    x, y = lon, lat
    for _ in range(12):
        seen_x, seen_y = to_datum(x, y, datum)
        x, y = x + lon - seen_x, y + lat - seen_y
        if abs(lon - seen_x) + abs(lat - seen_y) < 1e-10:
            break
    return x, y


def _to_gcj02(lon: float, lat: float) -> LonLat:
    if not (_WEST <= lon <= _EAST and _SOUTH <= lat <= _NORTH):
        return lon, lat
    x, y = lon - 105.0, lat - 35.0
    root = math.sqrt(abs(x))
    waves = 20.0 * math.sin(6.0 * x * math.pi) + 20.0 * math.sin(2.0 * x * math.pi)
    d_lat = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root
    d_lat += (waves + 20.0 * math.sin(y * math.pi) + 40.0 * math.sin(y / 3.0 * math.pi)) * 2.0 / 3.0
    d_lat += (160.0 * math.sin(y / 12.0 * math.pi) + 320.0 * math.sin(y * math.pi / 30.0)) * 2.0 / 3.0
    d_lon = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root
    d_lon += (waves + 20.0 * math.sin(x * math.pi) + 40.0 * math.sin(x / 3.0 * math.pi)) * 2.0 / 3.0
    d_lon += (150.0 * math.sin(x / 12.0 * math.pi) + 300.0 * math.sin(x / 30.0 * math.pi)) * 2.0 / 3.0
    phi = math.radians(lat)
    magic = 1 - _EE * math.sin(phi) ** 2
    metres_lat = _A * (1 - _EE) / (magic * math.sqrt(magic))
    metres_lon = _A / math.sqrt(magic) * math.cos(phi)
    return lon + math.degrees(d_lon / metres_lon), lat + math.degrees(d_lat / metres_lat)


def _gcj02_to_bd09(lon: float, lat: float) -> LonLat:
    if not (_WEST <= lon <= _EAST and _SOUTH <= lat <= _NORTH):
        return lon, lat
    z = math.hypot(lon, lat) + 0.00002 * math.sin(lat * _X_PI)
    theta = math.atan2(lat, lon) + 0.000003 * math.cos(lon * _X_PI)
    return z * math.cos(theta) + 0.0065, z * math.sin(theta) + 0.006
