"""A made street for tests: textured ground, a red 'car' that stands, a blue 'walker' that crosses, and a detector of these colours."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from contract import ModelRef
from models.detections import Detections

WIDTH, HEIGHT, FPS = 320, 240, 10
CAR = (120, 110, 190, 160)
NAMES = ("person", "car")


def ground(seed: int = 7) -> NDArray[np.uint8]:
    """Return a grey, textured picture."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(70, 130, (HEIGHT // 4, WIDTH // 4), dtype=np.uint8)
    grey = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.repeat(grey[:, :, None], 3, axis=2)


def draw(second: float, car_from: float, car_to: float) -> NDArray[np.uint8]:
    """Return the street at a moment."""
    picture = ground().copy()
    if car_from <= second < car_to:
        x1, y1, x2, y2 = CAR
        picture[y1:y2, x1:x2] = (200, 30, 30)
        picture[y1 + 8 : y1 + 22, x1 + 12 : x2 - 12] = (120, 10, 10)
    x = int((second * 25) % (WIDTH + 40)) - 20
    picture[100:170, max(0, x) : max(0, x + 20)] = (30, 40, 200)
    return picture


def make_clip(
    path: Path,
    seconds: float,
    car_from: float = 0.0,
    car_to: float = 1e9,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Path:
    """Write the street as H.264 with a key frame a second, scaled to a size."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(
            "libx264", rate=FPS, options={"preset": "ultrafast", "crf": "18", "bf": "0", "g": str(FPS)}
        )
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for n in range(round(seconds * FPS)):
            picture = cv2.resize(draw(n / FPS, car_from, car_to), size, interpolation=cv2.INTER_NEAREST)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


class ColourDetector:
    """Finds the red car and the blue walker. Stands in for a network, which knows no painted streets."""

    input_size = (WIDTH, HEIGHT)
    ref = ModelRef(name="colour", version="1", sha256="0" * 64)
    provider = "test"

    def warm(self) -> None:
        """Nothing to warm."""

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return the coloured boxes of each picture."""
        return [self._one(p.astype(np.int16)) for p in pictures]

    def _one(self, p: NDArray[np.int16]) -> Detections:
        boxes, classes = [], []
        for channel, other, index in ((2, 0, 0), (0, 2, 1)):
            mask = ((p[:, :, channel] - p[:, :, other] > 60) & (p[:, :, channel] > 80)).astype(np.uint8)
            count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
            for i in range(1, count):
                x, y, w, h, area = stats[i]
                if area > 250:
                    boxes.append([x, y, x + w, y + h])
                    classes.append(index)
        if not boxes:
            return Detections.empty(NAMES)
        return Detections(
            np.asarray(boxes, np.float32),
            np.full(len(boxes), 0.9, np.float32),
            np.asarray(classes, np.int32),
            NAMES,
        )
