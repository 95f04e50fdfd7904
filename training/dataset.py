"""A data set on disk: pictures, YOLO labels, `data.yaml` for ultralytics, `items.jsonl` with what YOLO can't say.

Its version is a hash over the pictures, labels and splits: the same content has the same version anywhere.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import yaml

from training.dataset_items import (
    DatasetError,
    Item,
    format_yolo,
    label_path,
    pictures_in,
    read_pixels,
    read_yolo,
    suffix_of,
)
from training.phash import phash

SPLITS = ("train", "val", "test")
HOW_TO_PLACE = Literal["copy", "link"]


@dataclass(frozen=True)
class Dataset:
    """Classes and pictures. `sources` tells licence and attribution by source name."""

    classes: tuple[str, ...]
    items: tuple[Item, ...]
    sources: tuple[dict[str, Any], ...] = ()
    version: str = ""

    def of(self, split: str) -> tuple[Item, ...]:
        return tuple(i for i in self.items if i.split == split)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of(path: Path) -> int:
    """Perceptual hash of a picture file. Raises DatasetError naming the file."""
    return phash(read_pixels(path, cv2.IMREAD_GRAYSCALE))


def _place(source: Path, target: Path, how: HOW_TO_PLACE) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.unlink()
    if how == "link":
        try:
            target.hardlink_to(source)
        except OSError:  # another file system
            shutil.copyfile(source, target)
    else:
        shutil.copyfile(source, target)


def _row(item: Item, file: str, digest: str, hashed: int) -> dict[str, Any]:
    return {
        "file": file,
        "split": item.split,
        "source": item.source,
        "group": item.group,
        "taken_at": item.taken_at,
        "known": sorted(item.known),
        "sha256": digest,
        "phash": f"{hashed:016x}",
        "notes": item.notes,
    }


def _named(items: Iterable[Item]) -> dict[str, tuple[Item, str]]:
    """Items and the SHA-256 of their pictures by file name in the data set, an exact double once.

    Raises DatasetError where one picture of a name has two sets of labels: the second would overwrite the first.
    """
    found: dict[str, tuple[Item, str]] = {}
    for item in sorted(items, key=lambda i: (i.split, i.source, str(i.path))):
        sha = str(item.notes.get("sha256") or file_sha256(item.path))
        name = f"{item.source}__{item.path.stem[:60]}_{sha[:8]}{suffix_of(item.path)}"
        first, digest = found.setdefault(f"images/{item.split}/{name}", (item, sha))
        if digest != sha or not _same_labels(first, item):
            raise DatasetError(
                f"{item.path}: the same picture as {first.path}, with other labels; keep the right one of the two"
            )
    return found


def _same_labels(one: Item, other: Item) -> bool:
    if one.known != other.known or len(one.classes) != len(other.classes):
        return False
    first, second = (
        np.column_stack([i.classes, i.boxes])[np.lexsort((*i.boxes.T, i.classes))] for i in (one, other)
    )
    # Exports round to other digits.
    return bool(np.abs(first - second).max(initial=0.0) < 1e-3)


def version_of(items: Iterable[Item]) -> str:
    """Version of pictures that were never saved as a data set, such as a plain YOLO folder's."""
    digest = hashlib.sha256()
    for _, (item, sha) in sorted(_named(items).items()):
        digest.update(f"{sha} {item.split}\n{format_yolo(item.classes, item.boxes)}".encode())
    return digest.hexdigest()[:12]


