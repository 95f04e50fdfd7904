"""Lengths and areas in metres: by the ground plane where there is one, otherwise by the people who were seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.geometry import Box, Floats, GroundPlane, contact
from edge.medians import median

# Mean stature of adults, metres; a person's box is about as high (NCD-RisC, "A century of trends in adult human height",
# 2016, gives 1.59 m for women and 1.71 m for men world-wide).
PERSON_M = 1.65
# Fewer people than these say nothing of a view.
ENOUGH_PEOPLE = 12
MAX_PEOPLE = 400
# The line is drawn anew once so many of a hundred measures are new.
NEW_PERCENT = 5
# A low sports car is 1.1 m high, a double-decker 4.5 m.
LOWEST_VEHICLE, HIGHEST_VEHICLE = 0.65, 2.8


class Ruler:
    """Measures one view. Boxes are shares of the picture; `aspect` is width over height of the picture."""

    def __init__(self, plane: GroundPlane | None = None) -> None:
        self._plane = plane
        # Rows of feet and heights of the last people, in no order, and how many were ever seen.
        self._people, self._count = np.empty((MAX_PEOPLE, 2)), 0
        # Slope and middle of the fit and the usual height; made when somebody asks, not with every look.
        self._line: tuple[float, float, float] | None = None
        self._new = 0

    @property
    def has_plane(self) -> bool:
        """True when the ground is known."""
        return self._plane is not None

    def observe(self, people: Sequence[Box]) -> None:
        """Learn how high people stand in this view, row by row. Cut-off boxes are left out."""
        whole = [(b[3], b[3] - b[1]) for b in people if b[1] > 0.005 and b[3] < 0.995]
        for person in whole[-MAX_PEOPLE:]:
            self._people[self._count % MAX_PEOPLE] = person
            self._count += 1
        self._new += len(whole)

    def person_height(self, y: float) -> float | None:
        """Return the height of a person whose feet are at row `y`, as a share of the picture; None when not known."""
        known = min(self._count, MAX_PEOPLE)
        if 100 * self._new > NEW_PERCENT * known and known >= ENOUGH_PEOPLE:
            seen = self._people[:known]
            self._line = (*_fit(seen), median(seen[:, 1]))
            self._new = 0
        if self._line is None:
            return None
        slope, middle, usual = self._line
        return min(max(middle + slope * y, 0.25 * usual), 4 * usual)

    def distance_m(self, a: Box, b: Box, aspect: float) -> float | None:
        """Return metres between the contacts of two boxes on the ground; None when the view has no measure."""
        (ax, ay), (bx, by) = contact(a), contact(b)
        if self._plane is not None:
            p, q = self._plane.on_ground(ax, ay), self._plane.on_ground(bx, by)
            return None if p is None or q is None else float(np.hypot(p[0] - q[0], p[1] - q[1]))
        height = self.person_height((ay + by) / 2)
        if height is None:
            return None
        return float(np.hypot((ax - bx) * aspect, ay - by)) / height * PERSON_M

    def area_m2(self, box: Box, aspect: float) -> float | None:
        """Return the area that a box shows upright, in square metres; None when the view has no measure."""
        width, height = (box[2] - box[0]) * aspect, box[3] - box[1]
        scale = self._metres_a_share(box, aspect)
        return None if scale is None else width * height * scale * scale

    def plausible_vehicle(self, box: Box) -> bool:
        """False for a box that is far too low or too high for a vehicle where it stands. True while people give no measure."""
        person = self.person_height(box[3])
        cut = box[1] <= 0.005 or box[3] >= 0.995 or box[0] <= 0.005 or box[2] >= 0.995
        if person is None or cut:
            return True
        return LOWEST_VEHICLE <= (box[3] - box[1]) / person <= HIGHEST_VEHICLE

    def _metres_a_share(self, box: Box, aspect: float) -> float | None:
        """Return metres a share of the picture's height, upright at the box's contact."""
        if self._plane is not None:
            x1, _, x2, y2 = box
            p, q = self._plane.on_ground(x1, y2), self._plane.on_ground(x2, y2)
            if p is None or q is None:
                return None
            return float(np.hypot(p[0] - q[0], p[1] - q[1])) / max((x2 - x1) * aspect, 1e-6)
        height = self.person_height(box[3])
        return None if height is None else PERSON_M / height


def _fit(seen: Floats) -> tuple[float, float]:
    """Fit height = middle + slope x row; people at one row alone give a constant. Outliers count once, then no more."""
    rows, heights = seen[:, 0], seen[:, 1]
    ordered = np.sort(rows)
    if _quantile(ordered, 0.9) - _quantile(ordered, 0.1) < 0.08:
        return 0.0, median(heights)
    keep = np.ones(len(rows), bool)
    slope, middle = 0.0, 0.0
    for _ in range(3):
        slope, middle = _line_through(rows[keep], heights[keep])
        off = np.abs(heights - (middle + slope * rows))
        keep = off <= max(2.0 * median(off), 1e-3)
    return slope, middle


def _line_through(x: Floats, y: Floats) -> tuple[float, float]:
    """Least squares in closed form: a tenth of the time that a general solver takes for two numbers."""
    x0, y0 = float(x.sum()) / len(x), float(y.sum()) / len(y)
    off = x - x0
    slope = float(off @ (y - y0)) / max(float(off @ off), 1e-12)
    return slope, y0 - slope * x0


def _quantile(ordered: Floats, share: float) -> float:
    """Return the value that `share` of some ordered ones do not exceed, interpolated as numpy does."""
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (place - below) * (high - low)
