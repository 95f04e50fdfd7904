"""Evidence pictures: the context with zone and box, the crop at full resolution."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.geometry import Box

Picture = NDArray[np.uint8]
# 85: below it, blocks show at the edges of plates and bags in the crop; above it, files grow by half for nothing seen.
JPEG_QUALITY = 85


class _Room(threading.local):
    """Each thread's room for one picture, as large as its largest: in new memory the system finds 1080p 1 500 pages, some 5 ms."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def of(self, shape: tuple[int, ...]) -> Picture:
        """Return room for a picture of a shape; what it holds means nothing."""
        size = math.prod(shape)
        if self._bytes.size < size:
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size].reshape(shape)


_ROOM = _Room()


def jpeg(picture: Picture) -> bytes:
    """Encode RGB uint8 (H, W, 3) as JPEG."""
    # By OpenCV: a view with the channels turned round would be copied byte by byte, which takes as long as the encoding.
    turned = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR, dst=_ROOM.of(picture.shape))
    done, data = cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"a picture of {picture.shape} cannot be encoded")
    return bytes(data.tobytes())


def read(data: bytes) -> Picture:
    """Return a JPEG as RGB uint8 (H, W, 3).

    Raises:
        ValueError: it does not decode.
    """
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if found is None:
        raise ValueError("the picture does not decode")
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)


def context(picture: Picture, polygon: Sequence[tuple[float, float]], box: Box) -> Picture:
    """Draw the zone's outline and the subject's box into the picture, and return it."""
    height, width = picture.shape[:2]
    thick = max(1, round(width / 640))
    corners = np.round(np.asarray(polygon) * [width, height]).astype(np.int32)
    cv2.polylines(picture, [corners], True, (255, 190, 0), thick, cv2.LINE_AA)
    x1, y1, x2, y2 = (round(v * s) for v, s in zip(box, (width, height, width, height), strict=True))
    cv2.rectangle(picture, (x1, y1), (x2, y2), (255, 45, 45), thick + 1, cv2.LINE_AA)
    return picture


def crop(picture: Picture, box: Box, margin: float = 0.25) -> Picture:
    """Return the subject with a margin, at the picture's own resolution."""
    height, width = picture.shape[:2]
    w, h = box[2] - box[0], box[3] - box[1]
    x1, y1 = max(0, int((box[0] - margin * w) * width)), max(0, int((box[1] - margin * h) * height))
    x2, y2 = (
        min(width, int((box[2] + margin * w) * width) + 1),
        min(height, int((box[3] + margin * h) * height) + 1),
    )
    return np.ascontiguousarray(picture[y1:y2, x1:x2])
