"""A bundle becomes a detector on ONNX Runtime: pictures in, `Detections` out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from contract import ModelRef
from models.bundle import Bundle
from models.detections import Detections, Floats, Ints, Picture
from models.families import DECODERS, NEEDS_NMS, nms
from models.read_onnx import check_fit, coarsest_stride
from models.session import Shape, available, choose, has_bfloat16, open_session

# Fixed, warmed sizes: ONNX Runtime's memory grows with every new batch shape.
BATCH_SIZES = (1, 2, 4, 8, 16)
# One thread on a CPU gains little from a batch but the weights that it reads once. On ONNX Runtime it gains nothing: 4 at once take a
# tenth more a picture. On OpenVINO it gains up to a tenth, but 3 % beyond four wide pictures of 640 x 384, and each size is a compiled
# network of its own, of some 100 MB (docs/models.md).
_PIXELS_AT_ONCE = {"cpu": 0, "openvino": 4 * 640 * 384}
# A camera's 16:9 fills 360 of 640 rows. A network that leaves its sides free is given no more padding than its coarsest stride
# asks for, as ultralytics' own `predict` does. This one shape beside the square, so that memory stays bounded.
_WIDE = 9 / 16
# Two boxes of one role and of at least this IoU are one object, whatever class each was given.
_SAME_PLACE = 0.7


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was fitted into the input: x' = x * scale_x + left, y' = y * scale_y + top.

    The two scales differ by the rounding of each side to whole pixels: up to 1 px of the picture at 1280 x 719.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int


class Detector:
    """One session of one bundle. Not for two threads at once."""

    def __init__(
        self,
        bundle: Bundle,
        provider: str = "auto",
        threads: int = 1,
        max_batch: int = 4,
        engines: Path | None = None,
    ) -> None:
        """Load the bundle.

        Args:
            bundle: a verified bundle.
            provider: a name of `models.session.RUNTIMES`, or `auto`.
            threads: threads of one inference; 0 takes every core.
            max_batch: most pictures of one run, fewer where a batch gains nothing (`batches`); memory is bounded by it.
            engines: folder in which TensorRT's engines are kept, by default `models.gpu.engine_home`.

        Raises:
            BundleError: the ONNX file cannot be loaded, or its shapes do not fit the manifest.
            ValueError: the provider is unknown, or not on this machine.
        """
        self.bundle = bundle
        self.provider = choose(provider, available(), bundle.manifest.bfloat16 and has_bfloat16())
        self._spec = bundle.manifest.input
        # What each of a byte's values is in the input, and the colours of the last picture, whose memory is used again.
        self._levels = np.arange(256, dtype=np.float32) / np.float32(self._spec.scale)
        self._planes: Sequence[NDArray[Any]] = ()
        self._session = open_session(bundle, self.provider, threads, max_batch, engines)
        self._channels: Ints = np.array([c.index for c in bundle.manifest.classes], np.int32)
        fixed = check_fit(
            self._session,
            bundle.manifest.family,
            self._spec.name,
            self.input_size,
            int(self._channels.max()),
        )
        self._fixed, self._most = fixed, max(1, max_batch)
        self._pixels = _PIXELS_AT_ONCE.get(self.provider) if threads == 1 else None
        self._thresholds: Floats = np.array([c.threshold for c in bundle.manifest.classes], np.float32)
        self._groups = _groups(bundle)
        self._row_of = np.full(int(self._channels.max()) + 1, -1, np.int32)
        self._row_of[self._channels] = np.arange(len(self._channels))
        inputs, stride = self._session.inputs[self._spec.name], coarsest_stride(self._session.metadata)
        self._wide = _wide(inputs, self.input_size, self.provider, stride)

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the model's input in pixels."""
        return self._spec.size

    def batches(self, input_size: tuple[int, int]) -> tuple[int, ...]:
        """Return the batch sizes that are run for an input of so many pixels (width, height), ascending."""
        if self._fixed:
            return (self._fixed,)
        most = self._most
        if self._pixels is not None:
            most = min(most, self._pixels // (input_size[0] * input_size[1]))
        return tuple(b for b in BATCH_SIZES if b <= max(1, most))

    @property
    def largest_batch(self) -> int:
        """Most pictures of one run, of whatever shape."""
        return max(self.batches(size)[-1] for size in (self._wide, self.input_size))

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the returned detections."""
        return self.bundle.names

    @property
    def ref(self) -> ModelRef:
        """Name, version and hash, as alerts carry them."""
        m = self.bundle.manifest
        return ModelRef(name=m.name, version=m.version, sha256=self.bundle.sha256)

    def warm(self) -> None:
        """Run every batch size once, so that no camera waits for the first frame and memory is at its height.

        In the shape of wide pictures, where there is one: the square then costs its first pictures half a second each, and no
        memory (130 MB of YOLO11n on OpenVINO) where no camera needs it.
        """
        width, height = self._wide
        blank = np.full((height, width, 3), self._spec.pad, np.uint8)
        for size in self.batches(self._wide):
            self.detect([blank] * size)

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Return the objects of each picture in that picture's own pixels.

        Args:
            pictures: RGB uint8 (H, W, 3), each of any size.
        """
        sizes = [self._size_for(p) for p in pictures]
        found: dict[int, Detections] = {}
        for size in dict.fromkeys(sizes):
            most = self.batches(size)[-1]
            own = [i for i, s in enumerate(sizes) if s == size]
            for start in range(0, len(own), most):
                some = own[start : start + most]
                found |= zip(some, self._batch([pictures[i] for i in some], size), strict=True)
        return [found[i] for i in range(len(pictures))]

    def detect_regions(self, picture: Picture, regions: Floats) -> Detections:
        """Look at the whole picture and, enlarged, at each region, so that far objects have pixels enough.

        A box that a region's edge cuts through is left to the views that see it whole.

        Args:
            picture: RGB uint8 (H, W, 3).
            regions: float32 (N, 4), x1, y1, x2, y2 normalised to 0-1 of the picture.

        Raises:
            ValueError: regions of a wrong shape, not finite, or without area inside the picture.
        """
        height, width = picture.shape[:2]
        crops = _crops(regions, width, height)
        views = [picture, *(np.ascontiguousarray(picture[y1:y2, x1:x2]) for x1, y1, x2, y2 in crops)]
        whole, *parts = self.detect(views)
        seen = [whole]
        for crop, found in zip(crops, parts, strict=True):
            moved = found.boxes + np.array([crop[0], crop[1]] * 2, np.float32)
            inside = ~_cut(moved, crop, width, height)
            seen.append(Detections(moved, found.scores, found.classes, found.names).select(inside))
        boxes, scores, classes = (
            np.concatenate([getattr(s, what) for s in seen]) for what in ("boxes", "scores", "classes")
        )
        best = self._suppress(boxes, scores, classes)
        return Detections(boxes[best], scores[best], classes[best], self.names)

    def _suppress(self, boxes: Floats, scores: Floats, rows: Ints) -> NDArray[np.intp]:
        """Return the rows that stay: NMS inside each class, then one box a place for the roles that ask for it."""
        manifest = self.bundle.manifest
        best = nms(boxes, scores, rows, manifest.nms_iou, manifest.max_detections)
        if manifest.one_per_place:
            best = best[
                nms(boxes[best], scores[best], self._groups[rows[best]], _SAME_PLACE, manifest.max_detections)
            ]
        return best

    def tensor(self, pictures: Sequence[Picture]) -> Floats:
        """Return the network's input float32 (B, 3, H, W) for pictures of one shape, without running it."""
        width, height = self._size_for(pictures[0])
        tensor = np.empty((len(pictures), 3, height, width), np.float32)
        for target, picture in zip(tensor, pictures, strict=True):
            self._fill(target, picture)
        return tensor

    def _size_for(self, picture: Picture) -> tuple[int, int]:
        """Return width and height of the input that a picture (H, W, 3) is laid into."""
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ValueError(f"picture: expected RGB uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
        high = round(picture.shape[0] * self._spec.width / picture.shape[1])
        return self._wide if high <= self._wide[1] else self.input_size

    def _batch(self, pictures: Sequence[Picture], input_size: tuple[int, int]) -> list[Detections]:
        size = next(b for b in self.batches(input_size) if b >= len(pictures))
        tensor = self._session.room(size, input_size[1], input_size[0])
        tensor[len(pictures) :] = 0
        fits = [self._fill(target, picture) for target, picture in zip(tensor, pictures, strict=False)]
        outputs = self._session.run(tensor)
        lowest = float(self._thresholds.min())
        raw = DECODERS[self.bundle.manifest.family](outputs, lowest, self._channels, input_size)
        return [self._finish(r, fit, p) for r, fit, p in zip(raw, fits, pictures, strict=False)]

    def _fill(self, target: Floats | Picture, picture: Picture) -> Letterbox:
        """Lay a picture into an input: its numbers float32 (3, H, W), or itself uint8 (H, W, 3)."""
        height, width = picture.shape[:2]
        as_it_is = target.dtype == np.uint8
        down, across = target.shape[:2] if as_it_is else target.shape[1:]
        scale = min(across / width, down / height)
        w, h = max(round(width * scale), 1), max(round(height * scale), 1)
        # Rounding as ultralytics' LetterBox does it, so that boxes agree to the pixel.
        left, top = round((across - w) / 2 - 0.1), round((down - h) / 2 - 0.1)
        if self._spec.corner:
            left = top = 0
        small = (
            picture
            if (w, h) == (width, height)
            else cv2.resize(picture, (w, h), interpolation=cv2.INTER_LINEAR)
        )
        if as_it_is:
            rows, pad = target, float(self._spec.pad)
            rows[top : top + h, left : left + w] = small
        else:
            self._planes = cv2.split(small, self._planes)
            planes = self._planes if self._spec.colour == "rgb" else self._planes[::-1]
            for row, plane in zip(target, planes, strict=True):
                cv2.LUT(plane, self._levels, dst=row[top : top + h, left : left + w])
            rows, pad = np.moveaxis(target, 0, -1), self._spec.pad / self._spec.scale
        rows[:top], rows[top + h :] = pad, pad
        rows[top : top + h, :left], rows[top : top + h, left + w :] = pad, pad
        return Letterbox(w / width, h / height, left, top)

    def _finish(self, raw: tuple[Floats, Floats, Ints], fit: Letterbox, picture: Picture) -> Detections:
        boxes, scores, channels = raw
        rows = self._row_of[channels]
        keep = scores >= self._thresholds[rows]
        boxes, scores, rows = boxes[keep], scores[keep], rows[keep]
        if NEEDS_NMS[self.bundle.manifest.family] or self.bundle.manifest.one_per_place:
            best = self._suppress(boxes, scores, rows)
            boxes, scores, rows = boxes[best], scores[best], rows[best]
        shift = np.array([fit.left, fit.top] * 2, np.float32)
        scale = np.array([fit.scale_x, fit.scale_y] * 2, np.float32)
        boxes = np.asarray((boxes - shift) / scale, np.float32)
        height, width = picture.shape[:2]
        np.clip(boxes, 0, np.array([width, height, width, height], np.float32), out=boxes)
        return Detections.clean(boxes, scores, rows, self.names)


def wide_size(square: tuple[int, int], stride: int = 32) -> tuple[int, int]:
    """Return width and height of the input for pictures of 16:9 and wider, of a network whose sides are free.

    Args:
        square: width and height of the bundle's input in pixels.
        stride: of the network's coarsest layer, in pixels; both sides are multiples of it.
    """
    return square[0], min(square[1], math.ceil(square[0] * _WIDE / stride) * stride)


def _wide(inputs: Shape, square: tuple[int, int], provider: str, stride: int) -> tuple[int, int]:
    """Return the input's size for wide pictures: `square` where the network, or a GPU's engine, has one size alone."""
    free = not isinstance(inputs[2], int) and not isinstance(inputs[3], int)
    if not free or provider not in {"cpu", "openvino"} or square[0] != square[1]:
        return square
    return wide_size(square, stride)


def _groups(bundle: Bundle) -> Ints:
    """Group of each class in the second pass: a number for each role of `one_per_place`, else the class alone."""
    roles = {role: i for i, role in enumerate(bundle.manifest.one_per_place)}
    classes = bundle.manifest.classes
    return np.array([roles.get(c.role, len(roles) + i) for i, c in enumerate(classes)], np.int32)


def _crops(regions: Floats, width: int, height: int) -> list[tuple[int, int, int, int]]:
    if regions.ndim != 2 or regions.shape[1] != 4 or not np.isfinite(regions).all():
        raise ValueError(f"regions: expected finite (N, 4) normalised x1 y1 x2 y2, got shape {regions.shape}")
    corners = np.clip(regions, 0, 1) * np.array([width, height, width, height])
    pixels = np.concatenate([np.floor(corners[:, :2]), np.ceil(corners[:, 2:])], 1).astype(int)
    if (pixels[:, 2:] - pixels[:, :2] < 2).any():
        raise ValueError("regions: one has no area inside the picture; give x1 < x2 and y1 < y2 in 0-1")
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in pixels]


def _cut(boxes: Floats, crop: tuple[int, int, int, int], width: int, height: int) -> NDArray[np.bool_]:
    """Boxes that touch a side of the crop which is no side of the picture."""
    x1, y1, x2, y2 = crop
    near = 2.0
    return np.asarray(
        ((boxes[:, 0] < x1 + near) & (x1 > 0))
        | ((boxes[:, 1] < y1 + near) & (y1 > 0))
        | ((boxes[:, 2] > x2 - near) & (x2 < width))
        | ((boxes[:, 3] > y2 - near) & (y2 < height)),
        np.bool_,
    )
