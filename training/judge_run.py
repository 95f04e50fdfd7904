"""Both models look at the frozen test set through `models/`: the same code that runs on the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from training.augment import Picture
from training.dataset import Dataset
from training.dataset_items import Item, to_corners
from training.fit_data import read_picture
from training.gate import Judged
from training.metrics import Boxes

NIGHT_LUMA = 60.0
"""Mean brightness (0–255) below which a picture counts as night."""


class Detects(Protocol):
    """What `models.detector.Detector` offers."""

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]: ...


def boxes_of(detections: Any, classes: Sequence[str]) -> Boxes:
    """`models` detections in the numbering of `classes`; other classes fall away."""
    index = {n: i for i, n in enumerate(classes)}
    table = np.array([index.get(n, -1) for n in detections.names], np.int32)
    ours = table[detections.classes] if len(detections.classes) else np.zeros(0, np.int32)
    keep = ours >= 0
    return Boxes(detections.boxes[keep], detections.scores[keep], ours[keep])


def slices_of(item: Item, picture: Picture) -> frozenset[str]:
    """`day` or `night` by the picture's brightness, and `camera:<id>` where it is known."""
    night = float(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).mean()) < NIGHT_LUMA
    parts = {"night" if night else "day"}
    if camera := item.notes.get("camera_id"):
        parts.add(f"camera:{camera}")
    return frozenset(parts)


def truth_of(item: Item, picture: Picture) -> Boxes:
    """The labels as corner boxes in pixels of the picture."""
    height, width = picture.shape[:2]
    corners = to_corners(item.boxes) * np.array([width, height, width, height], np.float32)
    return Boxes(corners.astype(np.float32), np.ones(len(item.classes), np.float32), item.classes)


def look(
    dataset: Dataset,
    split: str,
    candidate: Detects,
    champion: Detects,
    tick: Callable[[], None] = lambda: None,
) -> list[Judged]:
    """Every picture of the split, seen by both."""
    index = {n: i for i, n in enumerate(dataset.classes)}
    judged = []
    for item in dataset.of(split):
        picture = read_picture(item)
        judged.append(
            Judged(
                truth=truth_of(item, picture),
                candidate=boxes_of(candidate.detect([picture])[0], dataset.classes),
                champion=boxes_of(champion.detect([picture])[0], dataset.classes),
                scene=item.group or str(item.path),
                known=frozenset(index[n] for n in item.known if n in index),
                slices=slices_of(item, picture),
                name=str(item.path),
            )
        )
        tick()
    return judged


def look_once(dataset: Dataset, split: str, detector: Detects) -> list[tuple[Boxes, Boxes]]:
    """What one model sees in every picture of the split, and the labels; only classes whose labels are complete."""
    seen = []
    for item in dataset.of(split):
        picture = read_picture(item)
        known = np.array([n in item.known for n in dataset.classes], bool)
        pair = (boxes_of(detector.detect([picture])[0], dataset.classes), truth_of(item, picture))
        kept = [known[b.classes] for b in pair]
        found, truth = (
            Boxes(b.corners[k], b.scores[k], b.classes[k]) for b, k in zip(pair, kept, strict=True)
        )
        seen.append((found, truth))
    return seen
