"""From raw network output to boxes in the letterboxed picture, vectorised, one function a family.

Every function takes the session's outputs for one batch and returns, per picture, boxes (N, 4) float32 x1 y1 x2 y2 in
input pixels, scores (N,) float32 and raw class channels (N,) int32, at or above the lowest threshold asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from models.bundle import Family

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Raw = tuple[Floats, Floats, Ints]
# OpenCV leaves scores below this out; the detector has done so by class.
_ANY = float(np.finfo(np.float32).min)


def decode_yolo(
    outputs: Sequence[Floats], lowest: float, channels: Ints, _size: tuple[int, int]
) -> list[Raw]:
    """YOLOv8/11: one output (B, 4 + classes, anchors), boxes as centre and size in input pixels."""
    out: list[Raw] = []
    for pred in outputs[0]:
        # Which class is best is asked only of the anchors that count.
        scores = _rows(pred[4:], channels)
        keep = np.flatnonzero(scores.max(0) >= lowest)
        some = scores[:, keep]
        best = some.argmax(0)
        x, y, w, h = pred[:4, keep]
        boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
        out.append((boxes, some[best, np.arange(len(keep))], channels[best]))
    return out


def _rows(scores: Floats, channels: Ints) -> Floats:
    """Return the rows of `channels`; without a copy where those are all of them, in order."""
    if np.array_equal(channels, np.arange(len(scores))):
        return scores
    return np.asarray(scores[channels], np.float32)


def decode_yolo_end2end(
    outputs: Sequence[Floats], lowest: float, channels: Ints, _size: tuple[int, int]
) -> list[Raw]:
    """YOLO26 and v10, NMS-free: one output (B, N, 6) of x1 y1 x2 y2 score class in input pixels."""
    out: list[Raw] = []
    for pred in outputs[0]:
        keep = (pred[:, 4] >= lowest) & np.isin(pred[:, 5].astype(np.int32), channels)
        out.append((pred[keep, :4], pred[keep, 4], pred[keep, 5].astype(np.int32)))
    return out


def decode_yolox(
    outputs: Sequence[Floats], lowest: float, channels: Ints, size: tuple[int, int]
) -> list[Raw]:
    """YOLOX: one output (B, anchors, 5 + classes) of grid offsets, log sizes, objectness, classes (arXiv 2107.08430)."""
    grids, strides = _yolox_grid(size)
    out: list[Raw] = []
    for pred in outputs[0]:
        scores = pred[:, 5:][:, channels] * pred[:, 4:5]
        best = scores.argmax(1)
        score = scores[np.arange(len(scores)), best]
        keep = np.flatnonzero(score >= lowest)
        centre = (pred[keep, :2] + grids[keep]) * strides[keep]
        half = np.exp(pred[keep, 2:4]) * strides[keep] / 2
        out.append((np.concatenate([centre - half, centre + half], 1), score[keep], channels[best[keep]]))
    return out


def _yolox_grid(size: tuple[int, int]) -> tuple[Floats, Floats]:
    width, height = size
    grids, strides = [], []
    for stride in (8, 16, 32):
        ys, xs = np.mgrid[: height // stride, : width // stride]
        grids.append(np.stack([xs, ys], 2).reshape(-1, 2))
        strides.append(np.full((grids[-1].shape[0], 1), stride))
    return np.concatenate(grids).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode_centernet(
    outputs: Sequence[Floats], lowest: float, channels: Ints, size: tuple[int, int]
) -> list[Raw]:
    """CenterNet: heat (B, classes, h, w) after the sigmoid, sides (B, 4, h, w) left top right bottom in input pixels.

    A peak is a 3 x 3 local maximum of its class (arXiv 1904.07850, section 3).
    """
    heat, sides = (outputs[0], outputs[1]) if outputs[0].shape[1] != 4 else (outputs[1], outputs[0])
    step = size[0] / heat.shape[3]
    out: list[Raw] = []
    kernel = np.ones((3, 3), np.uint8)
    for maps, wh in zip(heat, sides, strict=True):
        some = np.ascontiguousarray(maps[channels])
        hot = [i for i in range(len(some)) if some[i].max() >= lowest]
        rows: list[tuple[Floats, Floats, Ints]] = []
        for i in hot:
            peaks = (some[i] >= lowest) & (some[i] >= cv2.dilate(some[i], kernel))
            ys, xs = np.nonzero(peaks)
            left, top, right, bottom = wh[:, ys, xs]
            boxes = np.stack([xs * step - left, ys * step - top, xs * step + right, ys * step + bottom], 1)
            rows.append((boxes.astype(np.float32), some[i][ys, xs], np.full(len(xs), channels[i], np.int32)))
        if rows:
            out.append(
                (
                    np.concatenate([r[0] for r in rows]),
                    np.concatenate([r[1] for r in rows]),
                    np.concatenate([r[2] for r in rows]),
                )
            )
        else:
            out.append((np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)))
    return out


Decoder = Callable[[Sequence[Floats], float, Ints, tuple[int, int]], list[Raw]]
DECODERS: dict[Family, Decoder] = {
    Family.YOLO: decode_yolo,
    Family.YOLO_END2END: decode_yolo_end2end,
    Family.YOLOX: decode_yolox,
    Family.CENTERNET: decode_centernet,
}
NEEDS_NMS = {Family.YOLO: True, Family.YOLO_END2END: False, Family.YOLOX: True, Family.CENTERNET: True}


def nms(boxes: Floats, scores: Floats, groups: Ints, iou: float, most: int) -> NDArray[np.intp]:
    """Return the indices that survive non-maximum suppression inside each group, best score first, `most` at most.

    Greedy, as published: a box goes when its IoU with a better one of the same group exceeds `iou`. What is not finite or has
    no area goes, too: OpenCV, whose loop this is, would let two boxes without area suppress others.
    """
    sized = np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1) & np.isfinite(scores)
    own = np.flatnonzero(sized)
    if len(own) == 0:
        return own
    rects = boxes[own].astype(np.float64)
    rects[:, 2:] -= rects[:, :2]
    # OpenCV moves groups apart by the largest corner, from which a box outside would reach into the group before.
    rects[:, :2] -= rects[:, :2].min()
    # Of more than ten times what is kept, only the best are compared.
    kept = cv2.dnn.NMSBoxesBatched(rects, scores[own], groups[own], _ANY, iou, 1.0, 10 * most)  # type: ignore[arg-type]
    return own[np.asarray(kept, np.intp)[:most]]
