"""Pictures and boxes in, training samples out: letterbox, scale and shift, mosaic, flip, colour.

Pictures are RGB uint8 (H, W, 3); boxes float32 (N, 4) x1 y1 x2 y2 in pixels of the picture they come with.
Randomness is the given generator's alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.dataset_items import Floats, Ints

Picture = NDArray[np.uint8]
PAD = 114
"""Grey of the border, the same as in `models/`' letterbox."""


@dataclass(frozen=True)
class Sample:
    """A picture (H, W, 3), its classes (N,) and corner boxes (N, 4) in pixels, and which classes it knows (C,)."""

    picture: Picture
    classes: Ints
    boxes: Floats
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class AugmentConfig:
    """How far to go. Scales are relative to the letterboxed picture."""

    mosaic: float = 0.5
    scale: tuple[float, float] = (0.5, 1.4)
    mosaic_scale: tuple[float, float] = (0.35, 1.0)
    shift: float = 0.15
    flip: float = 0.5
    hue: float = 0.015
    saturation: float = 0.5
    value: float = 0.4
    plain: float = 0.3
    min_visible: float = 0.25


def place(sample: Sample, size: int, scale: float, dx: float, dy: float) -> Sample:
    """Draw a picture on a `size` x `size` grey canvas: scaled, its upper left corner at (dx, dy)."""
    matrix = np.array([[scale, 0, dx], [0, scale, dy]], np.float32)
    interpolation = cv2.INTER_AREA if scale < 0.7 else cv2.INTER_LINEAR
    if scale < 0.7:  # warpAffine has no area filter: shrink first, then shift
        height, width = sample.picture.shape[:2]
        small = cv2.resize(
            sample.picture,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=interpolation,
        )
        picture = cv2.warpAffine(
            small, np.array([[1, 0, dx], [0, 1, dy]], np.float32), (size, size), borderValue=(PAD, PAD, PAD)
        )
    else:
        picture = cv2.warpAffine(
            sample.picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD)
        )
    boxes = sample.boxes * scale + np.array([dx, dy, dx, dy], np.float32)
    return Sample(np.asarray(picture, np.uint8), sample.classes, boxes.astype(np.float32), sample.known)


def clip_boxes(sample: Sample, window: tuple[float, float, float, float], min_visible: float) -> Sample:
    """Clip boxes to x1 y1 x2 y2 of `window`; drop those of which less than `min_visible` or 3 px stays."""
    low, high = np.array(window[:2], np.float32), np.array(window[2:], np.float32)
    clipped = np.concatenate(
        [np.clip(sample.boxes[:, :2], low, high), np.clip(sample.boxes[:, 2:], low, high)], axis=1
    )
    before = np.clip(sample.boxes[:, 2:] - sample.boxes[:, :2], 1e-6, None).prod(axis=1)
    sides = clipped[:, 2:] - clipped[:, :2]
    keep = (sides.min(axis=1, initial=np.inf) >= 3) & (sides.prod(axis=1) / before >= min_visible)
    return Sample(sample.picture, sample.classes[keep], clipped[keep].astype(np.float32), sample.known)


def letterbox(sample: Sample, size: int) -> Sample:
    """Fit the picture into the middle of a square, as detection does."""
    height, width = sample.picture.shape[:2]
    scale = size / max(height, width)
    return place(sample, size, scale, (size - width * scale) / 2, (size - height * scale) / 2)


def shaken(sample: Sample, size: int, config: AugmentConfig, rng: np.random.Generator) -> Sample:
    """Letterbox with a random scale and shift."""
    height, width = sample.picture.shape[:2]
    scale = size / max(height, width) * rng.uniform(*config.scale)
    slack = config.shift * size
    dx = (size - width * scale) / 2 + rng.uniform(-slack, slack)
    dy = (size - height * scale) / 2 + rng.uniform(-slack, slack)
    return clip_boxes(place(sample, size, scale, dx, dy), (0, 0, size, size), config.min_visible)


def mosaic(samples: list[Sample], size: int, config: AugmentConfig, rng: np.random.Generator) -> Sample:
    """Four pictures round a random centre. A class is known where all four know it."""
    centre_x, centre_y = (int(v) for v in rng.uniform(0.3, 0.7, 2) * size)
    canvas = np.full((size, size, 3), PAD, np.uint8)
    boxes, classes = [], []
    corners = (
        (0, 0, centre_x, centre_y),
        (centre_x, 0, size, centre_y),
        (0, centre_y, centre_x, size),
        (centre_x, centre_y, size, size),
    )
    for index, (window, sample) in enumerate(zip(corners, samples, strict=True)):
        height, width = sample.picture.shape[:2]
        scale = size / max(height, width) * rng.uniform(*config.mosaic_scale)
        dx = centre_x - width * scale if index in (0, 2) else centre_x
        dy = centre_y - height * scale if index < 2 else centre_y
        drawn = clip_boxes(place(sample, size, scale, dx, dy), window, config.min_visible)
        x1, y1, x2, y2 = window
        canvas[y1:y2, x1:x2] = drawn.picture[y1:y2, x1:x2]
        boxes.append(drawn.boxes)
        classes.append(drawn.classes)
    known = np.logical_and.reduce([s.known for s in samples])
    return Sample(canvas, np.concatenate(classes), np.concatenate(boxes), known)


def mirrored(sample: Sample) -> Sample:
    width = sample.picture.shape[1]
    boxes = sample.boxes.copy()
    boxes[:, [0, 2]] = width - sample.boxes[:, [2, 0]]
    return Sample(np.ascontiguousarray(sample.picture[:, ::-1]), sample.classes, boxes, sample.known)


def recoloured(picture: Picture, config: AugmentConfig, rng: np.random.Generator) -> Picture:
    """Random hue, saturation and brightness through lookup tables."""
    gains = rng.uniform(-1, 1, 3) * (config.hue, config.saturation, config.value) + 1
    ramp = np.arange(256, dtype=np.float64)
    tables = ((ramp * gains[0]) % 180, np.clip(ramp * gains[1], 0, 255), np.clip(ramp * gains[2], 0, 255))
    channels = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV))
    looked = [cv2.LUT(c, t.astype(np.uint8)) for c, t in zip(channels, tables, strict=True)]
    return np.asarray(cv2.cvtColor(cv2.merge(looked), cv2.COLOR_HSV2RGB), np.uint8)


def augmented(samples: list[Sample], size: int, config: AugmentConfig, rng: np.random.Generator) -> Sample:
    """One training sample of `size` x `size` from the first of the pictures, or from four of them."""
    draw = rng.random()
    if len(samples) >= 4:
        made = mosaic(samples[:4], size, config, rng)
    elif draw < config.plain:
        made = clip_boxes(letterbox(samples[0], size), (0, 0, size, size), 0.0)
    else:
        made = shaken(samples[0], size, config, rng)
    if rng.random() < config.flip:
        made = mirrored(made)
    return Sample(recoloured(made.picture, config, rng), made.classes, made.boxes, made.known)
