"""One judged frame as the rules see it: objects with roles, in shares of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry import box as rectangle

from contract import ZoneKind
from edge.boxes import FEW, array_of, touching, without_twins
from edge.geometry import Box, Floats, contact, share_of, valid_box
from edge.left_objects import LeftObject
from edge.people import Track
from edge.ruler import Ruler
from edge.traffic import Traffic
from edge.zones import ZoneConfig
from models.detections import Detections
from models.roles import Role, role_of


class Thing(NamedTuple):
    """One detected object."""

    box: Box
    name: str
    role: Role
    score: float


def overlap(box: Box, shape: shapely.Geometry) -> float:
    """Return how much of a box's area lies in a shape, 0 to 1."""
    whole = rectangle(*box)
    return float(whole.intersection(shape).area / whole.area) if whole.area > 0 else 0.0


class ZoneShape:
    """A zone with its polygon ready for many questions."""

    def __init__(self, config: ZoneConfig) -> None:
        self.config = config
        self.polygon = Polygon(config.polygon)
        shapely.prepare(self.polygon)
        self.area, self._bounds = self.polygon.area, self.polygon.bounds

    @property
    def id(self) -> str:
        """The zone's id."""
        return self.config.id

    @property
    def kind(self) -> ZoneKind:
        """What the zone means."""
        return self.config.kind

    def share_of(self, box: Box) -> float:
        """Return how much of a box's area lies in the zone, 0 to 1."""
        x1, y1, x2, y2 = self._bounds
        if box[2] <= x1 or box[0] >= x2 or box[3] <= y1 or box[1] >= y2:
            return 0.0
        if len(self.config.polygon) <= FEW:
            return share_of(box, self.config.polygon)
        return overlap(box, self.polygon)

    def touched_by(self, box: Box) -> bool:
        """True when the bottom centre of a box lies in the zone or on its line."""
        x, y = contact(box)
        x1, y1, x2, y2 = self._bounds
        return x1 <= x <= x2 and y1 <= y <= y2 and bool(shapely.intersects_xy(self.polygon, x, y))


@dataclass(frozen=True, slots=True)
class Scene:
    """What one frame holds.

    Attributes:
        aspect: width over height of the picture.
        things: what the detector named.
        left: still things that it did not name.
        people, carriers: short tracks of persons, and of vehicles, with those that left lately.
        zones: all zones of the camera; `active` has the ids of those that hold at this moment.
        ruler, traffic: the view's measure, and the vehicles that stand in it.
        interval_s: seconds since the look before.
    """

    at: datetime
    mono_s: float
    aspect: float
    things: tuple[Thing, ...]
    left: tuple[LeftObject, ...] = ()
    people: tuple[Track, ...] = ()
    carriers: tuple[Track, ...] = ()
    grey: NDArray[np.uint8] | None = None
    zones: tuple[ZoneShape, ...] = ()
    active: frozenset[str] = frozenset()
    ruler: Ruler = field(default_factory=Ruler)
    traffic: Traffic = field(default_factory=Traffic)
    interval_s: float = 1.0
    _arrays: list[Floats] = field(default_factory=list, init=False, repr=False, compare=False)

    def zones_of(self, *kinds: ZoneKind, active: bool = True) -> list[ZoneShape]:
        """Return the zones of some kinds that hold at this moment, or those that do not."""
        return [z for z in self.zones if z.kind in kinds and (z.id in self.active) is active]

    def of(self, *roles: Role) -> list[Thing]:
        """Return the things of some roles."""
        return [t for t in self.things if t.role in roles]

    def touching(self, box: Box) -> list[Thing]:
        """Return the things whose boxes share some area with a box, in order; more than these may be returned."""
        if len(self.things) <= FEW:
            return list(self.things)
        if not self._arrays:
            self._arrays.append(array_of([t.box for t in self.things]))
        return [self.things[i] for i in touching(box, self._arrays[0])]


# Pixels of the judged picture. Below it a detector guesses: a bus on the horizon that touches a zone's far edge was
# taken for a parked car.
MIN_VEHICLE_PX = 12.0
_WITH_WHEELS: frozenset[Role] = frozenset({"vehicle", "non_motor"})


def things_of(
    detections: Detections, width: int, height: int, roles: Mapping[str, Role] | None = None
) -> tuple[list[Thing], int]:
    """Return the detections as things, and how many boxes were refused at the door (not finite, or without area)."""
    things, refused = [], 0
    rows = zip(
        detections.boxes.tolist(), detections.scores.tolist(), detections.classes.tolist(), strict=True
    )
    for (x1, y1, x2, y2), score, number in rows:
        box = (max(0.0, x1 / width), max(0.0, y1 / height), min(1.0, x2 / width), min(1.0, y2 / height))
        if not valid_box(box):
            refused += 1
            continue
        name = detections.names[number]
        role = role_of(name, roles)
        if role in _WITH_WHEELS and min(x2 - x1, y2 - y1) < MIN_VEHICLE_PX:
            continue
        things.append(Thing(box, name, role, score))
    return merge_twins(things), refused


def merge_twins(things: Sequence[Thing]) -> list[Thing]:
    """Keep the best of boxes of one role that lie on each other: a van is car and truck at once to a weak detector."""
    best = sorted(things, key=lambda t: -t.score)
    return [best[i] for i in without_twins([t.box for t in best], [t.role for t in best], 0.6)]
