"""The one value that a detector returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects in one picture.

    Attributes:
        boxes: float32 (N, 4), x1, y1, x2, y2 in pixels of the picture, origin top left.
        scores: float32 (N,), 0 to 1.
        classes: int32 (N,), index into `names`.
        names: class names of the model.

    Raises:
        ValueError: shapes that do not fit each other, values that are not finite, boxes without area.
    """

    boxes: Floats
    scores: Floats
    classes: Ints
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 4) or self.classes.shape != (n,):
            raise ValueError(
                f"shapes do not fit: boxes {self.boxes.shape}, scores ({n},), classes {self.classes.shape}"
            )
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise ValueError("boxes and scores must be finite numbers")
        if n and (
            (self.boxes[:, 2:] <= self.boxes[:, :2]).any()
            or self.classes.max() >= len(self.names)
            or self.classes.min() < 0
        ):
            raise ValueError("a box without area, or a class without a name")

    @classmethod
    def empty(cls, names: tuple[str, ...] = ()) -> Detections:
        """Return no objects."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), names)

    @classmethod
    def clean(cls, boxes: Floats, scores: Floats, classes: Ints, names: tuple[str, ...]) -> Detections:
        """Make detections of raw output: rows that are not finite or have no area are left out."""
        good = (
            np.isfinite(boxes).all(1)
            & np.isfinite(scores)
            & (boxes[:, 2] - boxes[:, 0] > 0.5)
            & (boxes[:, 3] - boxes[:, 1] > 0.5)
        )
        return cls(
            boxes[good].astype(np.float32),
            scores[good].astype(np.float32),
            classes[good].astype(np.int32),
            names,
        )

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, mask: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Return the rows of a boolean mask or of indices."""
        return Detections(self.boxes[mask], self.scores[mask], self.classes[mask], self.names)

    def name_of(self, i: int) -> str:
        """Return the class name of row `i`."""
        return self.names[int(self.classes[i])]
