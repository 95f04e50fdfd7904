"""Geometry of boxes x1, y1, x2, y2."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.detections import Floats


def iou(a: Floats, b: Floats) -> NDArray[np.float32]:
    """Return the IoU of every pair: (N, 4) and (M, 4) boxes give (N, M)."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inter = np.prod(np.clip(corner, 0, None), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9), np.float32)
