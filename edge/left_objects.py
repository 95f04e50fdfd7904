"""Objects that no detector names: what a person put down and left, found as static foreground.

What differs from a slowly learned background and has kept its look for a while lies still and was not there before
(after Porikli, Ivanov, Haga, "Robust abandoned object detection using dual foregrounds", 2008; here the fast background
is the value at which each pixel settled and the moment since). All times are seconds, so the sampling rate does not matter.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.geometry import Box, covered, iou
from edge.left_regions import (
    Background,
    Floats,
    Grey,
    Mask,
    Region,
    is_new,
    is_old_texture,
    is_shift,
    regions_of,
)
from edge.medians import Cells

# The background's own time, and how slowly it takes in what differs: an object stays foreground for minutes.
BACKGROUND_S, FOREGROUND_S = 10.0, 900.0
# Grey levels at usual contrast. A dark bag on wet, dark pavement differs by some 20; the noise is measured pixel by
# pixel, and a change must exceed it several times: foliage, water and coarse codecs raise their own threshold.
DIFFERENT, NOISIEST, NOISE_FACTOR = 11.0, 45.0, 5.0
NOISE_S = 20.0
# Spread (standard deviation) of the grey levels of a street by day; at dusk and in haze all differences shrink with it.
USUAL_SPREAD, LEAST_DIFFERENT = 40.0, 5.0
# A pixel that kept its value so long, within this share of the limit of change, lies still.
STILL_S, STILL_SHARE = 0.8, 0.7
# Light is levelled over a grid of so many cells a side (an object fills less than half of one), on so many pixels a row.
GRID, LOOKED_AT, DARK = 3, 64, 8.0
# More than this share of the open view changing at once is light, a night switch or a moved camera.
LIGHT_SHARE = 0.35
MAX_OBJECTS = 64
# Pictures of a city's cameras have three or four shapes; room is kept for so many.
MAX_SHAPES = 8
RIM = 3
# Nobody puts down so many things at once: the camera was nudged, or the light changed in patches.
TOO_MANY, AT_ONCE_S = 6, 1.6
# What is carried beside a person reaches half of this part of the width beyond the box.
CARRIED = 16
# A gap after which the old background means nothing.
GAP_S = 30.0
# A region keeps this share of the known thing's size. Under the second share for so long it is another thing.
SAME_SIZE, OTHER_SIZE, OTHER_S = 0.7, 0.4, 2.0
# So long a thing is remembered that is not seen: one that has lain for a while, longer.
YOUNG_S, OLD_S, SURE_S = 3.0, 8.0, 2.0
OWNER_S = 12.0


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
        seen: frames in which it was seen.
    """

    box: Box
    born_mono_s: float
    area: float
    stable_s: float
    key: int
    had_owner: bool
    seen: int = 2


@dataclass
class _Candidate:
    key: int
    box: Box
    born: float
    last: float
    had_owner: bool
    area: float = 0.0
    seen: int = 1
    other_since: float | None = None


