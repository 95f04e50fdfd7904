"""COCO detection JSON in and out (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training.dataset import Dataset
from training.dataset_items import DatasetError, Floats, Item, PictureFinder, read_pixels
from training.formats_scene import Scenes, scene_of


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, turned as its EXIF data says, as training sees it. Raises DatasetError naming the
    file."""
    height, width = read_pixels(path, cv2.IMREAD_GRAYSCALE).shape
    return width, height


def to_coco(dataset: Dataset, split: str, root: Path) -> dict[str, Any]:
    """The COCO dictionary of one split. File names are relative to `root` where they lie below it."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, item in enumerate(dataset.of(split), 1):
        width, height = picture_size(item.path)
        name = item.path.relative_to(root) if item.path.is_relative_to(root) else Path(item.path.name)
        size = {"width": width, "height": height}
        images.append({"id": number, "file_name": name.as_posix(), **size, **scene_of(item)})
        for kind, box in zip(item.classes, item.boxes, strict=True):
            cx, cy, w, h = (float(v) * s for v, s in zip(box, (width, height, width, height), strict=True))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(kind) + 1,
                    "bbox": [round(v, 2) for v in (cx - w / 2, cy - h / 2, w, h)],
                    "area": round(w * h, 2),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": n} for i, n in enumerate(dataset.classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _normalised(bbox: Sequence[float], width: float, height: float) -> tuple[float, float, float, float]:
    x, y, w, h = bbox
    x1, y1 = min(max(x / width, 0), 1), min(max(y / height, 0), 1)
    x2, y2 = min(max((x + w) / width, 0), 1), min(max((y + h) / height, 0), 1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def from_coco(path: Path, images: Path, split: str = "train", source: str = "coco") -> Dataset:
    """Read COCO JSON; `images` is the folder that file names count from. Crowd boxes are left out."""
    try:
        data = json.loads(path.read_text("utf-8-sig"))
        categories = sorted(data["categories"], key=lambda c: c["id"])
        numbers = {c["id"]: i for i, c in enumerate(categories)}
        pictures = {p["id"]: p for p in data["images"]}
        found: dict[Any, list[tuple[int, tuple[float, float, float, float]]]] = {p: [] for p in pictures}
        for note in data["annotations"]:
            picture = pictures[note["image_id"]]
            if not note.get("iscrowd"):
                box = _normalised(note["bbox"], picture["width"], picture["height"])
                found[note["image_id"]].append((numbers[note["category_id"]], box))
    except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not COCO detection JSON: {type(error).__name__} {error}") from error
    names = tuple(c["name"] for c in categories)
    items, find, scenes = [], PictureFinder(images), Scenes(images)
    for key, picture in pictures.items():
        boxes: Floats = np.array([b for _, b in found[key]], np.float32).reshape(-1, 4)
        kinds = np.array([c for c, _ in found[key]], np.int32)
        file = find(str(picture["file_name"]))
        items.append(scenes(Item(file, kinds, boxes, source, split, frozenset(names)), picture))
    return Dataset(names, tuple(items))
