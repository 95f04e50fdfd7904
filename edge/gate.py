"""The motion gate: is anything moving inside the zones? On a small grey picture, 0.1-0.2 ms.

Measured on CCTV: the difference to a picture some frames ago has an AUC of 0.905 at a fifth of MOG2's cost, and no
exposure shift blinds it; it misses people who stand, which the heartbeat and the attentive rate catch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from camera_adapters.levels import level_at

Grey = NDArray[np.uint8]
# Grey levels above the noise, and the share of the zones' pixels that must change.
LEVEL, SHARE = 14, 0.002
MIN_PIXELS = 12
BLUR = 2
_SPECK = np.ones((3, 3), np.uint8)


class MotionGate:
    """Motion inside polygons of one camera. `polygons` are (N, 2) corners in shares; none means the whole picture."""

    def __init__(self, polygons: Sequence[NDArray[np.float32]]) -> None:
        self._polygons = list(polygons)
        self._zones: _Zones | None = None
        self._before: tuple[Grey, float] | None = None

    def observe(self, luma: Grey, _mono_s: float) -> bool:
        """Take a grey picture uint8 (h, w) and return True when the zones moved since the one before."""
        zones = self._zones
        if zones is None or zones.shape != luma.shape:
            zones, self._before = _Zones(luma.shape, self._polygons), None
            self._zones = zones
        # A quarter of the rows tells the light as well.
        level, before = level_at(luma[::4], 0.5), self._before
        part = zones.blurred(luma)
        self._before = part, level
        if before is None:
            return True
        # The whole picture's change of light is not motion.
        shift = level - before[1]
        change = cv2.subtract(part, before[0], dtype=cv2.CV_16S)
        still = cv2.inRange(change, math.ceil(shift - LEVEL), math.floor(shift + LEVEL))
        moved = cv2.bitwise_and(cv2.bitwise_not(still), zones.mask)
        if cv2.countNonZero(moved) < zones.least:
            # Without its specks it is no more.
            return False
        moved = cv2.morphologyEx(moved, cv2.MORPH_OPEN, _SPECK)
        return cv2.countNonZero(moved) >= zones.least


class _Zones:
    """The zones drawn at the picture's size: the part of it in which they lie, and in that part their mask."""

    def __init__(self, shape: tuple[int, ...], polygons: Sequence[NDArray[np.float32]]) -> None:
        self.shape = shape
        mask = np.zeros(shape, np.uint8)
        scale = np.array([shape[1], shape[0]], np.float32)
        for polygon in polygons:
            cv2.fillPoly(mask, [np.round(polygon * scale).astype(np.int32)], 255)
        if not polygons:
            mask[:] = 255
        # People and vehicles touch a zone with their feet: what they do begins a little above it.
        mask = np.asarray(cv2.dilate(mask, np.ones((9, 9), np.uint8)), np.uint8)
        self.least = max(MIN_PIXELS, int(SHARE * cv2.countNonZero(mask)))
        x, y, w, h = cv2.boundingRect(mask)
        # A pixel more all round: the filter of specks must see that the mask ends there.
        self._part = slice(max(0, y - 1), y + h + 1), slice(max(0, x - 1), x + w + 1)
        self.mask = np.ascontiguousarray(mask[self._part])
        # What the blur reads of what is round it.
        self._read = tuple(slice(max(0, s.start - BLUR), s.stop + BLUR) for s in self._part)
        self._own = tuple(
            slice(s.start - r.start, s.stop - r.start) for s, r in zip(self._part, self._read, strict=True)
        )

    def blurred(self, luma: Grey) -> Grey:
        """Return the part of a picture, blurred."""
        # OpenCV would read beyond a view's rim, but only as far as it lies in the picture; a copy of its own has none.
        size = 2 * BLUR + 1
        return np.asarray(cv2.GaussianBlur(luma[self._read], (size, size), 0)[self._own], np.uint8)
