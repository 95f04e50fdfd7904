"""Labelled pictures in ultralytics' form: a YAML with `path`, `train`, `val`, `test`, `names`, and a label file a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.detections import Floats, Ints, Picture

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


class DataError(ValueError):
    """A data set that cannot be read; the message names the file and the mend."""


class _DataFile(BaseModel):
    """Ultralytics writes more keys (nc, download, kpt_shape); they say nothing that detection needs."""

    model_config = ConfigDict(extra="ignore")

    path: str = "."
    train: str | list[str] | None = None
    val: str | list[str] | None = None
    test: str | list[str] | None = None
    names: Annotated[dict[int, str] | list[str], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Labelled:
    """One picture's truth: boxes float32 (N, 4) x1 y1 x2 y2 normalised to 0-1, classes int32 (N,)."""

    path: Path
    boxes: Floats
    classes: Ints


@dataclass(frozen=True, slots=True)
class YoloData:
    """One split of a data set."""

    names: dict[int, str]
    items: tuple[Labelled, ...]


def load_yolo_data(yaml_path: Path, split: str = "val") -> YoloData:
    """Read one split.

    Raises:
        DataError: YAML, folder or label file missing or malformed.
    """
    try:
        raw = yaml.safe_load(yaml_path.read_text("utf-8"))
        spec = _DataFile.model_validate(raw)
    except OSError as exc:
        raise DataError(f"{yaml_path}: cannot be read ({exc.strerror})") from None
    except yaml.YAMLError as exc:
        raise DataError(f"{yaml_path}: no YAML: {exc}") from None
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        raise DataError(f"{yaml_path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    where = getattr(spec, split, None)
    if where is None:
        raise DataError(f"{yaml_path}: has no split {split!r}; name another")
    names = dict(enumerate(spec.names)) if isinstance(spec.names, list) else spec.names
    root = yaml_path.parent / spec.path
    pictures = [
        p for one in ([where] if isinstance(where, str) else where) for p in _pictures(root, one, yaml_path)
    ]
    if not pictures:
        raise DataError(f"{yaml_path}: {split}: no pictures in {where}")
    return YoloData(names, tuple(_labelled(p, names) for p in pictures))


def _pictures(root: Path, where: str, yaml_path: Path) -> Iterator[Path]:
    folder = root / where
    if not folder.exists() and where.startswith("../"):  # as some exporters write it
        folder = root / where.removeprefix("../")
    if folder.is_dir():
        yield from (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in PICTURES)
    elif folder.is_file():
        for line in folder.read_text("utf-8").splitlines():
            if line.strip():
                yield folder.parent / line.strip()
    else:
        raise DataError(f"{yaml_path}: {folder} is neither a folder nor a list of pictures")


def _label_path(picture: Path) -> Path:
    parts = list(picture.parts)
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _labelled(picture: Path, names: dict[int, str]) -> Labelled:
    path = _label_path(picture)
    if not path.exists():  # a picture without objects
        return Labelled(picture, np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
    boxes, classes = [], []
    try:
        # Some editors begin a file with a byte order mark.
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(f"{path}: cannot be read as text: {exc}") from None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            kind, values = int(float(words[0])), [float(w) for w in words[1:]]
        except ValueError:
            raise DataError(f"{path}:{number}: not numbers: {line[:60]!r}") from None
        if kind not in names or len(values) < 4 or (len(values) > 4 and len(values) % 2):
            raise DataError(
                f"{path}:{number}: class {kind} with {len(values)} values; expected class x y w h"
            )
        boxes.append(_corners(values))
        classes.append(kind)
    # As ultralytics does: a line given twice is one object.
    rows = np.unique(np.column_stack([classes, boxes]), axis=0) if boxes else np.zeros((0, 5))
    return Labelled(picture, rows[:, 1:].astype(np.float32), rows[:, 0].astype(np.int32))


def _corners(values: list[float]) -> list[float]:
    if len(values) == 4:
        x, y, w, h = values
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    xs, ys = values[::2], values[1::2]  # a polygon
    return [min(xs), min(ys), max(xs), max(ys)]


def read_rgb(path: Path) -> Picture:
    """Read a picture as RGB uint8 (H, W, 3).

    Raises:
        DataError: the file is missing or no picture.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DataError(f"{path}: cannot be read as a picture")
    return np.ascontiguousarray(picture[:, :, ::-1]).astype(np.uint8, copy=False)
