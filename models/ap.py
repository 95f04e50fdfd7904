"""Average precision, precision and recall, calibration: pure functions over boxes, COCO style.

Sources: COCO's detection evaluation (ten IoU thresholds 0.50 to 0.95, best score first, each truth matched once);
101-point interpolation of the precision envelope. Expected calibration error: Guo et al., arXiv 1706.04599.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.boxes import iou
from models.detections import Floats, Ints

IOUS: Floats = np.linspace(0.5, 0.95, 10, dtype=np.float32)
_RECALLS = np.linspace(0, 1, 101)

Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judged:
    """One picture: detections, truth, and which detection hit at which IoU.

    Attributes:
        scores: float32 (N,); classes: int32 (N,); hits: bool (N, 10), one column an IoU of `IOUS`.
        truth: int32 (M,), classes of the true boxes.
    """

    scores: Floats
    classes: Ints
    hits: Hits
    truth: Ints


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Figures of one class. NaN where the truth has no box (AP, recall) or nothing was reported (precision)."""

    map50: float
    map50_95: float
    precision: float
    recall: float
    images: int
    boxes: int


def judge(boxes: Floats, scores: Floats, classes: Ints, true_boxes: Floats, true_classes: Ints) -> Judged:
    """Match one picture's detections (N, 4) with its truth (M, 4), both x1 y1 x2 y2 in the same unit."""
    order = np.argsort(-scores, kind="stable")
    scores, classes = scores[order], classes[order]
    overlaps = iou(boxes[order], true_boxes) * (classes[:, None] == true_classes[None, :])
    hits = np.zeros((len(scores), len(IOUS)), bool)
    if overlaps.size:
        rows = np.arange(len(IOUS))
        free = np.ones((len(IOUS), len(true_boxes)), bool)
        for i, row in enumerate(overlaps):
            if row.max() < IOUS[0]:
                continue
            offered = np.where(free & (row[None, :] >= IOUS[:, None]), row[None, :], -1.0)
            best = offered.argmax(1)
            hits[i] = offered[rows, best] > 0
            free[rows[hits[i]], best[hits[i]]] = False
    return Judged(scores, classes, hits, true_classes)


def average_precision(scores: Floats, hits: Hits, total: int) -> Floats:
    """Return AP at each IoU, float32 (10,): hits (N, 10) of all pictures, `total` true boxes; NaN where total is 0."""
    if total == 0:
        return np.full(len(IOUS), np.nan, np.float32)
    if len(scores) == 0:
        return np.zeros(len(IOUS), np.float32)
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hits[order], axis=0)
    recall = true / total
    precision = true / np.arange(1, len(order) + 1)[:, None]
    out = np.zeros(len(IOUS), np.float32)
    for k in range(len(IOUS)):
        # Precision falls to 0 at the last recall that was reached, not in a slope towards 1.
        ends = np.concatenate([[0.0], recall[:, k], [recall[-1, k]], [1.0]])
        envelope = np.concatenate([[1.0], precision[:, k], [0.0], [0.0]])
        envelope = np.maximum.accumulate(envelope[::-1])[::-1]
        out[k] = np.trapezoid(np.interp(_RECALLS, ends, envelope), _RECALLS)
    return out


def class_figures(judged: Sequence[Judged], kind: int, threshold: float) -> ClassFigures:
    """Figures of one class over all pictures; precision and recall at `threshold` and IoU 0.5."""
    scores, hits = gather(judged, kind)
    per_picture = [int((j.truth == kind).sum()) for j in judged]
    total = sum(per_picture)
    ap = average_precision(scores, hits, total)
    shown = scores >= threshold
    true = int(hits[shown, 0].sum())
    return ClassFigures(
        map50=float(ap[0]),
        map50_95=float(ap.mean()),
        precision=true / int(shown.sum()) if shown.any() else float("nan"),
        recall=true / total if total else float("nan"),
        images=sum(n > 0 for n in per_picture),
        boxes=total,
    )


def gather(judged: Sequence[Judged], kind: int) -> tuple[Floats, Hits]:
    """Return scores (N,) and hits (N, 10) of one class over all pictures."""
    picked = [(j.scores[j.classes == kind], j.hits[j.classes == kind]) for j in judged]
    scores = np.concatenate([p[0] for p in picked]) if picked else np.zeros(0, np.float32)
    hits = np.concatenate([p[1] for p in picked]) if picked else np.zeros((0, len(IOUS)), bool)
    return scores, hits


def calibration(scores: Floats, hits: Hits, bins: int = 10) -> tuple[float, list[dict[str, float]]]:
    """Return the expected calibration error and its bins: score's mean, share that hit at IoU 0.5, count.

    A score is calibrated when of the detections at 0.7 seven in ten are right. NaN without detections.
    """
    if len(scores) == 0:
        return float("nan"), []
    place = np.minimum((scores * bins).astype(int), bins - 1)
    error, rows = 0.0, []
    for b in range(bins):
        mine = place == b
        count = int(mine.sum())
        if count:
            mean, right = float(scores[mine].mean()), float(hits[mine, 0].mean())
            error += count / len(scores) * abs(mean - right)
            rows.append({"score": round(mean, 4), "right": round(right, 4), "count": count})
    return error, rows
