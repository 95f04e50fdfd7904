"""Boxes, polygons and the ground. Picture coordinates are shares of width and height, origin top left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from contract import ErrorEllipse, GeoPoint
from contract.datum import from_datum
from edge.zones import GroundConfig

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]

# Metres per degree of latitude on the WGS-84 ellipsoid at 45 degrees; the error within a camera's view is millimetres.
_M_PER_DEG = 111_132.0
# Square root of the 95 % quantile of the chi-squared distribution with two degrees of freedom.
# A common car; see `GroundPlane.centre`.
CAR_LENGTH_M, CAR_WIDTH_M = 4.5, 1.8
CHI_95 = 2.4477
# Points read off a map and a picture with care miss the plane by less than a metre.
MAX_RESIDUAL_M = 3.0


def lower_strip(box: Box, share: float = 0.1) -> Box:
    """Return the lowest part of a box, where a vehicle touches the ground."""
    x1, y1, x2, y2 = box
    return x1, y2 - share * (y2 - y1), x2, y2


def contact(box: Box) -> tuple[float, float]:
    """Return the bottom centre of a box."""
    return (box[0] + box[2]) / 2, box[3]


def share_of(box: Box, corners: Sequence[tuple[float, float]]) -> float:
    """Return how much of a box's area lies in the simple polygon of some corners, 0 to 1.

    The polygon is cut along the box's four sides, one after the other (Sutherland and Hodgman, "Reentrant polygon clipping",
    1974); where it is not convex, the pieces hang together by lines without area. For a few corners a fifth of the time that
    it takes to make geometries of both.
    """
    x1, y1, x2, y2 = box
    whole = (x2 - x1) * (y2 - y1)
    if whole <= 0:
        return 0.0
    left = corners
    for axis, limit, sign in ((0, x1, 1.0), (0, x2, -1.0), (1, y1, 1.0), (1, y2, -1.0)):
        left = _cut_off(left, axis, limit, sign)
        if len(left) < 3:
            return 0.0
    # Twice the area, counted from a corner near by: shares lose no digits.
    ox, oy = left[0]
    twice = 0.0
    for (ax, ay), (bx, by) in pairwise(left):
        twice += (ax - ox) * (by - oy) - (bx - ox) * (ay - oy)
    return min(1.0, abs(twice) / 2 / whole)


def _cut_off(
    corners: Sequence[tuple[float, float]], axis: int, limit: float, sign: float
) -> Sequence[tuple[float, float]]:
    """Return what of a polygon lies on the side of `limit` where `sign` times the coordinate grows."""
    beyond = [sign * (c[axis] - limit) for c in corners]
    if min(beyond) >= 0:
        return corners
    out: list[tuple[float, float]] = []
    before, d_before = corners[-1], beyond[-1]
    for corner, d in zip(corners, beyond, strict=True):
        if (d >= 0) != (d_before >= 0):
            t = d_before / (d_before - d)
            cross = before[1 - axis] + t * (corner[1 - axis] - before[1 - axis])
            out.append((limit, cross) if axis == 0 else (cross, limit))
        if d >= 0:
            out.append(corner)
        before, d_before = corner, d
    return out


def shared(a: Box, b: Box) -> float:
    """Return the area that two boxes share. Most pairs share none, and say so at their first sides; calls of `max` cost more than what they tell."""
    ax1, ay1, ax2, ay2 = a
    bx1, by1, bx2, by2 = b
    if ax1 >= bx2 or bx1 >= ax2 or ay1 >= by2 or by1 >= ay2:
        return 0.0
    wide = (ax2 if ax2 < bx2 else bx2) - (ax1 if ax1 > bx1 else bx1)
    return wide * ((ay2 if ay2 < by2 else by2) - (ay1 if ay1 > by1 else by1))


def iou(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    inter = shared(a, b)
    if not inter:
        return 0.0
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def covered(a: Box, b: Box) -> float:
    """Return how much of box `a` lies under box `b`, 0 to 1."""
    inter = shared(a, b)
    return inter / ((a[2] - a[0]) * (a[3] - a[1])) if inter else 0.0


def valid_box(box: Sequence[float]) -> bool:
    """True for four finite numbers that enclose some area inside the picture."""
    x1, y1, x2, y2 = box
    return (
        math.isfinite(x1 + y1 + x2 + y2)
        and x2 - x1 > 1e-4
        and y2 - y1 > 1e-4
        and x2 > 0
        and y2 > 0
        and x1 < 1
        and y1 < 1
    )


@dataclass(frozen=True)
class GroundPlane:
    """Homography from the picture to metres east and north of an origin.

    The error ellipse of a point is J S J' with J the Jacobian of the homography and S the contact point's covariance,
    plus the fit's residual and the map's error (Hartley and Zisserman, Multiple View Geometry, section 5.2.2).
    """

    matrix: Floats
    origin: tuple[float, float]
    residual_m: float
    pixel_error: float
    map_error_m: float

    @classmethod
    def fit(cls, config: GroundConfig) -> GroundPlane:
        """Fit the plane to the pairs by least squares.

        Raises:
            ValueError: the points lie on a line, or do not fit one plane.
        """
        points = [from_datum(p.lon, p.lat, config.datum) for p in config.pairs]
        origin = points[0]
        picture = np.array([p.picture for p in config.pairs], np.float64)
        metres = np.array([_metres(origin, *p) for p in points], np.float64)
        if np.linalg.matrix_rank(picture - picture.mean(0), 1e-3) < 2:
            raise ValueError("ground.pairs: the picture points lie on a line; spread them over the ground")
        matrix, _ = cv2.findHomography(picture, metres, 0)
        if matrix is None or not np.isfinite(matrix).all():
            raise ValueError(
                "ground.pairs: no plane fits the pairs; check that each picture point has its own map point"
            )
        plane = cls(np.asarray(matrix, np.float64), origin, 0.0, config.pixel_error, config.map_error_m)
        errors = np.array([plane.metres(*p) for p in picture]) - metres
        residual = float(np.sqrt((errors**2).sum(1).mean()))
        if not np.isfinite(residual) or residual > max(MAX_RESIDUAL_M, 4 * config.map_error_m):
            raise ValueError(
                f"ground.pairs: the points miss the plane by {residual:.1f} m on average; one of them is misplaced"
            )
        plane._check(picture)
        return cls(plane.matrix, origin, residual, config.pixel_error, config.map_error_m)

    def _check(self, picture: NDArray[np.float64]) -> None:
        """Look whether a camera above the ground can see it so: four pairs fit a plane exactly, whichever are exchanged.

        Raises:
            ValueError: points beyond the horizon, or a mirrored ground.
        """
        ways = np.array([[*p, 1.0] for p in picture]) @ self.matrix[2]
        below = float(self.matrix[2] @ np.array([0.5, 1.0, 1.0]))
        if (ways * below <= 0).any():
            raise ValueError(
                "ground.pairs: the horizon would lie between the points; check that no two map points are exchanged"
            )
        # Seen from above, east and north turn the other way than a picture's right and down do.
        if float(np.linalg.det(self.matrix)) * below > 0:
            raise ValueError(
                "ground.pairs: the ground would be seen from below; check that no two map points are exchanged, and that the camera does not mirror its picture"
            )

    def metres(self, x: float, y: float) -> tuple[float, float]:
        """Return metres east and north of the origin for a picture point."""
        a, b, w = self.matrix @ np.array([x, y, 1.0])
        return float(a / w), float(b / w)

    def on_ground(self, x: float, y: float) -> tuple[float, float] | None:
        """Return metres east and north of the origin; None above the horizon or beyond 2 km."""
        w = float(self.matrix[2] @ np.array([x, y, 1.0]))
        reference = float(self.matrix[2] @ np.array([0.5, 1.0, 1.0]))
        if w * reference <= 0:
            return None
        east, north = self.metres(x, y)
        return (east, north) if np.hypot(east, north) <= 2000 else None

    def place(self, x: float, y: float) -> GeoPoint | None:
        """Return the place of a contact point with its 95 % ellipse; None above the horizon or beyond 2 km."""
        point = self.on_ground(x, y)
        if point is None:
            return None
        return self._geo(point, self._covariance(self._jacobian(x, y, *point)))

    def centre(self, box: Box, vehicle: bool) -> GeoPoint | None:
        """Return the place of an object's middle with its 95 % ellipse; None where `place` gives None.

        The contact point is the side that this camera sees: a car that two cameras see from its two ends would stand
        4.5 m apart. The middle lies half the object's depth further along the line of sight. A vehicle's depth follows
        from how wide it looks on the ground (4.5 m from the side, 1.8 m from an end); anything else is as deep as wide.
        """
        x, y = contact(box)
        point, left, right = (
            self.on_ground(x, y),
            self.on_ground(box[0], box[3]),
            self.on_ground(box[2], box[3]),
        )
        if point is None or left is None or right is None:
            return self.place(x, y)
        wide = float(np.hypot(left[0] - right[0], left[1] - right[1]))
        if vehicle:
            half = float(np.interp(wide, (CAR_WIDTH_M, CAR_LENGTH_M), (CAR_LENGTH_M / 2, 1.2)))
            doubt = 0.5
        else:
            half = min(wide, 2.4) / 2
            doubt = half / 2
        jacobian = self._jacobian(x, y, *point)
        away = -jacobian[:, 1]
        away = away / max(float(np.hypot(*away)), 1e-9)
        middle = (point[0] + half * float(away[0]), point[1] + half * float(away[1]))
        return self._geo(middle, self._covariance(jacobian) + doubt**2 * np.outer(away, away))

    def _jacobian(self, x: float, y: float, east: float, north: float) -> Floats:
        h = self.matrix
        w = float(h[2] @ np.array([x, y, 1.0]))
        rows = [
            [h[0, 0] - east * h[2, 0], h[0, 1] - east * h[2, 1]],
            [h[1, 0] - north * h[2, 0], h[1, 1] - north * h[2, 1]],
        ]
        return np.array(rows, np.float64) / w

    def _covariance(self, jacobian: Floats) -> Floats:
        own = (self.residual_m**2 + self.map_error_m**2) * np.eye(2)
        return np.asarray(self.pixel_error**2 * jacobian @ jacobian.T + own, np.float64)

    def _geo(self, point: tuple[float, float], cov: Floats) -> GeoPoint:
        east, north = point
        values, vectors = np.linalg.eigh(cov)
        major, minor = CHI_95 * np.sqrt(values[1]), CHI_95 * np.sqrt(values[0])
        bearing = float(np.degrees(np.arctan2(vectors[0, 1], vectors[1, 1]))) % 180
        lon = self.origin[0] + east / (_M_PER_DEG * np.cos(np.radians(self.origin[1])))
        error = ErrorEllipse(
            semi_major_m=min(float(major), 20_000),
            semi_minor_m=min(float(minor), 20_000),
            bearing_deg=bearing % 180,
        )
        return GeoPoint(
            lon=float(lon), lat=self.origin[1] + north / _M_PER_DEG, error=error, source="homography"
        )


def _metres(origin: tuple[float, float], lon: float, lat: float) -> tuple[float, float]:
    return (lon - origin[0]) * _M_PER_DEG * float(np.cos(np.radians(origin[1]))), (
        lat - origin[1]
    ) * _M_PER_DEG


def ground_cell(point: GeoPoint, box: Box, camera_id: str) -> str:
    """Return the place's cell: 5 m on the ground, or a 16 x 16 grid of the picture where only the camera's point is known."""
    if point.source == "homography":
        step = 5.0 / _M_PER_DEG
        return f"g{round(point.lat / step)}_{round(point.lon * float(np.cos(np.radians(point.lat))) / step)}"
    x, y = contact(box)
    return f"{camera_id}:{int(x * 15.999)}_{int(min(y, 0.9999) * 15.999)}"
