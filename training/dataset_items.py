"""A labelled picture, and YOLO label files as numpy arrays.

Boxes are float32 (N, 4) centre x, centre y, width, height, normalised to the picture, as YOLO text has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
MOST_CLASSES = 65535


class DatasetError(ValueError):
    """A data set that can't be read; the message names the file and the mend."""


@dataclass(frozen=True)
class Item:
    """One picture with its boxes.

    `classes` int32 (N,) index the data set's names; `boxes` float32 (N, 4) cx cy w h normalised;
    `known` holds the class names that this picture's labels are complete for: the absence of a box says
    something about these classes alone.
    """

    path: Path
    classes: Ints
    boxes: Floats
    source: str
    split: str
    known: frozenset[str] = frozenset()
    group: str = ""
    taken_at: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


def empty_labels() -> tuple[Ints, Floats]:
    return np.zeros(0, np.int32), np.zeros((0, 4), np.float32)


def read_yolo(path: Path, optional: bool = True) -> tuple[Ints, Floats]:
    """Read a label file as `parse_yolo` does; `optional`: where there is none, the picture has no objects.

    Some editors begin a file with a byte order mark.

    Raises:
        DatasetError: it cannot be read, or a line is wrong.
    """
    try:
        text = path.read_text("utf-8-sig") if path.exists() or not optional else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path}: cannot be read as text: {error}; give class and numbers in UTF-8"
        ) from error
    return parse_yolo(text, str(path))


def parse_yolo(text: str, where: str = "label") -> tuple[Ints, Floats]:
    """Read YOLO text: `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon, which becomes its box.

    Boxes are clipped to the picture and empty ones dropped. Raises DatasetError naming file and line.
    """
    classes: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            name, values = float(parts[0]), [float(v) for v in parts[1:]]
        except ValueError as error:
            raise DatasetError(f"{where}:{number}: not numbers: {line[:60]!r}") from error
        # A negative class, which some tools write for "ignore", would count from the end of the names.
        if not name.is_integer() or not 0 <= name <= MOST_CLASSES:
            raise DatasetError(
                f"{where}:{number}: class {parts[0]} is no number of a name, which count from 0; leave the line out"
            )
        if len(values) == 4:
            cx, cy, w, h = values
            x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        elif len(values) >= 6 and len(values) % 2 == 0:
            x1, y1, x2, y2 = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
        else:
            raise DatasetError(
                f"{where}:{number}: a box has 4 numbers and a polygon pairs; got {len(values)}"
            )
        if not np.isfinite([x1, y1, x2, y2]).all():
            raise DatasetError(f"{where}:{number}: a coordinate isn't finite")
        x1, y1, x2, y2 = (min(max(v, 0.0), 1.0) for v in (x1, y1, x2, y2))
        if x2 - x1 > 1e-4 and y2 - y1 > 1e-4:
            classes.append(int(name))
            boxes.append(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
    if not boxes:
        return empty_labels()
    return np.array(classes, np.int32), np.array(boxes, np.float32)


def format_yolo(classes: Ints, boxes: Floats) -> str:
    """The reverse of `parse_yolo` for boxes."""
    return "".join(
        f"{int(c)} {b[0]:.6f} {b[1]:.6f} {b[2]:.6f} {b[3]:.6f}\n" for c, b in zip(classes, boxes, strict=True)
    )


def to_corners(boxes: Floats) -> Floats:
    """cx cy w h -> x1 y1 x2 y2."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1).astype(np.float32)


def to_centres(corners: Floats) -> Floats:
    """x1 y1 x2 y2 -> cx cy w h."""
    return np.concatenate(
        [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1
    ).astype(np.float32)


def iou_matrix(first: Floats, second: Floats) -> Floats:
    """IoU of corner boxes, (N, 4) and (M, 4) -> (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-12), np.float32)


def read_pixels(path: Path, mode: int) -> NDArray[np.uint8]:
    """A picture as OpenCV's `mode` reads it, turned as its EXIF data says: BGR (H, W, 3) or grey (H, W).

    Raises DatasetError naming the file.
    """
    raw = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(raw, mode) if raw.size else None
    if picture is None:
        raise DatasetError(f"{path}: not a picture that OpenCV reads; leave it out")
    return np.asarray(picture, np.uint8)


def pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder and below, sorted by name."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)


_STARTS = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"BM", ".bmp"), (b"RIFF", ".webp"))


def suffix_of(picture: Path) -> str:
    """The suffix of a picture's name, or by its first bytes where the name has none: evidence is named by its hash.

    Raises DatasetError where neither says what it is; ultralytics finds pictures by their suffix alone.
    """
    if picture.suffix.lower() in PICTURE_SUFFIXES:
        return picture.suffix.lower()
    with picture.open("rb") as file:
        start = file.read(8)
    for sign, suffix in _STARTS:
        if start.startswith(sign):
            return suffix
    raise DatasetError(f"{picture}: neither its name nor its first bytes are those of a picture")


class PictureFinder:
    """Finds the pictures that a labelling tool names: in `folder` by the whole name, else anywhere below it by as much
    of the name as tells them apart. What lies outside `folder` is never found."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._below: dict[str, list[Path]] | None = None

    def __call__(self, name: str) -> Path:
        """The file of a name. Raises DatasetError where there is none, or more than one."""
        given = PurePosixPath(name)
        direct = self._folder / given
        if not given.is_absolute() and ".." not in given.parts and direct.is_file():
            return direct
        if self._below is None:
            self._below = {}
            for path in self._folder.rglob("*"):
                self._below.setdefault(path.name, []).append(path)
        # Label Studio puts eight characters and a dash before the name of an uploaded file.
        names = (given.name, re.sub(r"^[0-9a-f]{8}-", "", given.name))
        found = [p for n in dict.fromkeys(names) for p in self._below.get(n, []) if p.is_file()]
        if len(found) > 1:
            found = [p for p in found if p.as_posix().endswith(f"/{name}")] or found
        if len(found) != 1:
            raise DatasetError(
                f"{name}: {len(found)} files of that name in {self._folder}; give the folder that the pictures lie in"
            )
        return found[0]


def label_path(picture: Path) -> Path:
    """The label file of a picture: the last `images` folder of its path becomes `labels`."""
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")
