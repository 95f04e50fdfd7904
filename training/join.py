"""Data sets of our own joined into one: the first keeps its held-out parts, the others only train.

A reviewer judged single boxes, so a picture of verdicts cannot say what a model misses: it is no test picture. Its
scenes are left out where they show what the first set holds out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.dataset import Dataset, file_sha256, load_dataset
from training.dataset_items import DatasetError, Item
from training.merge import Merged, drop_leaks
from training.verdict_pictures import join_pictures


def _renumbered(item: Item, mine: Sequence[str], theirs: Sequence[str]) -> Item:
    table = np.array([mine.index(n) if n in mine else -1 for n in theirs], np.int32)
    classes = table[item.classes]
    notes = item.notes
    if "class_numbers" in notes:
        notes = notes | {"class_numbers": [int(table[n]) for n in notes["class_numbers"] if table[n] >= 0]}
    return replace(item, classes=classes[classes >= 0], boxes=item.boxes[classes >= 0], notes=notes)


def join(folder: Path, others: Sequence[Path]) -> Merged:
    """The data set of `folder` with all pictures of `others` as training pictures, in the numbering of the first.

    Boxes of classes that the first set doesn't have fall away. A training picture that several sets have becomes one
    with all their boxes, as two exports of verdicts share pictures. Raises DatasetError where a set has no class in common.
    """
    first = load_dataset(folder)
    items, sources = list(first.items), list(first.sources)
    for other in others:
        more = load_dataset(other)
        if not set(more.classes) & set(first.classes):
            raise DatasetError(f"{other}: no class in common with {folder}; name the classes alike")
        items += [replace(_renumbered(i, first.classes, more.classes), split="train") for i in more.items]
        sources += more.sources or [{"name": _source_of(more), "licence": "the city's own"}]
    kept, dropped = drop_leaks(items)
    held_out = [i for i in kept if i.split != "train"]
    kept = held_out + _merged([_with_sha256(i) for i in kept if i.split == "train"])
    return Merged(Dataset(first.classes, tuple(kept), tuple(sources)), dropped)


def _merged(items: Sequence[Item]) -> list[Item]:
    """Pictures that come more than once joined, and cuts with the pictures they are of; all others stay as they are."""
    counts = Counter(str(i.notes["sha256"]) for i in items if not i.notes.get("negative"))
    cut = {str(i.notes["cut_of"]) for i in items if i.notes.get("negative")}

    def alone(item: Item) -> bool:
        sha = str(item.notes["sha256"])
        return not item.notes.get("negative") and counts[sha] == 1 and sha not in cut

    return [i for i in items if alone(i)] + join_pictures([i for i in items if not alone(i)])


def _with_sha256(item: Item) -> Item:
    if item.notes.get("sha256"):
        return item
    return replace(item, notes=item.notes | {"sha256": file_sha256(item.path)})


def _source_of(dataset: Dataset) -> str:
    names = Counter(i.source for i in dataset.items)
    return names.most_common(1)[0][0] if names else "empty"


def in_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set in the numbering of `classes`; boxes of other classes fall away, and are no longer known."""
    items = tuple(
        replace(_renumbered(i, classes, dataset.classes), known=i.known & frozenset(classes))
        for i in dataset.items
    )
    return Dataset(tuple(classes), items, dataset.sources)
