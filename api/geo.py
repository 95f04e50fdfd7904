"""Distances on the ground between places with error ellipses. Metres, degrees, WGS-84."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

M_PER_DEG = 111_195.0  # one degree of a sphere of 6 371 km


@dataclass(frozen=True)
class Spot:
    """A place and its 95 % error ellipse: semi-axes in metres, bearing of the major axis in degrees from north."""

    lon: float
    lat: float
    major_m: float
    minor_m: float
    bearing_deg: float = 0.0

    @classmethod
    def of(cls, place: dict[str, Any]) -> Spot:
        """Read a stored `GeoPoint`."""
        error = place["error"]
        return cls(
            place["lon"], place["lat"], float(error["semi_major_m"]),
            float(error["semi_minor_m"]), float(error.get("bearing_deg", 0.0)),
        )  # fmt: skip


def offset_m(a: Spot, b: Spot) -> tuple[float, float]:
    """Return (east, north) metres from a to b on the local plane; good to 0.1 % within a city."""
    lon = (b.lon - a.lon + 180.0) % 360.0 - 180.0
    return lon * M_PER_DEG * math.cos(math.radians((a.lat + b.lat) / 2)), (b.lat - a.lat) * M_PER_DEG


def distance_m(a: Spot, b: Spot) -> float:
    """Return the distance in metres."""
    return math.hypot(*offset_m(a, b))


def normal_distance(a: Spot, b: Spot) -> float:
    """Return the Mahalanobis distance of the two centres under the sum of both covariances, in units in which
    1.0 is the 95 % boundary (a 95 % ellipse of a plane normal has semi-axes of 2.4477 sigma)."""
    east, north = offset_m(a, b)
    xx = xy = yy = 0.0
    for spot in (a, b):
        t = math.radians(90.0 - spot.bearing_deg)
        major, minor = spot.major_m**2, spot.minor_m**2
        c, s = math.cos(t), math.sin(t)
        xx += major * c * c + minor * s * s
        yy += major * s * s + minor * c * c
        xy += (major - minor) * c * s
    det = xx * yy - xy * xy
    return math.sqrt(max(0.0, (yy * east * east - 2 * xy * east * north + xx * north * north) / det))


def box_around(spot: Spot, radius_m: float) -> tuple[float, float, float, float]:
    """Return (min lon, min lat, max lon, max lat) of a square that holds the circle of `radius_m`."""
    dlat = radius_m / M_PER_DEG
    dlon = dlat / max(0.01, math.cos(math.radians(spot.lat)))
    return spot.lon - dlon, spot.lat - dlat, spot.lon + dlon, spot.lat + dlat