def save_dataset(dataset: Dataset, folder: Path, how: HOW_TO_PLACE = "link") -> Dataset:
    """Write a data set; returns it with its version and its new paths. An existing folder must be empty.

    An exact double of a picture is written once. Raises DatasetError where a picture comes twice with other labels.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder}: not empty; name a new folder")
    digest = hashlib.sha256()
    moved, rows = [], []
    for name, (item, sha) in _named(dataset.items).items():
        target = folder / name
        _place(item.path, target, how)
        text = format_yolo(item.classes, item.boxes)
        labels = label_path(target)
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(text)
        digest.update(f"{sha} {item.split}\n{text}".encode())
        rows.append(_row(item, name, sha, hash_of(target)))
        moved.append(replace(item, path=target))
    version = digest.hexdigest()[:12]
    splits = {s: f"images/{s}" for s in SPLITS if any(i.split == s for i in moved)}
    data = {
        "path": ".",
        "train": "images/train",
        "val": "images/val",
        **splits,
        "names": list(dataset.classes),
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), "utf-8")
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    card = {"version": version, "classes": list(dataset.classes), "sources": list(dataset.sources)}
    (folder / "dataset.json").write_text(json.dumps(card, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return replace(dataset, items=tuple(moved), version=version)


def load_dataset(folder: Path) -> Dataset:
    """Read what `save_dataset` wrote, or any folder with an ultralytics `data.yaml`."""
    described = folder / "dataset.json"
    if not described.exists():
        return load_yolo(folder / "data.yaml")
    card = json.loads(described.read_text("utf-8"))
    items = []
    for line in (folder / "items.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        path = folder / row["file"]
        classes, boxes = read_yolo(label_path(path), optional=False)
        items.append(
            Item(
                path=path,
                classes=classes,
                boxes=boxes,
                source=row["source"],
                split=row["split"],
                known=frozenset(row["known"]),
                group=row["group"],
                taken_at=row["taken_at"],
                notes={**row["notes"], "sha256": row["sha256"], "phash": row["phash"]},
            )
        )
    return Dataset(tuple(card["classes"]), tuple(items), tuple(card["sources"]), card["version"])


def check_frozen(folder: Path) -> None:
    """Raise DatasetError where pictures, labels or splits are not those of the version in `dataset.json`. A plain YOLO
    folder has no version, and passes."""
    described = folder / "dataset.json"
    if not described.exists():
        return
    digest = hashlib.sha256()
    for line in (folder / "items.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        path = folder / row["file"]
        labels = label_path(path)
        if not path.exists() or not labels.exists():
            raise DatasetError(f"{path}: gone, or without its labels; make the data set anew")
        digest.update(f"{file_sha256(path)} {row['split']}\n{labels.read_text()}".encode())
    wanted = json.loads(described.read_text("utf-8"))["version"]
    if digest.hexdigest()[:12] != wanted:
        raise DatasetError(
            f"{folder}: not what its version {wanted} says; pictures or labels were changed since"
        )


def load_yolo(data: Path, source: str = "yolo") -> Dataset:
    """Read an ultralytics data.yaml (`names` a list or a mapping) whose labels are complete for its names."""
    try:
        config = yaml.safe_load(data.read_text("utf-8"))
        names = config["names"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{data}: needs `names`, `train` and `val`, as ultralytics has them ({error})"
        ) from error
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DatasetError(
                f"{data}: names: numbers must run from 0 without a gap, as the label files' do"
            )
        names = [names[i] for i in range(len(names))]
    classes = tuple(str(n) for n in names)
    base = data.parent / str(config.get("path", "."))
    items = []
    for split in SPLITS:
        for part in _as_list(config.get(split)):
            items += list(_yolo_items(base / part, classes, source, split))
    return Dataset(classes, tuple(items))


def _as_list(value: Any) -> list[str]:
    return [] if not value else [value] if isinstance(value, str) else [str(v) for v in value]


def _yolo_items(folder: Path, classes: Sequence[str], source: str, split: str) -> Iterable[Item]:
    for picture in pictures_in(folder):
        labels = label_path(picture)
        found, boxes = read_yolo(labels)
        if found.size and found.max() >= len(classes):
            raise DatasetError(f"{labels}: class {found.max()}, but there are only {len(classes)} names")
        yield Item(picture, found, boxes, source, split, frozenset(classes))
