"""Coverage: how much of what is labelled a model marks, whatever the number of boxes.

A heap has no agreed outline: one label draws three boxes where a model draws one. Matching boxes one to one then counts
right answers as wrong, so areas are compared instead, on a raster of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.detections import Floats

RASTER = 256
"""Cells along each side of the picture."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Over pictures, each counting by its own share of area.

    Attributes:
        recall: share of the labelled area that detections cover.
        precision: share of the detections' area that is labelled.
        dice: 2 x common / (labelled + detected); NaN where there is neither.
        found: share of labelled boxes that detections together cover by half or more.
    """

    recall: float
    precision: float
    dice: float
    found: float


def raster(boxes: Floats, width: int, height: int) -> NDArray[np.bool_]:
    """Cells whose middle lies in one of `boxes` (N, 4), corners in pixels of a width x height picture."""
    cells = np.zeros((RASTER, RASTER), np.bool_)
    scale = np.array([RASTER / width, RASTER / height] * 2, np.float64)
    for x1, y1, x2, y2 in np.round(boxes * scale).astype(int):
        cells[max(y1, 0) : max(y2, y1 + 1), max(x1, 0) : max(x2, x1 + 1)] = True
    return cells


class CoverageCount:
    """Adds up one class over pictures."""

    def __init__(self) -> None:
        self._common = self._labelled = self._detected = 0
        self._found = self._boxes = 0

    def add(self, detected: Floats, labelled: Floats, size: tuple[int, int]) -> None:
        """Add a picture of `size` width, height; boxes (N, 4) corners in pixels."""
        seen, truth = raster(detected, *size), raster(labelled, *size)
        self._common += int((seen & truth).sum())
        self._labelled += int(truth.sum())
        self._detected += int(seen.sum())
        for box in labelled:
            cells = raster(box[None], *size)
            self._boxes += 1
            self._found += int((seen & cells).sum() * 2 >= cells.sum())

    def result(self) -> Coverage:
        """The figures so far."""
        return Coverage(
            recall=_ratio(self._common, self._labelled),
            precision=_ratio(self._common, self._detected),
            dice=_ratio(2 * self._common, self._labelled + self._detected),
            found=_ratio(self._found, self._boxes),
        )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
