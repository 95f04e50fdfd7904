"""Objects that no detector names: what a person put down and left, found as static foreground.

Two backgrounds of the grey picture learn at two speeds. What differs from the slow one and agrees with the fast one
lies still and was not there before (Porikli, Ivanov, Haga, "Robust abandoned object detection using dual foregrounds",
2008). Time constants are seconds, so the sampling rate does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.geometry import Box, covered, iou

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]

FAST_S, SLOW_S = 1.0, 90.0
# Grey levels. A dark bag on wet, dark pavement differs by some 20; the noise is measured pixel by pixel, and a change
# must exceed it several times: foliage, water and coarse codecs raise their own threshold.
DIFFERENT, NOISIEST, NOISE_FACTOR = 11.0, 45.0, 5.0
NOISE_S = 20.0
# More than this share of the picture changing at once is light, a night switch or a moved camera.
LIGHT_SHARE = 0.35
MIN_AREA, MAX_AREA = 0.00025, 0.06
MAX_OBJECTS = 64
CERTAIN_SHARE = 0.12
SAME_TEXTURE = 0.8
RIM = 3
# Nobody puts down so many things at once: the camera was nudged, or the light changed in patches.
TOO_MANY = 6


@dataclass(frozen=True, slots=True)
class LeftObject:
    """A still thing that was not there before.

    Attributes:
        box: shares of the picture.
        born_mono_s: when it came to rest, monotonic seconds.
        area: share of the picture that it covers.
        stable_s: seconds since.
        key: stays with the object while it is there.
        had_owner: a person or vehicle covered the place just before.
    """

    box: Box
    born_mono_s: float
    area: float
    stable_s: float
    key: int
    had_owner: bool


@dataclass
class _Candidate:
    key: int
    box: Box
    born: float
    last: float
    had_owner: bool
    area: float = 0.0
    seen: int = 1
    look: Floats | None = field(default=None, repr=False)


class LeftObjectDetector:
    """One camera's static foreground. `observe` takes every judged frame."""

    def __init__(self, width: int, height: int) -> None:
        self._shape = (height, width)
        self._fast: Floats | None = None
        self._slow: Floats | None = None
        self._busy_until = np.full(self._shape, -1e9, np.float64)
        # Places that were covered when the background was begun: what is behind is learned when it shows.
        self._unknown = np.zeros(self._shape, bool)
        self._noise = np.full(self._shape, DIFFERENT / NOISE_FACTOR, np.float32)
        self._last: float | None = None
        self._started = 0.0
        self._candidates: list[_Candidate] = []
        self._next_key = 1

    def observe(
        self, luma: Grey, mono_s: float, occupied: NDArray[np.floating] | Sequence[Box]
    ) -> list[LeftObject]:
        """Take a grey picture uint8 (height, width) and the boxes of persons and vehicles (N, 4) in shares.

        Returns:
            the left objects of this moment.
        """
        if luma.shape != self._shape:
            raise ValueError(f"luma: expected {self._shape}, got {luma.shape}")
        grey = cv2.GaussianBlur(luma, (3, 3), 0).astype(np.float32)
        boxes: list[Box] = [(float(b[0]), float(b[1]), float(b[2]), float(b[3])) for b in occupied]
        self._mark_busy(boxes, mono_s)
        if self._fast is None or self._slow is None or self._last is None or mono_s - self._last > 30:
            self._restart(grey, mono_s)
            return []
        step = max(mono_s - self._last, 1e-3)
        self._last = mono_s
        grey = self._levelled(grey)
        limit = self._limit()
        changed = np.abs(grey - self._slow) > limit
        # A nudged camera brings new scenery in at its rim.
        changed[:RIM] = changed[-RIM:] = False
        changed[:, :RIM] = changed[:, -RIM:] = False
        if float(changed.mean()) > LIGHT_SHARE:
            self._restart(grey, mono_s)
            return []
        shown = self._unknown & (self._busy_until <= mono_s)
        self._slow[shown] = self._fast[shown] = grey[shown]
        self._unknown &= ~shown
        changed &= ~shown
        self._fast += (1 - np.exp(-step / FAST_S)) * (grey - self._fast)
        flicker = np.abs(grey - self._fast)
        still = flicker < limit / 2
        quiet = (1 - np.exp(-step / NOISE_S)) * ~changed
        self._noise += quiet * (np.minimum(flicker, NOISIEST) - self._noise)
        busy = self._busy_until > mono_s
        static = (changed & still & ~busy).astype(np.uint8)
        static = cv2.morphologyEx(static, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        static = cv2.morphologyEx(static, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        if self._associate(np.asarray(static, np.uint8), grey, busy, mono_s) > TOO_MANY:
            self._restart(grey, mono_s)
            return []
        self._learn(grey, changed, busy, step)
        return [
            LeftObject(c.box, c.born, c.area, mono_s - c.born, c.key, c.had_owner)
            for c in self._candidates
            if c.seen >= 2 and mono_s - c.last <= 1.0 + step
        ]

    def _restart(self, grey: Floats, mono_s: float) -> None:
        self._fast, self._slow, self._last, self._started = grey.copy(), grey.copy(), mono_s, mono_s
        self._candidates.clear()
        self._unknown = self._busy_until > mono_s

    def _levelled(self, grey: Floats) -> Floats:
        """Take a change of light or exposure that holds for the whole picture out of it."""
        assert_slow = self._slow if self._slow is not None else grey
        gain = float(np.median(assert_slow)) / max(float(np.median(grey)), 1.0)
        return grey * np.float32(np.clip(gain, 0.7, 1.4))

    def _limit(self) -> Floats:
        return np.asarray(np.clip(NOISE_FACTOR * self._noise, DIFFERENT, NOISIEST), np.float32)

    def _certain(self, grey: Floats) -> NDArray[np.bool_]:
        """True where the picture leaves the range of the background's 5 x 5 neighbourhood by more than the limit.

        A pole that sways by a pixel or two shifts every painted line: a region of changed pixels is an object only when some
        of them cannot be explained by such a shift.
        """
        slow = self._slow if self._slow is not None else grey
        kernel, limit = np.ones((5, 5), np.uint8), self._limit()
        return np.asarray(
            (grey > cv2.dilate(slow, kernel) + limit) | (grey < cv2.erode(slow, kernel) - limit), bool
        )

    def _mark_busy(self, boxes: Sequence[Box], mono_s: float) -> None:
        height, width = self._shape
        for x1, y1, x2, y2 in boxes:
            pad = 0.05 * (x2 - x1)
            rows = slice(max(0, int(y1 * height)), min(height, int(y2 * height) + 1))
            cols = slice(max(0, int((x1 - pad) * width)), min(width, int((x2 + pad) * width) + 1))
            self._busy_until[rows, cols] = mono_s + 0.4

    def _learn(self, grey: Floats, changed: NDArray[np.bool_], busy: NDArray[np.bool_], step: float) -> None:
        if self._slow is None:
            return
        # While a place is covered or differs, the background waits, so that an object stays foreground for minutes.
        rate = np.where(
            busy, 0.0, np.where(changed, 1 - np.exp(-step / (10 * SLOW_S)), 1 - np.exp(-step / 10.0))
        )
        self._slow += rate.astype(np.float32) * (grey - self._slow)

    def _associate(self, static: Grey, grey: Floats, busy: NDArray[np.bool_], mono_s: float) -> int:
        """Join the regions of this frame to the known objects; returns how many regions there were."""
        height, width = self._shape
        certain, regions = self._certain(grey), 0
        count, labels, stats, _ = cv2.connectedComponentsWithStats(static, connectivity=8)
        for i in range(1, min(count, 400)):
            x, y, w, h, pixels = (int(v) for v in stats[i])
            area = pixels / (width * height)
            box = (x / width, y / height, (x + w) / width, (y + h) / height)
            if (
                not MIN_AREA <= area <= MAX_AREA
                or pixels < 0.3 * w * h
                or max(w, h) > 5 * min(w, h)
                or min(w, h) < 4
            ):
                continue
            if int(certain[y : y + h, x : x + w][labels[y : y + h, x : x + w] == i].sum()) < max(
                4, CERTAIN_SHARE * pixels
            ):
                continue
            if self._explained(grey, (x, y, w, h)):
                continue
            regions += 1
            known = next(
                (
                    c
                    for c in self._candidates
                    if iou(c.box, box) > 0.25 or covered(c.box, box) > 0.5 or covered(box, c.box) > 0.5
                ),
                None,
            )
            if known is not None:
                known.last, known.seen, known.area = mono_s, known.seen + 1, area
                known.box = box if iou(known.box, box) > 0.25 or covered(known.box, box) > 0.5 else known.box
            elif len(self._candidates) < MAX_OBJECTS and self._is_object(grey, (x, y, w, h)):
                recent = float(self._busy_until[y : y + h, x : x + w].max()) > mono_s - 12
                self._candidates.append(_Candidate(self._next_key, box, mono_s, mono_s, recent, area))
                self._next_key += 1
        self._forget(busy, mono_s)
        return regions

    def _explained(self, grey: Floats, rect: tuple[int, int, int, int]) -> bool:
        """True when the background's own texture is there, only darker, brighter or shifted: a shadow, a light, a nudge."""
        if self._slow is None:
            return False
        x, y, w, h = rect
        height, width = self._shape
        rows, cols = slice(max(0, y - 2), min(height, y + h + 2)), slice(max(0, x - 2), min(width, x + w + 2))
        patch = grey[rows, cols]
        around = cv2.copyMakeBorder(self._slow, 3, 3, 3, 3, cv2.BORDER_REPLICATE)[
            rows.start : rows.stop + 6, cols.start : cols.stop + 6
        ]
        # A flat patch correlates with anything, so it explains nothing.
        if float(patch.std()) < 3.0 or min(patch.shape) < 5:
            return False
        return float(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED).max()) > SAME_TEXTURE

    def _forget(self, busy: NDArray[np.bool_], mono_s: float) -> None:
        height, width = self._shape
        alive = []
        for c in self._candidates:
            x1, y1, x2, y2 = c.box
            part = busy[int(y1 * height) : int(y2 * height) + 1, int(x1 * width) : int(x2 * width) + 1]
            if part.size and float(part.mean()) > 0.3:
                c.last = max(c.last, mono_s - 0.5)
            if mono_s - c.last <= (3.0 if c.seen < 5 else 8.0):
                alive.append(c)
        self._candidates = alive

    def _is_object(self, grey: Floats, rect: tuple[int, int, int, int]) -> bool:
        """True when the outline is in the present picture and not in the background: else something left, and this is its ghost."""
        if self._slow is None:
            return False
        x, y, w, h = rect
        mask = np.zeros(self._shape, np.uint8)
        part = (np.abs(grey - self._slow) > self._limit()).astype(np.uint8)
        mask[y : y + h, x : x + w] = part[y : y + h, x : x + w]
        kernel = np.ones((3, 3), np.uint8)
        rim = (cv2.dilate(mask, kernel, iterations=1) - cv2.erode(mask, kernel, iterations=1)).astype(bool)
        if rim.sum() < 8:
            return False
        return float(_edge(grey)[rim].mean()) > 1.15 * float(_edge(self._slow)[rim].mean())


def _edge(grey: Floats) -> Floats:
    gx, gy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(gx, gy), np.float32)
