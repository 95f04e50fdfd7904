"""A teacher that is an ultralytics checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.classes import street_of_coco
from training.teacher import TeacherBoxes
from training.torchvision_ops import ensure

ensure()


class UltralyticsTeacher:
    """A COCO checkpoint, its names folded into the street classes. Pictures are RGB uint8 of any size."""

    def __init__(self, weights: Path, classes: Sequence[str], size: int = 640, conf: float = 0.2) -> None:
        from ultralytics import YOLO

        self._model, self._size, self._conf = YOLO(str(weights)), size, conf
        fold = street_of_coco()
        names = self._model.names
        self._table = np.array(
            [
                classes.index(fold[names[i]]) if fold.get(names[i]) in classes else -1
                for i in range(len(names))
            ]
        )
        self.names = frozenset(classes[i] for i in self._table if i >= 0)

    def label(self, picture: NDArray[np.uint8]) -> TeacherBoxes:
        bgr = np.ascontiguousarray(picture[..., ::-1])
        found = self._model.predict(bgr, imgsz=self._size, conf=self._conf, verbose=False)[0].boxes
        ours = self._table[found.cls.int().numpy()]
        keep = ours >= 0
        return TeacherBoxes(
            found.xyxyn.numpy()[keep].astype(np.float32),
            found.conf.numpy()[keep].astype(np.float32),
            ours[keep].astype(np.int32),
        )
