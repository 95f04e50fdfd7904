"""A bundle becomes a detector on ONNX Runtime: pictures in, `Detections` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from contract import ModelRef
from models.bundle import Bundle, BundleError, Family
from models.detections import Detections, Floats, Ints, Picture
from models.families import DECODERS, NEEDS_NMS, nms

# Fixed, warmed sizes: ONNX Runtime's memory grows with every new batch shape.
BATCH_SIZES = (1, 2, 4, 8, 16)
_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was fitted into the input: x' = x * scale + left."""

    scale: float
    left: int
    top: int


class Detector:
    """One session of one bundle. Not for two threads at once."""

    def __init__(self, bundle: Bundle, provider: str = "auto", threads: int = 1, max_batch: int = 4) -> None:
        """Load the bundle.

        Raises:
            BundleError: the ONNX file cannot be loaded, or its shapes do not fit the manifest.
        """
        self.bundle = bundle
        self.provider = choose_provider(provider, ort.get_available_providers())
        self._spec = bundle.manifest.input
        self._session = _session(bundle, self.provider, threads)
        self._batches = tuple(b for b in BATCH_SIZES if b <= max(1, max_batch))
        shape = _check(bundle, self._session)
        if isinstance(shape[0], int):
            self._batches = (shape[0],)
        self._channels: Ints = np.array([c.index for c in bundle.manifest.classes], np.int32)
        self._thresholds: Floats = np.array([c.threshold for c in bundle.manifest.classes], np.float32)
        self._row_of = np.full(int(self._channels.max()) + 1, -1, np.int32)
        self._row_of[self._channels] = np.arange(len(self._channels))

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the model's input in pixels."""
        return self._spec.width, self._spec.height

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
        """Run every batch size once, so that no camera waits for the first frame and memory is at its height."""
        blank = np.full((self._spec.height, self._spec.width, 3), self._spec.pad, np.uint8)
        for size in self._batches:
            self.detect([blank] * size)

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Return the objects of each picture in that picture's own pixels.

        Args:
            pictures: RGB uint8 (H, W, 3), each of any size.
        """
        out: list[Detections] = []
        most = self._batches[-1]
        for start in range(0, len(pictures), most):
            out += self._batch(pictures[start : start + most])
        return out

    def _batch(self, pictures: Sequence[Picture]) -> list[Detections]:
        size = next(b for b in self._batches if b >= len(pictures))
        tensor = np.empty((size, 3, self._spec.height, self._spec.width), np.float32)
        tensor[len(pictures) :] = 0
        boxes_of = [self._fill(tensor[i], picture) for i, picture in enumerate(pictures)]
        outputs = self._session.run(None, {self._spec.name: tensor})
        lowest = float(self._thresholds.min())
        raw = DECODERS[self.bundle.manifest.family](outputs, lowest, self._channels, self.input_size)
        return [self._finish(r, fit, p) for r, fit, p in zip(raw, boxes_of, pictures, strict=False)]

    def _fill(self, target: Floats, picture: Picture) -> Letterbox:
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ValueError(f"picture: expected RGB uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
        height, width = picture.shape[:2]
        scale = min(self._spec.width / width, self._spec.height / height)
        w, h = round(width * scale), round(height * scale)
        # Rounding as ultralytics' LetterBox does it, so that boxes agree to the pixel.
        left, top = round((self._spec.width - w) / 2 - 0.1), round((self._spec.height - h) / 2 - 0.1)
        small = (
            picture
            if (w, h) == (width, height)
            else cv2.resize(picture, (w, h), interpolation=cv2.INTER_LINEAR)
        )
        planes = (
            small.transpose(2, 0, 1) if self._spec.colour == "rgb" else small[:, :, ::-1].transpose(2, 0, 1)
        )
        target[:] = self._spec.pad / self._spec.scale
        np.divide(planes, self._spec.scale, out=target[:, top : top + h, left : left + w], casting="unsafe")
        return Letterbox(scale, left, top)

    def _finish(self, raw: tuple[Floats, Floats, Ints], fit: Letterbox, picture: Picture) -> Detections:
        boxes, scores, channels = raw
        rows = self._row_of[channels]
        keep = scores >= self._thresholds[rows]
        boxes, scores, rows = boxes[keep], scores[keep], rows[keep]
        manifest = self.bundle.manifest
        if NEEDS_NMS[manifest.family]:
            best = nms(boxes, scores, rows, manifest.nms_iou, manifest.max_detections)
            boxes, scores, rows = boxes[best], scores[best], rows[best]
        boxes = (boxes - np.array([fit.left, fit.top, fit.left, fit.top], np.float32)) / fit.scale
        height, width = picture.shape[:2]
        np.clip(boxes, 0, np.array([width, height, width, height], np.float32), out=boxes)
        return Detections.clean(boxes, scores, rows, self.names)


def choose_provider(wish: str, available: Sequence[str]) -> str:
    """Return the ONNX Runtime provider for a wish: `auto` takes CUDA where it is, else OpenVINO, else the CPU.

    Raises:
        ValueError: the wish is unknown, or its provider is not in this ONNX Runtime.
    """
    if wish == "auto":
        return next(
            p
            for p in ("CUDAExecutionProvider", "OpenVINOExecutionProvider", "CPUExecutionProvider")
            if p in available
        )
    if wish not in _PROVIDERS:
        raise ValueError(f"model.provider: {wish!r} is unknown; use auto, {', '.join(_PROVIDERS)}")
    if _PROVIDERS[wish] not in available:
        raise ValueError(
            f"model.provider: {wish} is not in this ONNX Runtime (it has {', '.join(available)}); use auto"
        )
    return _PROVIDERS[wish]


def _session(bundle: Bundle, provider: str, threads: int) -> Any:
    options: Any = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning thread burns the core that the decoders need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chain = [provider] if provider == "CPUExecutionProvider" else [provider, "CPUExecutionProvider"]
    try:
        return ort.InferenceSession(str(bundle.onnx_path), options, providers=chain)
    except Exception as exc:  # ONNX Runtime raises its own undocumented types
        raise BundleError(f"{bundle.onnx_path}: ONNX Runtime cannot load it: {exc}") from None


def _check(bundle: Bundle, session: Any) -> list[Any]:
    spec, family = bundle.manifest.input, bundle.manifest.family
    inputs = {i.name: i.shape for i in session.get_inputs()}
    if spec.name not in inputs:
        raise BundleError(f"input.name: {spec.name!r} is none of the model's inputs {sorted(inputs)}")
    shape = list(inputs[spec.name])
    if (
        len(shape) != 4
        or shape[1] != 3
        or any(
            isinstance(g, int) and g != w for g, w in zip(shape[2:], (spec.height, spec.width), strict=True)
        )
    ):
        raise BundleError(
            f"input: the model takes {shape}, the manifest says (N, 3, {spec.height}, {spec.width})"
        )
    outs = [o.shape for o in session.get_outputs()]
    highest = max(c.index for c in bundle.manifest.classes)
    classes: dict[Family, Callable[[], Any]] = {
        Family.YOLO: lambda: outs[0][1] - 4,
        Family.YOLO_END2END: lambda: 10**6 if outs[0][2] == 6 else 0,
        Family.YOLOX: lambda: outs[0][2] - 5,
        Family.CENTERNET: lambda: max(o[1] for o in outs) if len(outs) == 2 else 0,
    }
    try:
        count = int(classes[family]())
    except (TypeError, IndexError, ValueError):
        raise BundleError(f"family: {family} does not fit outputs of the shapes {outs}") from None
    if count <= highest:
        raise BundleError(
            f"family: {family} reads {count} classes from outputs {outs}, the manifest names channel {highest}"
        )
    return shape


def iou(a: Floats, b: Floats) -> NDArray[np.float32]:
    """Return the IoU of every pair: (N, 4) and (M, 4) boxes x1 y1 x2 y2 give (N, M)."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inter = np.prod(np.clip(corner, 0, None), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9), np.float32)
