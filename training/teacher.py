"""Labels by a teacher for the classes that a set leaves unlabelled.

Without them people and cars in a garbage set would become background for a model that learns all classes. A person's
label always wins: the teacher's box is dropped where it overlaps one of the same class, and never added for a class
that the picture's labels are complete for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.dataset_items import Floats, Ints, Item, iou_matrix, to_centres, to_corners
from training.fit_data import read_picture


@dataclass(frozen=True)
class TeacherBoxes:
    """`corners` float32 (N, 4) x1 y1 x2 y2 normalised, `scores` (N,), `classes` (N,) in our numbering."""

    corners: Floats
    scores: Floats
    classes: Ints


class Teacher(Protocol):
    """Labels RGB uint8 pictures; `names` are the classes that it is trusted with."""

    names: frozenset[str]

    def label(self, picture: NDArray[np.uint8]) -> TeacherBoxes: ...


@dataclass(frozen=True)
class TeacherRule:
    """`sure`: a box from this score is a label. Between `doubt` and `sure` nobody knows: the class is not
    counted as known in that picture, so that its absence teaches nothing."""

    sure: float = 0.4
    doubt: float = 0.2
    same: float = 0.5


def fill(
    item: Item, found: TeacherBoxes, classes: Sequence[str], trusted: frozenset[str], rule: TeacherRule
) -> Item:
    """Add the teacher's sure boxes of classes that the item doesn't know; see `TeacherRule`."""
    wanted = np.array([classes[c] in trusted - item.known for c in found.classes], bool)
    doubtful = wanted & (found.scores >= rule.doubt) & (found.scores < rule.sure)
    sure = wanted & (found.scores >= rule.sure)
    mine = to_corners(item.boxes)
    overlaps = iou_matrix(found.corners, mine) >= rule.same
    sure &= ~(overlaps & (found.classes[:, None] == item.classes[None, :])).any(axis=1)
    unknown = {classes[c] for c in found.classes[doubtful]}
    notes = {**item.notes, "teacher_boxes": int(sure.sum())} if sure.any() else item.notes
    return replace(
        item,
        classes=np.concatenate([item.classes, found.classes[sure]]).astype(np.int32),
        boxes=np.concatenate([item.boxes, to_centres(found.corners[sure])]).astype(np.float32),
        known=item.known | (trusted - unknown),
        notes=notes,
    )


def fill_all(
    items: Iterable[Item],
    classes: Sequence[str],
    teacher: Teacher,
    rule: TeacherRule | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[Item]:
    """`fill` for every item that lacks a class the teacher knows."""
    filled = []
    for item in items:
        lacking = teacher.names - item.known
        filled.append(
            fill(item, teacher.label(read_picture(item)), classes, teacher.names, rule or TeacherRule())
            if lacking
            else item
        )
        tick()
    return filled
