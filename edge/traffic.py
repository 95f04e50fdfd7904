"""Vehicles that stand anywhere in the picture, to tell a jam or a signal queue from parking without a drawn lane.

Cars in a queue stop together and go together. Parked cars came one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.geometry import Box, contact, covered, iou

# Vehicles of a queue stop within this time of each other.
TOGETHER_S = 30.0
# A queue that stands longer is no longer believed.
LONGEST_JAM_S = 1800.0
# What stood already when the camera was first seen came at an unknown time.
WARM_UP_S = 5.0
MEMORY_S, PASSING_S = 20.0, 3.0
MAX_STANDING = 128


@dataclass
class Standing:
    """A vehicle at rest: where, since when, and whether it was seen to come."""

    box: Box
    since: float
    last: float
    came: bool
    hits: int = 1


class Traffic:
    """The standing vehicles of one camera."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._all: list[Standing] = []

    def observe(self, vehicles: Sequence[Box], mono_s: float) -> None:
        """Take the vehicles of one frame, boxes in shares of the picture."""
        self._began = mono_s if self._began is None else self._began
        came = mono_s - self._began > WARM_UP_S
        for box in vehicles:
            same = max(self._all, key=lambda s: iou(s.box, box), default=None)
            if same is None or iou(same.box, box) < 0.5:
                if len(self._all) < MAX_STANDING:
                    self._all.append(Standing(box, mono_s, mono_s, came))
            elif _rests(same.box, box):
                same.last, same.hits = mono_s, same.hits + 1
            else:
                same.box, same.since, same.last, same.came, same.hits = box, mono_s, mono_s, True, 1
        self._all = [s for s in self._all if mono_s - s.last <= (MEMORY_S if s.hits >= 3 else PASSING_S)]

    def beside(self, box: Box) -> list[Standing]:
        """Return the standing vehicles round a box, without its own."""
        x1, y1, x2, y2 = box
        width, height = x2 - x1, y2 - y1
        reach = (x1 - 2 * width, y1 - 1.5 * height, x2 + 2 * width, y2 + 1.5 * height)
        return [
            s for s in self._all if s.hits >= 3 and covered(s.box, reach) > 0.5 and covered(s.box, box) < 0.5
        ]

    def stopped_with(self, box: Box, since: float) -> int:
        """Return how many vehicles beside a box came and stopped at about the moment `since`, as a queue does."""
        return sum(s.came and abs(s.since - since) <= TOGETHER_S for s in self.beside(box))


def _rests(a: Box, b: Box) -> bool:
    (ax, ay), (bx, by) = contact(a), contact(b)
    return abs(ax - bx) <= 0.2 * (a[2] - a[0]) and abs(ay - by) <= 0.2 * (a[3] - a[1])
