"""Both models look at the frozen test set through `models/`: the same code that runs on the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.evaluate import plain_name
from training.augment import Picture
from training.classes import street_of_coco
from training.dataset import Dataset
from training.dataset_items import Item, to_corners
from training.fit_data import MAX_SIDE, read_picture
from training.gate import Judged
from training.metrics import Boxes
from training.split import SplitRule, scenes_of

NIGHT_LUMA = 60.0
"""Mean brightness (0–255) below which a picture counts as night."""


class Detects(Protocol):
    """What `models.detector.Detector` offers."""

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]: ...


@cache
def numbers_of(names: tuple[str, ...], classes: tuple[str, ...]) -> NDArray[np.int32]:
    """The number of each of a model's `names` in `classes`, or -1: by the name however it is spelt, else by the street class
    that a class of COCO is folded into."""
    index = {plain_name(n): i for i, n in enumerate(classes)}
    folded = {plain_name(coco): plain_name(street) for coco, street in street_of_coco().items()}
    own = [plain_name(n) for n in names]
    return np.array([index.get(n, index.get(folded.get(n, n), -1)) for n in own], np.int32)


def lost_classes(champion: Bundle, candidate: Bundle) -> tuple[str, ...]:
    """The champion's classes that a rule uses and the candidate has not, however they are spelt."""
    found = set(numbers_of(candidate.names, champion.names).tolist())
    folded = numbers_of(champion.names, candidate.names)
    return tuple(
        c.name
        for row, c in enumerate(champion.manifest.classes)
        if c.role != "other" and row not in found and folded[row] < 0
    )


def boxes_of(detections: Any, classes: Sequence[str]) -> Boxes:
    """`models` detections in the numbering of `classes` (`numbers_of`); other classes fall away."""
    table = numbers_of(tuple(detections.names), tuple(classes))
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
    side: int = MAX_SIDE,
) -> list[Judged]:
    """Every picture of the split, seen by both at `side` pixels of its longer side, or as it is where it is smaller.

    Scenes are those by which a set is split: pictures that look alike, or come from one camera within hours, are one.
    """
    index = {n: i for i, n in enumerate(dataset.classes)}
    items = dataset.of(split)
    scene = {i: n for n, members in enumerate(scenes_of(items, SplitRule())) for i in members}
    judged = []
    for number, item in enumerate(items):
        picture = read_picture(item, side)
        judged.append(
            Judged(
                truth=truth_of(item, picture),
                candidate=boxes_of(candidate.detect([picture])[0], dataset.classes),
                champion=boxes_of(champion.detect([picture])[0], dataset.classes),
                scene=f"scene {scene[number]}",
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
