"""Pictures of an evaluation: the confusion matrix, the calibration curve, the pictures that went most wrong."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from models.detections import Picture
from models.evaluate import SIDES, Look, Report, plain_name
from models.yolo_data import read_rgb

_INK = (40, 40, 40)
_TRUTH = (40, 170, 60)
_FOUND = (220, 60, 40)


def write_pictures(report: Report, names: Mapping[int, str], folder: Path) -> list[Path]:
    """Write `confusion.png`, `calibration.png`, `sizes.png` and `worst-N.jpg` (truth green, detections red); return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {plain_name(r.name) for r in report.rows}
    pictures = {
        "confusion.png": confusion_picture(report),
        "calibration.png": calibration_picture(report),
        "sizes.png": sizes_picture(report),
    }
    pictures |= {f"worst-{i}.jpg": _marked(look, names, known) for i, look in enumerate(report.worst, 1)}
    paths = []
    for name, picture in pictures.items():
        path = folder / name
        cv2.imwrite(str(path), picture[:, :, ::-1])
        paths.append(path)
    return paths


def confusion_picture(report: Report) -> Picture:
    """Return the matrix, RGB uint8: row truth, column detection, shade by the row's share, counts in the cells."""
    labels = [r.name for r in report.rows] + ["nothing"]
    cell, left, top = 56, 150, 130
    size = len(labels) * cell
    canvas = np.full((top + size + 12, left + size + 12, 3), 255, np.uint8)
    shares = report.confusion / np.maximum(report.confusion.sum(1, keepdims=True), 1)
    for r, label in enumerate(labels):
        y = top + r * cell
        _text(canvas, label[:16], (8, y + 34))
        _text(canvas, label[:9], (left + r * cell + 2, top - 8 - 16 * (r % 3)))
        for c in range(len(labels)):
            x = left + c * cell
            shade = 255 - int(200 * float(shares[r, c]))
            colour = (shade, 255, shade) if r == c else (255, shade, shade)
            cv2.rectangle(canvas, (x, y), (x + cell - 2, y + cell - 2), colour, -1)
            if report.confusion[r, c]:
                _text(canvas, str(report.confusion[r, c]), (x + 8, y + 34))
    _text(canvas, "row: truth, column: detection", (8, 24))
    return canvas


def sizes_picture(report: Report) -> Picture:
    """Return which share of the labelled boxes is found, by class and size, RGB uint8; the numbers are boxes."""
    bounds = ["0", *(f"{s:g}" for s in SIDES), "1"]
    wide, tall, left, top = 86, 120, 150, 60
    canvas = np.full(
        (top + len(report.rows) * (tall + 24) + 30, left + (len(SIDES) + 1) * wide + 20, 3), 255, np.uint8
    )
    _text(canvas, "share found at the threshold; side of the box / longer side of the picture", (10, 24))
    for number, row in enumerate(report.rows):
        foot = top + number * (tall + 24) + tall
        _text(canvas, row.name, (10, foot - tall // 2))
        cv2.line(canvas, (left, foot), (canvas.shape[1] - 12, foot), _INK, 1)
        for column, (found, boxes) in enumerate(report.by_size[number].T):
            x = left + column * wide
            if boxes:
                high = round((tall - 16) * int(found) / int(boxes))
                cv2.rectangle(canvas, (x + 14, foot - high), (x + wide - 14, foot), _TRUTH, -1)
                cv2.rectangle(canvas, (x + 14, foot - tall + 16), (x + wide - 14, foot), _INK, 1)
                _text(canvas, f"{found}/{boxes}", (x + 18, foot - tall + 10))
            if number == len(report.rows) - 1:
                _text(canvas, f"{bounds[column]}-{bounds[column + 1]}", (x + 14, foot + 20))
    return canvas


def calibration_picture(report: Report) -> Picture:
    """Return the reliability diagram, RGB uint8: score against the share that was right, the diagonal is ideal."""
    size, edge = 360, 50
    canvas = np.full((size + 2 * edge, size + 2 * edge, 3), 255, np.uint8)
    cv2.rectangle(canvas, (edge, edge), (edge + size, edge + size), _INK, 1)
    cv2.line(canvas, (edge, edge + size), (edge + size, edge), (180, 180, 180), 1, cv2.LINE_AA)
    points = [(edge + int(b["score"] * size), edge + size - int(b["right"] * size)) for b in report.bins]
    for before, after in pairwise(points):
        cv2.line(canvas, before, after, _FOUND, 2, cv2.LINE_AA)
    for point, b in zip(points, report.bins, strict=True):
        cv2.circle(canvas, point, 4, _FOUND, -1, cv2.LINE_AA)
        _text(canvas, str(int(b["count"])), (point[0] + 6, point[1] + 4))
    _text(canvas, f"score (x), share right (y), ECE {report.ece:.3f}", (edge, 30))
    return canvas


def _marked(look: Look, names: Mapping[int, str], known: set[str]) -> Picture:
    canvas = read_rgb(look.item.path).copy()
    height, width = canvas.shape[:2]
    for box, kind in zip(look.item.boxes, look.item.classes, strict=True):
        if plain_name(names[int(kind)]) in known:
            corners = (box * np.array([width, height] * 2)).astype(int)
            cv2.rectangle(canvas, corners[:2].tolist(), corners[2:].tolist(), _TRUTH, 2)
    for i, box in enumerate(look.found.boxes.astype(int)):
        cv2.rectangle(canvas, box[:2].tolist(), box[2:].tolist(), _FOUND, 1)
        label = f"{look.found.name_of(i)} {look.found.scores[i]:.2f}"
        _text(canvas, label, (int(box[0]) + 2, max(int(box[1]) - 4, 12)), _FOUND)
    return canvas


def _text(canvas: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int] = _INK) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
