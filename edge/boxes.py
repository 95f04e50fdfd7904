"""Many boxes at once: which of them touch, and by how much. The same numbers as `iou` and `covered` of `edge.geometry`.

A frame of a few boxes is faster without arrays, so callers hand over lists, and arrays are made where they pay.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.geometry import Box, iou

Floats = NDArray[np.float64]
# Below so many boxes a loop is faster than arrays; far more where only those of one group are compared.
FEW, FEW_OF_ALL_GROUPS = 12, 48


def array_of(boxes: Sequence[Box]) -> Floats:
    """Return boxes as float64 (N, 4)."""
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def touching(box: Box, boxes: Floats) -> NDArray[np.intp]:
    """Return the indices of the boxes of (N, 4) that share some area with a box, in order."""
    x1, y1, x2, y2 = box
    hit = (boxes[:, 0] < x2) & (boxes[:, 2] > x1) & (boxes[:, 1] < y2) & (boxes[:, 3] > y1)
    return np.flatnonzero(hit)


def _shared(a: Floats, b: Floats) -> Floats:
    w = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    h = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.asarray(np.where((w > 0) & (h > 0), w * h, 0.0))


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def ious(a: Floats, b: Floats) -> Floats:
    """Return intersection over union of each of (N, 4) with each of (M, 4): (N, M)."""
    inter = _shared(a, b)
    return np.asarray(inter / (_areas(a)[:, None] + _areas(b)[None, :] - inter))


def coverings(a: Floats, b: Floats) -> Floats:
    """Return how much of each of (N, 4) lies under each of (M, 4), 0 to 1: (N, M)."""
    return np.asarray(_shared(a, b) / _areas(a)[:, None])


def without_twins(boxes: Sequence[Box], groups: Sequence[Hashable], limit: float) -> list[int]:
    """Return the indices, in order, of the boxes that no kept box of their group before them covers by an IoU above `limit`."""
    if len(boxes) <= FEW_OF_ALL_GROUPS:
        kept: list[int] = []
        for i, box in enumerate(boxes):
            group = groups[i]
            for k in kept:
                if groups[k] == group and iou(box, boxes[k]) > limit:
                    break
            else:
                kept.append(i)
        return kept
    arr = array_of(boxes)
    number = {g: n for n, g in enumerate(dict.fromkeys(groups))}
    of = np.array([number[g] for g in groups])
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            near = touching(boxes[i], arr)
            near = near[(near > i) & (of[near] == of[i])]
            if len(near):
                alive[near[ious(arr[i : i + 1], arr[near])[0] > limit]] = False
    return [int(i) for i in np.flatnonzero(alive)]
