"""What two models saw in one picture, told apart by class and place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contract.fleet import SHADOW_CLASSES
from models.boxes import iou
from models.detections import Detections, Floats

SAME_IOU = 0.5
# Classes beyond the report's bound are counted together.
OTHER = "other"
Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Objects of one picture.

    Attributes:
        boxes: float32 (N, 4), x1, y1, x2, y2 as shares of the picture's width and height.
        names: class name of each, N of them.
    """

    boxes: Floats
    names: tuple[str, ...]


def seen_of(found: Detections, width: int, height: int) -> Seen:
    """Return a detector's answer on a picture of `width` x `height` pixels, free of its size."""
    scale = np.array([width, height, width, height], np.float32)
    return Seen(
        np.asarray(found.boxes / scale, np.float32), tuple(found.name_of(i) for i in range(len(found)))
    )


def compare(champion: Seen, candidate: Seen) -> dict[str, Triple]:
    """Return by class: seen by both, by the champion alone, by the candidate alone.

    Two boxes of one class are one object from an IoU of 0.5 on; the closest pairs find each other first, each box once.
    """
    out: dict[str, Triple] = {}
    for name in dict.fromkeys((*champion.names, *candidate.names)):
        a, b = (s.boxes[[n == name for n in s.names]] for s in (champion, candidate))
        both = _pairs(a, b)
        out[name] = (both, len(a) - both, len(b) - both)
    return out


def _pairs(a: Floats, b: Floats) -> int:
    if not len(a) or not len(b):
        return 0
    overlaps, found = iou(a, b), 0
    while (best := int(overlaps.argmax())) >= 0 and overlaps.flat[best] >= SAME_IOU:
        row, column = divmod(best, overlaps.shape[1])
        overlaps[row, :], overlaps[:, column] = -1.0, -1.0
        found += 1
    return found


def add_up(total: Mapping[str, Triple], more: Mapping[str, Triple]) -> dict[str, Triple]:
    """Return the sums by class, at most `SHADOW_CLASSES` of them."""
    out = dict(total)
    for name, counts in more.items():
        key = name if name in out or len(out) < SHADOW_CLASSES - 1 else OTHER
        was = out.get(key, (0, 0, 0))
        out[key] = (was[0] + counts[0], was[1] + counts[1], was[2] + counts[2])
    return out
