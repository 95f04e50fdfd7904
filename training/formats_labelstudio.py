"""Label Studio tasks in and out (https://labelstud.io/guide/tasks, JSON; RectangleLabels in percent).

Ours go out as predictions, so that the labeller sees them and corrects; what comes back are annotations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from training.dataset import Dataset
from training.dataset_items import DatasetError, Item, PictureFinder, to_centres
from training.formats_coco import picture_size
from training.formats_scene import Scenes, scene_of


def config_xml(classes: tuple[str, ...]) -> str:
    """The labelling interface: one picture, one rectangle label a class."""
    labels = "".join(f"<Label value={quoteattr(c)}/>" for c in classes)
    return (
        '<View><Image name="image" value="$image"/>'
        f'<RectangleLabels name="label" toName="image">{labels}</RectangleLabels></View>'
    )


def to_tasks(dataset: Dataset, prefix: str = "/data/local-files/?d=") -> list[dict[str, Any]]:
    """Tasks with our boxes as predictions. `prefix` comes before the file name (local file serving by default)."""
    tasks: list[dict[str, Any]] = []
    for item in dataset.items:
        width, height = picture_size(item.path)
        results = []
        for number, (kind, box) in enumerate(zip(item.classes, item.boxes, strict=True)):
            cx, cy, w, h = (float(v) * 100 for v in box)
            results.append(
                {
                    "id": f"b{number}",
                    "type": "rectanglelabels",
                    "from_name": "label",
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": {
                        "x": cx - w / 2,
                        "y": cy - h / 2,
                        "width": w,
                        "height": h,
                        "rotation": 0,
                        "rectanglelabels": [dataset.classes[kind]],
                    },
                }
            )
        data: dict[str, Any] = {
            "image": prefix + item.path.name,
            "split": item.split,
            "source": item.source,
            "known": sorted(item.known),
            **scene_of(item),
        }
        predictions: list[dict[str, Any]] = [{"model_version": "curbwatch", "result": results}]
        tasks.append({"data": data, "predictions": predictions})
    return tasks


def _rectangles(task: dict[str, Any]) -> list[dict[str, Any]]:
    done = [a for a in task.get("annotations", []) if not a.get("was_cancelled")]
    return [] if not done else [r for r in done[-1]["result"] if r.get("type") == "rectanglelabels"]


def from_tasks(path: Path, images: Path, classes: tuple[str, ...]) -> Dataset:
    """Read Label Studio's JSON export. Tasks without a finished annotation are left out; a turned rectangle becomes
    the box round it. Raises DatasetError for a label that is no class."""
    try:
        tasks = json.loads(path.read_text("utf-8-sig"))
        find, scenes = PictureFinder(images), Scenes(images)
        items = [
            scenes(_item(t, find, classes), t["data"])
            for t in tasks
            if any(not a.get("was_cancelled") for a in t["annotations"])
        ]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}: not a Label Studio JSON export: {type(error).__name__} {error}"
        ) from error
    return Dataset(classes, tuple(items))


def _item(task: dict[str, Any], find: PictureFinder, classes: tuple[str, ...]) -> Item:
    data = task["data"]
    name = str(data["image"]).split("?d=")[-1]
    kinds, corners = [], []
    for one in _rectangles(task):
        label = one["value"]["rectanglelabels"][0]
        if label not in classes:
            raise DatasetError(
                f"task {task.get('id')}: label {label!r} is no class; classes are {', '.join(classes)}"
            )
        kinds.append(classes.index(label))
        corners.append(_corners(one))
    boxes = to_centres(np.clip(np.array(corners, np.float32).reshape(-1, 4), 0, 1))
    return Item(
        path=find(name),
        classes=np.array(kinds, np.int32),
        boxes=boxes,
        source=str(data.get("source", "label_studio")),
        split=str(data.get("split", "train")),
        known=frozenset(classes),
        notes={"corrected": True},
    )


def _corners(one: dict[str, Any]) -> tuple[float, float, float, float]:
    value = one["value"]
    width, height = float(one.get("original_width", 100)), float(one.get("original_height", 100))
    x, y, w, h = (float(value[k]) / 100 for k in ("x", "y", "width", "height"))
    turn = np.deg2rad(float(value.get("rotation", 0)))
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-np.sin(turn), np.cos(turn)])
    start = np.array([x * width, y * height])  # Label Studio turns round the upper left corner
    points = np.array(
        [start + along * (a * w * width) + across * (b * h * height) for a in (0, 1) for b in (0, 1)]
    )
    low, high = points.min(0), points.max(0)
    return low[0] / width, low[1] / height, high[0] / width, high[1] / height
