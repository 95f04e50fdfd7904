"""Several verdicts on one picture become one labelled picture.

Two alerts of one moment share their context picture. As two items they would overwrite each other's labels, and the
place cut out round a rejected box would call a confirmed neighbour background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from training.dataset_items import Floats, Item, iou_matrix, to_centres, to_corners
from training.phash import Groups

SAME_BOX = 0.85
"""IoU from which two boxes of one class are one object, judged twice (a duplicate case, a second alert)."""

CONTRADICTED = 0.5
"""IoU with a confirmed box of the class from which a rejected box teaches nothing: the reviewers disagree."""

INSIDE = 0.3
"""Share of a confirmed box inside a cut from which the cut shows it."""


def join_pictures(items: Sequence[Item]) -> list[Item]:
    """One item a picture, with the boxes of all verdicts on it; cuts of hard negatives carry what was confirmed inside.

    `notes["cut"]` is a cut's place in its picture, x1 y1 x2 y2 normalised, `notes["cut_of"]` that picture's SHA-256 and
    `notes["rejected"]` the rejected box, normalised to the picture.
    """
    scenes = _scenes(items)
    whole: dict[str, list[int]] = {}
    cuts: dict[tuple[str, tuple[float, ...]], list[int]] = {}
    for number, item in enumerate(items):
        if item.notes.get("negative"):
            cuts.setdefault((str(item.notes["cut_of"]), tuple(item.notes["cut"])), []).append(number)
        else:
            whole.setdefault(str(item.notes["sha256"]), []).append(number)
    joined = {sha: _joined([items[n] for n in numbers], scenes[numbers[0]]) for sha, numbers in whole.items()}
    result = list(joined.values())
    for (sha, _), numbers in cuts.items():
        cut = _carry(_joined([items[n] for n in numbers], scenes[numbers[0]]), joined.get(sha))
        if cut is not None:
            result.append(cut)
    return result


def _scenes(items: Sequence[Item]) -> list[str]:
    """The group of each item, where places that share a picture are one."""
    groups = Groups(len(items))
    groups.join_equal([i.group or None for i in items])
    groups.join_equal([str(i.notes.get("cut_of") or i.notes.get("sha256")) for i in items])
    result = [""] * len(items)
    for members in groups.members():
        name = min((items[n].group for n in members if items[n].group), default="")
        for n in members:
            result[n] = name
    return result


def _joined(items: Sequence[Item], group: str) -> Item:
    classes = np.concatenate([i.classes for i in items])
    boxes = np.concatenate([i.boxes for i in items])
    keep: list[int] = []
    for n in range(len(boxes)):
        alike = iou_matrix(to_corners(boxes[n : n + 1]), to_corners(boxes[keep]))[0] >= SAME_BOX
        if not (alike & (classes[keep] == classes[n])).any():
            keep.append(n)
    return replace(
        items[0],
        classes=classes[keep],
        boxes=boxes[keep],
        known=frozenset[str]().union(*(i.known for i in items)),
        group=group,
        taken_at=next((i.taken_at for i in items if i.taken_at), ""),
        notes=_notes(items),
    )


def _notes(items: Sequence[Item]) -> dict[str, Any]:
    """The first's notes, what only others note, and of all: the cases, reasons and classes that were rejected."""
    cases = {str(c) for i in items for c in i.notes.get("case_ids", [i.notes.get("case_id")]) if c}
    reasons = {r for i in items if i.notes.get("reason") for r in str(i.notes["reason"]).split(", ")}
    numbers = {int(n) for i in items for n in i.notes.get("class_numbers", ())}
    joined = {
        "case_ids": sorted(cases),
        "reason": ", ".join(sorted(reasons)),
        "class_numbers": sorted(numbers),
    }
    notes = {k: v for i in reversed(items) for k, v in i.notes.items()}
    return notes | {k: v for k, v in joined.items() if v}


def _carry(cut: Item, picture: Item | None) -> Item | None:
    """The cut with the confirmed boxes that lie in it; None where a confirmed box contradicts it."""
    if picture is None:
        return cut
    names = cut.notes.get("class_numbers", ())
    rejected = np.array([cut.notes["rejected"]], np.float32)
    corners = to_corners(picture.boxes)
    same = np.isin(picture.classes, names)
    if (iou_matrix(rejected, corners)[0] >= CONTRADICTED)[same].any():
        return None
    x1, y1, x2, y2 = cut.notes["cut"]
    low, high = np.array([x1, y1], np.float32), np.array([x2, y2], np.float32)
    clipped = np.concatenate([np.maximum(corners[:, :2], low), np.minimum(corners[:, 2:], high)], axis=1)
    area = np.clip(clipped[:, 2:] - clipped[:, :2], 0, None).prod(axis=1)
    shown = area >= INSIDE * np.maximum(picture.boxes[:, 2:].prod(axis=1), 1e-9)
    return replace(cut, classes=picture.classes[shown], boxes=_within(clipped[shown], low, high))


def _within(corners: Floats, low: Floats, high: Floats) -> Floats:
    """Corners normalised to the picture -> centres normalised to the cut."""
    span = high - low
    moved = np.concatenate([(corners[:, :2] - low) / span, (corners[:, 2:] - low) / span], axis=1)
    return to_centres(moved.astype(np.float32))
