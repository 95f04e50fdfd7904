"""Where and when a picture was taken, through a labelling tool and back: the guard against leaks needs it.

COCO and Label Studio hand back fields that they don't know; CVAT doesn't. What the file lacks comes from `items.jsonl`
where the pictures lie in a data set of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.dataset_items import DatasetError, Item
from training.split import camera_of


def scene_of(item: Item) -> dict[str, str]:
    """The fields `group`, `taken_at` and `camera_id`, as far as they are known."""
    found = {"group": item.group, "taken_at": item.taken_at, "camera_id": camera_of(item)}
    return {k: v for k, v in found.items() if v}


class Scenes:
    """Gives items their scene back; `images` is the folder of the pictures."""

    def __init__(self, images: Path) -> None:
        self._noted: dict[Path, dict[str, Any]] = {}
        here = images.resolve()
        for folder in (here, *here.parents[:2]):  # the set, its `images`, or one split of them
            if (folder / "items.jsonl").is_file() and (folder / "dataset.json").is_file():
                self._read(folder)
                return

    def _read(self, folder: Path) -> None:
        try:
            for line in (folder / "items.jsonl").read_text("utf-8").splitlines():
                row = json.loads(line)
                camera = row["notes"].get("camera_id")
                self._noted[folder / row["file"]] = {**row, "camera_id": camera}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{folder / 'items.jsonl'}: not of a data set of ours: {error}") from error

    def __call__(self, item: Item, told: Mapping[str, Any]) -> Item:
        """The item with what the tool's file tells of its scene and split, or else what the data set noted."""
        noted = self._noted.get(item.path.resolve(), {})
        group, taken_at, camera = (
            str(told.get(k) or noted.get(k) or "") for k in ("group", "taken_at", "camera_id")
        )
        notes = {**item.notes, "camera_id": camera} if camera else item.notes
        split = item.split or noted.get("split", "train")
        return replace(item, split=split, group=group, taken_at=taken_at, notes=notes)