class LeftObjectDetector:
    """One camera's static foreground. `observe` takes every judged frame."""

    def __init__(self, width: int, height: int) -> None:
        self.shape = self._shape = (height, width)
        self._stride = max(1, max(width, height) // LOOKED_AT)
        self._cells = Cells(GRID, -(-height // self._stride), -(-width // self._stride))
        self._slow, self._settled = np.zeros(self._shape, np.float32), np.zeros(self._shape, np.float32)
        self._since = np.zeros(self._shape, np.float32)
        # The look before this one. It and the present one change places, so that no picture is ever made anew.
        self._before, self._grey = np.zeros(self._shape, np.float32), np.zeros(self._shape, np.float32)
        self._busy_until = np.full(self._shape, -1e9, np.float32)
        # Places that were covered when the background was begun: what is behind is learned when it shows.
        self._unknown: Mask | None = None
        self._noise = np.full(self._shape, DIFFERENT / NOISE_FACTOR, np.float32)
        self._zero: float | None = None
        self._last = float("-inf")
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
        if self._zero is None:
            self._zero = mono_s
        # float32 keeps milliseconds only near zero, so times count from the first frame.
        now = mono_s - self._zero
        grey, room = self._grey, _ROOMS.of(self._shape)
        # All models lie this much above the picture: only their ratios mind, and those do not run away in the dark.
        np.add(cv2.GaussianBlur(luma, (3, 3), 0), DARK, out=grey, casting="unsafe", dtype=np.float32)
        busy = self._mark_busy(occupied, now)
        if now - self._last > GAP_S:
            self._restart(grey, now, busy)
            return []
        step, self._last = max(now - self._last, 1e-3), now
        free = np.asarray(cv2.bitwise_not(busy), np.uint8)
        self._level(grey, free, room)
        limit = self._limit(room)
        cv2.absdiff(grey, self._slow, dst=room.a)
        changed = np.asarray(cv2.compare(room.a, limit, cv2.CMP_GT), np.uint8)
        # A nudged camera brings new scenery in at its rim.
        changed[:RIM] = changed[-RIM:] = 0
        changed[:, :RIM] = changed[:, -RIM:] = 0
        if self._light_changed(changed, free):
            self._restart(grey, now, busy)
            return []
        self._show(grey, changed, busy, free)
        still = self._settle(grey, limit, busy, now - step, room)
        there = cv2.bitwise_and(cv2.bitwise_and(changed, still), free)
        lasting = cv2.compare(self._since, now - STILL_S, cv2.CMP_LE)  # type: ignore[call-overload]
        static = cv2.bitwise_and(there, lasting)
        background = Background(self._slow, limit, grey, self._since)
        if self._associate(np.asarray(static, np.uint8), background, busy, now) > TOO_MANY:
            self._restart(grey, now, busy)
            return []
        self._learn(grey, changed, free, step, room)
        return [
            LeftObject(c.box, c.born + self._zero, c.area, now - c.born, c.key, c.had_owner, c.seen)
            for c in self._candidates
            if c.seen >= 2 and now - c.last <= 1.0 + step
        ]

    def _restart(self, grey: Floats, now: float, busy: Mask) -> None:
        for model in (self._slow, self._settled, self._before):
            np.copyto(model, grey)
        self._last = now
        self._since.fill(now)
        self._candidates.clear()
        # People carry things beside them.
        side = max(3, self._shape[1] // CARRIED)
        self._unknown = np.asarray(cv2.dilate(busy, np.ones((side, side), np.uint8)), np.uint8)

    def _level(self, grey: Floats, free: Mask, room: _Room) -> None:
        """Take out changes of light and exposure, fitted over a grid of the picture by the places that nobody covers.

        Medians of ratios pixel by pixel, not the ratio of medians: two people close to the camera halved the median of
        a hall, and its exposure was taken for a change of light.
        """
        step = self._stride
        ratio = self._slow[::step, ::step] / grey[::step, ::step]
        gains = self._cells.medians(ratio, free[::step, ::step] > 0)
        if gains is None:
            return
        height, width = self._shape
        np.clip(gains, 0.5, 2.0, out=gains)
        cv2.resize(gains, (width, height), dst=room.a, interpolation=cv2.INTER_LINEAR)
        np.multiply(grey, room.a, out=grey)

    def _limit(self, room: _Room) -> Floats:
        some = np.ascontiguousarray(self._slow[:: self._stride, :: self._stride])
        spread = float(cv2.meanStdDev(some)[1][0, 0])
        least = max(DIFFERENT * min(1.0, spread / USUAL_SPREAD), LEAST_DIFFERENT)
        np.multiply(self._noise, NOISE_FACTOR, out=room.limit)
        return np.clip(room.limit, least, NOISIEST, out=room.limit)

    def _mark_busy(self, boxes: NDArray[np.floating] | Sequence[Box], now: float) -> Mask:
        height, width = self._shape
        for x1, y1, x2, y2 in np.asarray(boxes, np.float64).reshape(-1, 4).tolist():
            pad = 0.05 * (x2 - x1)
            rows = slice(max(0, int(y1 * height)), min(height, int(y2 * height) + 1))
            cols = slice(max(0, int((x1 - pad) * width)), min(width, int((x2 + pad) * width) + 1))
            self._busy_until[rows, cols] = now + 0.4
        return np.asarray(cv2.compare(self._busy_until, now, cv2.CMP_GT), np.uint8)  # type: ignore[call-overload]

    def _light_changed(self, changed: Mask, free: Mask) -> bool:
        """True when the view that nobody covers changed for the most part."""
        seen, open_ = cv2.countNonZero(cv2.bitwise_and(changed, free)), cv2.countNonZero(free)
        return open_ > 0.1 * changed.size and seen > LIGHT_SHARE * open_

    def _show(self, grey: Floats, changed: Mask, busy: Mask, free: Mask) -> None:
        """Learn what was covered when the background was begun and shows now."""
        if self._unknown is None:
            return
        shown = cv2.bitwise_and(self._unknown, free)
        if cv2.countNonZero(shown):
            cv2.copyTo(grey, shown, self._slow)
            changed[shown > 0] = 0
            self._unknown = np.asarray(cv2.bitwise_and(self._unknown, busy), np.uint8)
        if not cv2.countNonZero(self._unknown):
            self._unknown = None

    def _settle(self, grey: Floats, limit: Floats, busy: Mask, last: float, room: _Room) -> Mask:
        """Note where the picture took another value, and since when it has kept it; returns where it keeps it now.

        Two looks must agree that a value is gone: a raindrop or a grain of noise is one look. A covered place is not
        looked at.
        """
        settled, off, both, close = self._settled, room.a, room.b, room.c
        cv2.absdiff(grey, settled, dst=off)
        cv2.absdiff(self._before, settled, dst=both)
        cv2.min(off, both, dst=both)
        np.multiply(limit, STILL_SHARE, out=close)
        moved = np.asarray(cv2.compare(both, close, cv2.CMP_GT), np.uint8)
        still = np.asarray(cv2.compare(off, close, cv2.CMP_LE), np.uint8)
        _put(self._since, moved, last, both)
        _put(self._since, busy, self._last, both)
        # There it takes the present value, so it is still by definition.
        cv2.bitwise_or(moved, busy, dst=moved)
        cv2.copyTo(grey, moved, settled)
        cv2.bitwise_or(still, moved, dst=still)
        cv2.accumulateWeighted(grey, settled, 0.2, still)
        return still

    def _learn(self, grey: Floats, changed: Mask, free: Mask, step: float, room: _Room) -> None:
        differs = np.asarray(cv2.bitwise_and(changed, free), np.uint8)
        # While a place is covered the background waits.
        if (part := _part(differs)) is not None:
            slowly = 1 - math.exp(-step / FOREGROUND_S)
            cv2.accumulateWeighted(grey[part], self._slow[part], slowly, differs[part])
        cv2.accumulateWeighted(
            grey, self._slow, 1 - math.exp(-step / BACKGROUND_S), cv2.bitwise_xor(differs, free)
        )
        # One step to another value, such as an object that is put down, is no noise: it counts three times the usual.
        flicker, most = room.a, room.b
        cv2.absdiff(grey, self._before, dst=flicker)
        cv2.addWeighted(self._noise, 3, self._noise, 0, 1, dst=most)
        cv2.min(flicker, most, dst=flicker)
        cv2.accumulateWeighted(flicker, self._noise, 1 - math.exp(-step / NOISE_S), free)
        self._before, self._grey = grey, self._before

    def _associate(self, static: Mask, background: Background, busy: Mask, now: float) -> int:
        """Join the regions of this frame to the known objects; returns how many came up at once."""
        height, width = self._shape
        largest: dict[int, Region] = {}
        for region in regions_of(static):
            x, y, w, h = region.rect
            box = (x / width, y / height, (x + w) / width, (y + h) / height)
            if is_shift(background, region) or is_old_texture(background, region.rect):
                continue
            known = self._known(box)
            if known is None:
                if len(self._candidates) < MAX_OBJECTS and is_new(background, region.rect):
                    self._add(region, box, now)
            elif known.key not in largest or largest[known.key].area < region.area:
                largest[known.key] = region
        for c in self._candidates:
            if c.key in largest:
                self._follow(c, largest[c.key], background, busy, now)
        self._forget(busy, now)
        return sum(now - c.born <= AT_ONCE_S for c in self._candidates)

    def _follow(
        self, known: _Candidate, region: Region, background: Background, busy: Mask, now: float
    ) -> None:
        """Take this frame's region of a known object."""
        height, width = self._shape
        x, y, w, h = region.rect
        box = (x / width, y / height, (x + w) / width, (y + h) / height)
        ratio = min(known.area, region.area) / max(known.area, region.area)
        if ratio < SAME_SIZE:
            # While a thing falls over, scraps of it are seen. What stays of another size is another thing: a shoe's
            # shadow lay where the bag was put later, or a man whom no detector saw stood over it and left.
            known.other_since = now if known.other_since is None else known.other_since
            lasting = region.area > known.area or now - known.other_since >= OTHER_S
            if lasting and self._covered(known.box, busy) == 0.0:
                if ratio < OTHER_SIZE:
                    if not is_new(background, region.rect):
                        return
                    known.born = self._born(region)
                known.box, known.area, known.other_since = box, region.area, None
        else:
            known.other_since = None
            if iou(known.box, box) > 0.25 or covered(known.box, box) > 0.5:
                known.box, known.area = box, region.area
        known.last, known.seen = now, known.seen + 1

    def _covered(self, box: Box, busy: Mask) -> float:
        """Return how much of a box persons and vehicles cover, 0 to 1."""
        height, width = self._shape
        x1, y1, x2, y2 = box
        part = busy[int(y1 * height) : int(y2 * height) + 1, int(x1 * width) : int(x2 * width) + 1]
        return float(np.count_nonzero(part)) / part.size if part.size else 0.0

    def _known(self, box: Box) -> _Candidate | None:
        return next(
            (
                c
                for c in self._candidates
                if iou(c.box, box) > 0.25 or covered(c.box, box) > 0.5 or covered(box, c.box) > 0.5
            ),
            None,
        )

    def _add(self, region: Region, box: Box, now: float) -> None:
        x, y, w, h = region.rect
        born = self._born(region)
        owner = float(self._busy_until[y : y + h, x : x + w].max()) > born - OWNER_S
        self._candidates.append(_Candidate(self._next_key, box, born, now, owner, region.area))
        self._next_key += 1

    def _born(self, region: Region) -> float:
        x, y, w, h = region.rect
        return float(np.median(self._since[y : y + h, x : x + w][region.own > 0]))

    def _forget(self, busy: Mask, now: float) -> None:
        for c in self._candidates:
            if self._covered(c.box, busy) > 0.3:
                c.last = max(c.last, now - 0.5)
        self._candidates = [
            c for c in self._candidates if now - c.last <= (OLD_S if c.last - c.born >= SURE_S else YOUNG_S)
        ]


class _Room:
    """Pictures that live as long as a look: one set for all cameras of a thread, so that they stay in the processor's cache."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.a, self.b, self.c, self.limit = (np.zeros(shape, np.float32) for _ in range(4))


class _Rooms(threading.local):
    """Each thread's room by the picture's shape (height, width)."""

    def __init__(self) -> None:
        self._by: dict[tuple[int, int], _Room] = {}

    def of(self, shape: tuple[int, int]) -> _Room:
        """Return room for pictures of a shape; what it holds means nothing."""
        if shape not in self._by:
            if len(self._by) >= MAX_SHAPES:
                self._by.clear()
            self._by[shape] = _Room(shape)
        return self._by[shape]


_ROOMS = _Rooms()


def _part(mask: Mask) -> tuple[slice, slice] | None:
    """Return the rows and columns in which a mask lies; None where it is empty."""
    x, y, w, h = cv2.boundingRect(mask)
    return (slice(y, y + h), slice(x, x + w)) if w and h else None


def _put(into: Floats, where: Mask, value: float, room: Floats) -> None:
    """Write a value into the pixels of a mask."""
    if (part := _part(where)) is not None:
        room[part].fill(value)
        cv2.copyTo(room[part], where[part], into[part])
