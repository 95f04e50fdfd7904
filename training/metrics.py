"""Average precision of boxes, for the curve while training. The figures of a card come from `models/` on the ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.dataset_items import Floats, Ints, iou_matrix


@dataclass(frozen=True)
class Boxes:
    """Boxes of one picture: corners (N, 4), scores (N,), classes (N,); scores are ones for the truth."""

    corners: Floats
    scores: Floats
    classes: Ints


def match(predicted: Boxes, truth: Boxes, name: int, iou: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores of one class in falling order, and which of them hit a box of the truth that was still free."""
    mine = np.flatnonzero(predicted.classes == name)
    mine = mine[np.argsort(-predicted.scores[mine], kind="stable")]
    theirs = truth.corners[truth.classes == name]
    hit = np.zeros(len(mine), bool)
    overlaps = iou_matrix(predicted.corners[mine], theirs)
    free = np.ones(len(theirs), bool)
    for row, values in enumerate(overlaps):
        best = np.where(free, values, -1.0)
        if best.size and best.max() >= iou:
            free[best.argmax()] = False
            hit[row] = True
    return predicted.scores[mine], hit


def average_precision(scores: Floats, hit: NDArray[np.bool_], total: int) -> float:
    """Area under the precision envelope, all points. NaN where the truth has no box."""
    if total == 0:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hit[order])
    recall = np.concatenate([[0.0], true / total])
    precision = np.concatenate([[1.0], true / np.arange(1, len(order) + 1)])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def ap_by_class(
    predicted: Sequence[Boxes], truth: Sequence[Boxes], classes: Sequence[int], iou: float = 0.5
) -> dict[int, float]:
    """AP at one IoU for each class over all pictures."""
    result = {}
    for name in classes:
        pairs = [match(p, t, name, iou) for p, t in zip(predicted, truth, strict=True)]
        scores = np.concatenate([p[0] for p in pairs]) if pairs else np.zeros(0, np.float32)
        hit = np.concatenate([p[1] for p in pairs]) if pairs else np.zeros(0, bool)
        total = sum(int((t.classes == name).sum()) for t in truth)
        result[name] = average_precision(scores, hit, total)
    return result
