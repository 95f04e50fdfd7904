"""Regions of static foreground: which of them are things, and which are shadows, ghosts or a nudged camera.

Pictures are float32 (height, width) in grey levels; a `Rect` is x, y, width, height in pixels of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.medians import median

Grey = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rect = tuple[int, int, int, int]

MIN_AREA, MAX_AREA = 0.00025, 0.06
CERTAIN_SHARE = 0.12
SAME_TEXTURE = 0.8
MAX_REGIONS = 400
# A nudged camera shifts its view by so many pixels; 3 left the white lines of a car park as things.
SWAY = 6
# Of a new thing, against the ground before it: edges along its outline, contrast to a ring of so many pixels round it.
MORE_EDGE, LEAST_EDGE, MORE_CONTRAST, RING = 1.15, 0.75, 1.8, 6

_OPENED, _CLOSED, _NEAR = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8), 4


@dataclass(frozen=True, slots=True)
class Background:
    """The background, its limits of change, the present picture and since when each pixel has kept its value."""

    slow: Floats
    limit: Floats
    grey: Floats
    since: Floats

    def cut(self, rect: Rect, pad: int) -> tuple[Floats, Floats, Floats]:
        """Return background, limits and picture round a rectangle."""
        x, y, w, h = rect
        rows, cols = slice(max(0, y - pad), y + h + pad), slice(max(0, x - pad), x + w + pad)
        return self.slow[rows, cols], self.limit[rows, cols], self.grey[rows, cols]


@dataclass(frozen=True, slots=True)
class Region:
    """A compact region: its rectangle, its own pixels in it (1), the share of the picture that they cover."""

    rect: Rect
    own: Mask
    area: float


def part_of(mask: Mask, near: int = 0) -> tuple[slice, slice] | None:
    """Return the rows and columns in which a mask lies, with so many pixels round them; None where it is empty."""
    x, y, w, h = cv2.boundingRect(mask)
    return (slice(max(0, y - near), y + h + near), slice(max(0, x - near), x + w + near)) if w else None


def regions_of(static: Mask, whole: int) -> Iterator[Region]:
    """Yield the compact regions of a mask (0, or anything else), from the top downwards; `whole` is the picture's size in pixels.

    Outlines are a twentieth of the cost of labels with statistics for the whole picture, and most regions are specks:
    only what may be compact is labelled, in its own rectangle.
    """
    # Closing joins what is near; it reads so far beyond it.
    if (part := part_of(static, _NEAR)) is None:
        return
    y0, x0 = part[0].start, part[1].start
    static = np.asarray(cv2.morphologyEx(static[part], cv2.MORPH_OPEN, _OPENED), np.uint8)
    if (part := part_of(static, _NEAR)) is None:
        return
    y0, x0 = y0 + part[0].start, x0 + part[1].start
    static = static[part]
    static = np.asarray(cv2.morphologyEx(static, cv2.MORPH_CLOSE, _CLOSED), np.uint8)
    outlines, levels = cv2.findContours(static, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    # Of the two levels the second has the holes.
    outer = [o for o, level in zip(outlines, levels[0].tolist(), strict=True) if level[3] < 0]
    for outline in outer[: -MAX_REGIONS - 1 : -1]:
        x, y, w, h = (int(v) for v in cv2.boundingRect(outline))
        if min(w, h) < 4 or max(w, h) > 5 * min(w, h):
            continue
        _, labels = cv2.connectedComponents(static[y : y + h, x : x + w], connectivity=8)
        first_x, first_y = outline[0, 0].tolist()
        own = (labels == labels[first_y - y, first_x - x]).astype(np.uint8)
        pixels = cv2.countNonZero(own)
        area = pixels / whole
        if pixels >= 0.3 * w * h and MIN_AREA <= area <= MAX_AREA:
            yield Region((x0 + x, y0 + y, w, h), own, area)


def is_shift(background: Background, region: Region) -> bool:
    """True when the background's 5 x 5 neighbourhood explains the region.

    A pole that sways by a pixel or two shifts every painted line: a region of changed pixels is an object only when some
    of them leave the range of their neighbourhood by more than the limit.
    """
    (x, y, w, h), own = region.rect, region.own
    slow, limit, grey = background.cut(region.rect, 2)
    beyond = (grey > cv2.dilate(slow, _CLOSED) + limit) | (grey < cv2.erode(slow, _CLOSED) - limit)
    top, left = min(y, 2), min(x, 2)
    sure = int(np.count_nonzero(beyond[top : top + h, left : left + w] & (own > 0)))
    return sure < max(4, CERTAIN_SHARE * cv2.countNonZero(own))


def is_old_texture(background: Background, rect: Rect) -> bool:
    """True when the background's own texture is there, only darker, brighter or shifted: a shadow, a light, a nudge."""
    _, _, patch = background.cut(rect, 2)
    around, _, _ = background.cut(rect, 2 + SWAY)
    # A flat patch correlates with anything, so it explains nothing.
    if min(patch.shape) < 5 or float(cv2.meanStdDev(patch)[1][0, 0]) < 3.0:
        return False
    return float(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED).max()) > SAME_TEXTURE


def is_new(background: Background, rect: Rect) -> bool:
    """True when the thing is in the present picture and not in the background: else something left, and this is its ghost.

    A thing brings its outline with it; where the ground is as rough as the thing, it stands out from what is round it
    more than the ground did.
    """
    slow, limit, grey = background.cut(rect, RING)
    part = (cv2.absdiff(grey, slow) > limit).astype(np.uint8)
    near = cv2.dilate(part, np.ones((3, 3), np.uint8))
    rim = (near - cv2.erode(part, np.ones((3, 3), np.uint8))).astype(bool)
    if np.count_nonzero(rim) < 8:
        return False
    edges = float(_edge(grey)[rim].mean()) / max(float(_edge(slow)[rim].mean()), 1e-3)
    if edges > MORE_EDGE or edges <= LEAST_EDGE:
        return edges > MORE_EDGE
    inside, ring = part > 0, (cv2.dilate(part, np.ones((9, 9), np.uint8)) - near) > 0
    if not ring.any():
        return False
    now, before = (abs(median(a[inside]) - median(a[ring])) for a in (grey, slow))
    return now > MORE_CONTRAST * before and now > median(limit.ravel())


def _edge(grey: Floats) -> Floats:
    gx, gy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(gx, gy), np.float32)
