"""Vehicles that stand anywhere in the picture, to tell a jam or a signal queue from parking without a drawn lane.

Cars in a queue stop together and go together. Parked cars came one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.boxes import FEW, array_of, ious
from edge.geometry import Box, contact, covered, iou

# Vehicles of a queue stop within this time of each other.
TOGETHER_S = 30.0
# A queue that stands longer is no longer believed.
LONGEST_JAM_S = 1800.0
# What stood already when the camera was first seen came at an unknown time.
WARM_UP_S = 5.0
MEMORY_S, PASSING_S = 60.0, 3.0
# The last of a queue stand for so long after the first have gone.
DISSOLVES_S = 20.0
MAX_STANDING = 128
LEFT_CHANCE = 0.001


@dataclass
class Standing:
    """A vehicle at rest: where, since when, and whether it was seen to come."""

    box: Box
    since: float
    last: float
    came: bool
    hits: int = 1
    looks: int = 1
    missed: int = 0
    again: deque[float] = field(default_factory=lambda: deque(maxlen=3))

    @property
    def left(self) -> bool:
        """True when the misses in a row say that it drove off. What comes next in its place may be another."""
        rate = (self.hits + 0.5) / (self.looks - self.missed + 2)
        return self.missed >= 3 and float((1 - rate) ** self.missed) < LEFT_CHANCE

    def stopped_about(self, moment: float) -> bool:
        """True when it, or another that was taken for it, came to rest at about a moment."""
        return any(abs(s - moment) <= TOGETHER_S for s in (self.since, *self.again))


class Traffic:
    """The standing vehicles of one camera."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._now = 0.0
        self._all: list[Standing] = []

    def observe(self, vehicles: Sequence[Box], mono_s: float) -> None:
        """Take the vehicles of one frame, boxes in shares of the picture."""
        self._now = mono_s
        self._began = mono_s if self._began is None else self._began
        came = mono_s - self._began > WARM_UP_S
        free = dict.fromkeys(range(len(vehicles)))
        known = sorted(self._overlapping(vehicles), reverse=True)
        taken: set[int] = set()
        for _, n, i in known:
            standing = self._all[n]
            if n in taken or i not in free or not _rests(standing.box, vehicles[i]):
                continue
            if standing.left:
                standing.again.append(mono_s)
            standing.last, standing.hits, standing.missed = mono_s, standing.hits + 1, 0
            taken.add(n)
            del free[i]
        for n, standing in enumerate(self._all):
            standing.looks += 1
            if n not in taken:
                standing.missed += not any(covered(standing.box, b) >= 0.3 for b in vehicles)
        # What lies on a standing vehicle's place and does not rest passes in front of it: it has no part in its time.
        self._all += [Standing(vehicles[i], mono_s, mono_s, came) for i in free][
            : MAX_STANDING - len(self._all)
        ]
        self._all = [s for s in self._all if mono_s - s.last <= (MEMORY_S if s.hits >= 3 else PASSING_S)]

    def _overlapping(self, vehicles: Sequence[Box]) -> list[tuple[float, int, int]]:
        """Return (IoU, index of the standing one, index of the vehicle) of all pairs that overlap by half or more."""
        if len(self._all) * len(vehicles) <= FEW * FEW:
            pairs = ((iou(s.box, b), n, i) for n, s in enumerate(self._all) for i, b in enumerate(vehicles))
            return [p for p in pairs if p[0] >= 0.5]
        table = ious(array_of([s.box for s in self._all]), array_of(vehicles))
        return [(float(table[n, i]), int(n), int(i)) for n, i in np.argwhere(table >= 0.5)]

    def beside(self, box: Box) -> list[Standing]:
        """Return the standing vehicles round a box, without its own."""
        reach = _reach(box)
        return [s for s in self._standing() if covered(s.box, reach) > 0.5 and covered(s.box, box) < 0.5]

    def _standing(self) -> list[Standing]:
        return [s for s in self._all if s.hits >= 3 and self._now - s.last <= DISSOLVES_S]

    def stopped_with(self, box: Box, since: float) -> int:
        """Return how many vehicles came and stopped at about the moment `since`, in one row with the box, as a queue does.

        From neighbour to neighbour: the first and the last of a queue have but one beside them.
        """
        # A queue moves up: what stands in this place now came after another that stopped with the rest.
        own = [m for s in self._standing() if iou(s.box, box) >= 0.5 for m in (s.since, *s.again)]
        row = [s for s in self._standing() if s.came and any(s.stopped_about(m) for m in (since, *own))]
        found: list[Standing] = []
        edge = [box]
        while edge:
            reach = _reach(edge.pop())
            new = [
                s
                for s in row
                if all(s is not f for f in found)
                and covered(s.box, reach) > 0.5
                and covered(s.box, box) < 0.5
            ]
            found += new
            edge += [s.box for s in new]
        return len(found)


def _reach(box: Box) -> Box:
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return x1 - 2 * width, y1 - 1.5 * height, x2 + 2 * width, y2 + 1.5 * height


def _rests(a: Box, b: Box) -> bool:
    (ax, ay), (bx, by) = contact(a), contact(b)
    return abs(ax - bx) <= 0.2 * (a[2] - a[0]) and abs(ay - by) <= 0.2 * (a[3] - a[1])
