"""Evidence pictures: the context with zone and box, the crop at full resolution, heads and plates made unreadable."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.geometry import Box, iou
from models.detections import Detections

Picture = NDArray[np.uint8]
# 85: below it, blocks show at the edges of plates and bags in the crop; above it, files grow by half for nothing seen.
JPEG_QUALITY = 85
VEHICLES = frozenset({"car", "bus", "truck", "motorcycle"})


def jpeg(picture: Picture) -> bytes:
    """Encode RGB uint8 (H, W, 3) as JPEG."""
    done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"a picture of {picture.shape} cannot be encoded")
    return bytes(data.tobytes())


def blur_people(
    picture: Picture, detections: Detections, width: int, height: int, subject: Box | None
) -> bool:
    """Make heads, and plates of vehicles other than the subject, unreadable in place; True when anything was changed.

    No face or plate detector is installed, so whole regions go: the upper 28 % of a person's box, the lower 45 % of a
    vehicle's middle. Each is averaged to 4 x 4 tiles, which cannot be undone as a Gaussian blur partly can.
    """
    changed = False
    scale = np.array([picture.shape[1] / width, picture.shape[0] / height] * 2)
    for i in range(len(detections)):
        name = detections.name_of(i)
        x1, y1, x2, y2 = detections.boxes[i] * scale
        w, h = x2 - x1, y2 - y1
        if name == "person":
            region = (x1 - 0.05 * w, y1 - 0.06 * h, x2 + 0.05 * w, y1 + 0.28 * h)
        elif name in VEHICLES:
            shares = detections.boxes[i] / np.array([width, height] * 2)
            if subject is not None and iou((shares[0], shares[1], shares[2], shares[3]), subject) > 0.4:
                continue
            region = (x1 + 0.15 * w, y1 + 0.55 * h, x2 - 0.15 * w, y2)
        else:
            continue
        changed = _tiles(picture, region) or changed
    return changed


def _tiles(picture: Picture, region: Sequence[float]) -> bool:
    height, width = picture.shape[:2]
    x1, y1 = max(0, int(region[0])), max(0, int(region[1]))
    x2, y2 = min(width, int(region[2]) + 1), min(height, int(region[3]) + 1)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return False
    small = cv2.resize(picture[y1:y2, x1:x2], (4, 4), interpolation=cv2.INTER_AREA)
    picture[y1:y2, x1:x2] = cv2.resize(small, (x2 - x1, y2 - y1), interpolation=cv2.INTER_NEAREST)
    return True


def context(picture: Picture, polygon: Sequence[tuple[float, float]], box: Box) -> Picture:
    """Return a copy with the zone's outline and the subject's box drawn."""
    out = picture.copy()
    height, width = out.shape[:2]
    thick = max(1, round(width / 640))
    corners = np.round(np.asarray(polygon) * [width, height]).astype(np.int32)
    cv2.polylines(out, [corners], True, (255, 190, 0), thick, cv2.LINE_AA)
    x1, y1, x2, y2 = (round(v * s) for v, s in zip(box, (width, height, width, height), strict=True))
    cv2.rectangle(out, (x1, y1), (x2, y2), (255, 45, 45), thick + 1, cv2.LINE_AA)
    return out


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
