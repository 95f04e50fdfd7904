"""Pictures of a run and of a data set: curve, class counts, contact sheet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.augment import PAD, Picture
from training.dataset import SPLITS, Dataset
from training.dataset_items import Item, to_corners
from training.fit_data import read_picture

PALETTE = (
    (230, 60, 50),
    (50, 130, 230),
    (40, 170, 90),
    (240, 160, 30),
    (150, 80, 200),
    (20, 180, 190),
    (220, 90, 160),
    (110, 110, 30),
)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Rows of a run's `curve.jsonl`."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def plot_curve(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """mAP50 of each class against the pictures seen."""
    figure, axes = _axes(8, 4.5)
    seen = [r["images"] for r in rows]
    named = dict.fromkeys(n for r in rows for n, v in r["map50"].items() if v is not None)
    for number, name in enumerate(named):
        colour = [v / 255 for v in PALETTE[number % len(PALETTE)]]
        dash = ("-", "--", ":")[number // len(PALETTE) % 3]
        values = [r["map50"].get(name) for r in rows]
        drawn = [np.nan if v is None else v for v in values]
        axes.plot(seen, drawn, dash, marker=".", label=name, color=colour)
    axes.set(
        xlabel="pictures seen in training", ylabel="mAP50 on the validation part", ylim=(0, 1), title=title
    )
    axes.grid(alpha=0.3)
    if named:
        axes.legend(ncols=3, fontsize=8)
    figure.savefig(path)


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Pictures, boxes and the boxes' sizes by split, source and class."""
    boxes: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    sizes: dict[str, list[float]] = {}
    negatives: Counter[str] = Counter()
    for item in dataset.items:
        pictures[f"{item.split}/{item.source}"] += 1
        for kind, box in zip(item.classes, item.boxes, strict=True):
            name = dataset.classes[kind]
            boxes[f"{item.split}/{name}"] += 1
            sizes.setdefault(name, []).append(float(np.sqrt(box[2] * box[3])))
        if item.notes.get("negative"):
            negatives[str(item.notes.get("reason", "unnamed"))] += 1
    median = {k: round(float(np.median(v)), 3) for k, v in sorted(sizes.items())}
    return {
        "version": dataset.version,
        "pictures": dict(sorted(pictures.items())),
        "boxes": dict(sorted(boxes.items())),
        "median_side": median,
        "hard_negatives": dict(sorted(negatives.items())),
        "empty_pictures": sum(1 for i in dataset.items if not len(i.classes)),
    }


def plot_classes(dataset: Dataset, path: Path) -> None:
    """Boxes by class, stacked by split."""
    figure, axes = _axes(8, 4)
    counts = statistics(dataset)["boxes"]
    bottom = np.zeros(len(dataset.classes))
    for number, split in enumerate(SPLITS):
        values = np.array([counts.get(f"{split}/{c}", 0) for c in dataset.classes])
        if values.any():
            colour = [v / 255 for v in PALETTE[number + 1]]
            axes.bar(range(len(values)), values, bottom=bottom, label=split, color=colour)
            bottom += values
    axes.set_xticks(range(len(dataset.classes)), dataset.classes, rotation=45, ha="right")
    axes.set(ylabel="boxes", title=f"Data set {dataset.version or 'unsaved'}")
    axes.legend()
    figure.savefig(path)


def draw_boxes(
    picture: Picture, corners: NDArray[np.float32], labels: Sequence[str], kinds: Sequence[int]
) -> Picture:
    """Boxes in pixels (N, 4) with their labels on a copy of an RGB picture."""
    canvas = picture.copy()
    for box, label, kind in zip(corners, labels, kinds, strict=True):
        colour = PALETTE[kind % len(PALETTE)]
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2)
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
        top = max(y1 - height - 4, 0)
        cv2.rectangle(canvas, (x1, top), (x1 + width + 2, top + height + 4), colour, -1)
        cv2.putText(
            canvas, label, (x1 + 1, top + height + 1), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1
        )
    return canvas


def tile(picture: Picture, size: int) -> Picture:
    """The picture in the middle of a grey square."""
    scale = size / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:size, :size]
    canvas = np.full((size, size, 3), PAD, np.uint8)
    y, x = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    return canvas


def grid(tiles: Sequence[Picture], columns: int) -> Picture:
    """Square tiles of one size in rows."""
    size = tiles[0].shape[0]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * size, columns * size, 3), 255, np.uint8)
    for number, one in enumerate(tiles):
        y, x = divmod(number, columns)
        sheet[y * size : (y + 1) * size, x * size : (x + 1) * size] = one
    return sheet


def write_picture(picture: Picture, path: Path, quality: int = 85) -> None:
    """RGB to a JPEG or PNG file, by suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(path.suffix, np.ascontiguousarray(picture[..., ::-1]), options)
    if not done:
        raise OSError(f"{path}: could not be encoded")
    data.tofile(path)


def contact_sheet(
    dataset: Dataset, path: Path, count: int = 48, columns: int = 8, size: int = 200, seed: int = 0
) -> int:
    """A sheet of pictures with their boxes, spread evenly over sources and splits; returns how many are on it."""
    chosen = _spread(dataset.items, count, np.random.default_rng(seed))
    tiles = []
    for item in chosen:
        picture = read_picture(item)
        height, width = picture.shape[:2]
        corners = to_corners(item.boxes) * np.array([width, height, width, height], np.float32)
        names = [dataset.classes[c] for c in item.classes]
        tiles.append(tile(draw_boxes(picture, corners, names, [int(c) for c in item.classes]), size))
    if tiles:
        write_picture(grid(tiles, min(columns, len(tiles))), path)
    return len(tiles)


def _spread(items: Sequence[Item], count: int, rng: np.random.Generator) -> list[Item]:
    piles: dict[tuple[str, str], list[Item]] = {}
    for number in rng.permutation(len(items)):
        piles.setdefault((items[number].split, items[number].source), []).append(items[number])
    chosen: list[Item] = []
    while len(chosen) < count and any(piles.values()):
        for pile in piles.values():
            if pile and len(chosen) < count:
                chosen.append(pile.pop())
    return chosen
