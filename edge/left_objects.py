"""Objects that no detector names: what a person put down and left, found as static foreground.

What differs from a slowly learned background and has kept its look for a while lies still and was not there before
(after Porikli, Ivanov, Haga, "Robust abandoned object detection using dual foregrounds", 2008; here the fast background
is the value at which each pixel settled and the moment since). All times are seconds, so the sampling rate does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge.geometry import Box, covered, iou
from edge.left_pixels import DIFFERENT, GRID, Pixels, Room, Window, wanted
from edge.left_regions import (
    Background,
    Grey,
    Mask,
    Region,
    is_new,
    is_old_texture,
    is_shift,
    regions_of,
)
from edge.medians import Cells, median

# Spread (standard deviation) of the grey levels of a street by day; at dusk and in haze all differences shrink with it.
USUAL_SPREAD, LEAST_DIFFERENT = 40.0, 5.0
# Light is told by so many pixels a row.
LOOKED_AT = 64
# A change of light that makes less than a grey level anywhere is none.
LEAST_GAIN = 1 / 256
# More than this share of the open view changing at once is light, a night switch or a moved camera.
LIGHT_SHARE = 0.35
MAX_OBJECTS = 64
# Nobody puts down so many things at once: the camera was nudged, or the light changed in patches.
TOO_MANY, LEAST_MANY, AT_ONCE_S = 6, 3, 1.6
# A gap after which the old background means nothing.
GAP_S = 30.0
# A region keeps this share of the known thing's size. Under the second share for so long it is another thing.
SAME_SIZE, OTHER_SIZE, OTHER_S = 0.7, 0.4, 2.0
# So long a thing is remembered that is not seen: one that has lain for a while, longer.
YOUNG_S, OLD_S, SURE_S = 3.0, 8.0, 2.0
# A known thing that keeps its place is asked only at every so many looks whether it is one; what failed is asked at each: bags in the
# rain fail for a look or two.
ASKED_EVERY, UNMOVED = 4, 0.8


@dataclass(frozen=True, slots=True)
class LeftObject:
    """A still thing that was not there before.

    Attributes:
        box: shares of the picture.
        born_mono_s: when it came to rest, monotonic seconds.
        area: share of the picture that it covers.
        stable_s: seconds since.
        key: stays with the object while it is there.
        seen: frames in which it was seen.
    """

    box: Box
    born_mono_s: float
    area: float
    stable_s: float
    key: int
    seen: int = 2


@dataclass
class _Candidate:
    key: int
    box: Box
    born: float
    last: float
    area: float = 0.0
    seen: int = 1
    other_since: float | None = None
    doubted: bool = False


# The windows on the view: where things are looked for, and a sample of the whole that tells the light.
NEAR, VIEW = 0, 1


class LeftObjectDetector:
    """One camera's static foreground. `observe` takes every judged frame.

    Things are looked for in a part of the view, since each pixel costs memory that the network has driven out of the processor's
    cache; light is told from things by a thin sample of the whole view.
    """

    def __init__(self, width: int, height: int, within: Box = (0.0, 0.0, 1.0, 1.0)) -> None:
        """Things that touch the ground in `within` (x1 y1 x2 y2, shares of the picture) are found whole."""
        self.shape, self._within = (height, width), within
        self._near = Window(self.shape, *wanted(self.shape, within))
        step = max(1, max(width, height) // LOOKED_AT)
        view = Window(self.shape, range(0, height, step), range(0, width, step))
        self._pixels = Pixels(self._near, view)
        self._cells = Cells(GRID, *view.shape)
        # In a part of the view fewer come up when the camera is nudged.
        self._most = max(LEAST_MANY, round(TOO_MANY * self._near.size / (width * height)))
        self._zero: float | None = None
        self._last = float("-inf")
        self._candidates: list[_Candidate] = []
        self._next_key = 1

    def finds(self, shape: tuple[int, ...], within: Box) -> bool:
        """Whether it takes pictures of a shape (height, width), and things in a part of them are found by it."""
        if shape != self.shape:
            return False
        if within == self._within:
            return True
        own = self._near.rows, self._near.cols
        return all(
            o.start <= r.start and r.stop <= o.stop for o, r in zip(own, wanted(shape, within), strict=True)
        )

    def widened(self, within: Box) -> LeftObjectDetector:
        """Return a detector for other zones on the same view, which knows what this one knows."""
        height, width = self.shape
        other = LeftObjectDetector(width, height, within)
        other._pixels.go_on_from(self._pixels)
        other._zero, other._last = self._zero, self._last
        other._candidates, other._next_key = self._candidates, self._next_key
        return other

    def observe(self, luma: Grey, mono_s: float, occupied: Sequence[Box]) -> list[LeftObject]:
        """Take a grey picture uint8 (height, width) and the boxes of persons and vehicles, in shares.

        Returns:
            the left objects of this moment.
        """
        if luma.shape != self.shape:
            raise ValueError(f"luma: expected {self.shape}, got {luma.shape}")
        if self._zero is None:
            self._zero = mono_s
        # float32 keeps milliseconds only near zero, so times count from the first frame.
        now = mono_s - self._zero
        pixels, room = self._pixels, _ROOM.of(self._pixels.shape[1])
        blurred = np.asarray(cv2.GaussianBlur(luma, (3, 3), 0), np.uint8)
        pixels.take(blurred, occupied, now)
        if now - self._last > GAP_S:
            self._restart(now)
            return []
        step, self._last = max(now - self._last, 1e-3), now
        self._level()
        pixels.find_changes(self._least(), room)
        if self._light_changed():
            self._restart(now)
            return []
        pixels.show()
        static = pixels.static(now - step, now, room)
        models = (
            pixels.of(NEAR, values) for values in (pixels.slow, pixels.limit, pixels.grey, pixels.since)
        )
        if self._associate(pixels.of(NEAR, static), Background(*models), now) > self._most:
            self._restart(now)
            return []
        pixels.learn(step, room)
        return [
            LeftObject(c.box, c.born + self._zero, c.area, now - c.born, c.key, c.seen)
            for c in self._candidates
            if c.seen >= 2 and now - c.last <= 1.0 + step
        ]

    def _restart(self, now: float) -> None:
        self._pixels.restart(now)
        self._last = now
        self._candidates.clear()

    def _level(self) -> None:
        """Take out changes of light and exposure, fitted over a grid of the picture by the places that nobody covers.

        Medians of ratios pixel by pixel, not the ratio of medians: two people close to the camera halved the median of
        a hall, and its exposure was taken for a change of light.
        """
        slow, grey, free = (
            self._pixels.of(VIEW, v) for v in (self._pixels.slow, self._pixels.grey, self._pixels.free)
        )
        gains = self._cells.medians(slow / grey, free > 0)
        if gains is not None and float(np.abs(gains - 1).max()) >= LEAST_GAIN:
            self._pixels.level(np.clip(gains, 0.5, 2.0, out=gains))

    def _least(self) -> float:
        """Return the least change that counts, in grey levels."""
        spread = float(cv2.meanStdDev(self._pixels.of(VIEW, self._pixels.slow))[1][0, 0])
        return max(DIFFERENT * min(1.0, spread / USUAL_SPREAD), LEAST_DIFFERENT)

    def _light_changed(self) -> bool:
        """True when the view that nobody covers changed for the most part."""
        changed, free = (self._pixels.of(VIEW, mask) for mask in (self._pixels.changed, self._pixels.free))
        seen, open_ = cv2.countNonZero(cv2.bitwise_and(changed, free)), cv2.countNonZero(free)
        return open_ > 0.1 * changed.size and seen > LIGHT_SHARE * open_

    def _associate(self, static: Mask, background: Background, now: float) -> int:
        """Join the regions of this frame to the known objects; returns how many came up at once."""
        height, width = self.shape
        largest: dict[int, Region] = {}
        for region in regions_of(static, height * width):
            # Of what the window cuts nobody knows how large it is, or where it stands.
            if self._near.cuts(region.rect):
                continue
            box = self._near.share(region.rect)
            known = self._known(box)
            if (
                known is None
                or known.doubted
                or known.seen % ASKED_EVERY == 0
                or iou(known.box, box) < UNMOVED
            ):
                doubted = is_shift(background, region) or is_old_texture(background, region.rect)
                if known is not None:
                    known.doubted = doubted
                if doubted:
                    continue
            if known is None:
                if len(self._candidates) < MAX_OBJECTS and is_new(background, region.rect):
                    self._add(region, box, now)
            elif known.key not in largest or largest[known.key].area < region.area:
                largest[known.key] = region
        for c in self._candidates:
            if c.key in largest:
                self._follow(c, largest[c.key], background, now)
        self._forget(now)
        return sum(now - c.born <= AT_ONCE_S for c in self._candidates)

    def _follow(self, known: _Candidate, region: Region, background: Background, now: float) -> None:
        """Take this frame's region of a known object."""
        box = self._near.share(region.rect)
        ratio = min(known.area, region.area) / max(known.area, region.area)
        if ratio < SAME_SIZE:
            # While a thing falls over, scraps of it are seen. What stays of another size is another thing: a shoe's
            # shadow lay where the bag was put later, or a man whom no detector saw stood over it and left.
            known.other_since = now if known.other_since is None else known.other_since
            lasting = region.area > known.area or now - known.other_since >= OTHER_S
            if lasting and self._pixels.covered(NEAR, known.box) == 0.0:
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
        self._candidates.append(_Candidate(self._next_key, box, self._born(region), now, region.area))
        self._next_key += 1

    def _born(self, region: Region) -> float:
        x, y, w, h = region.rect
        return median(self._pixels.of(NEAR, self._pixels.since)[y : y + h, x : x + w][region.own > 0])

    def _forget(self, now: float) -> None:
        for c in self._candidates:
            if self._pixels.covered(NEAR, c.box) > 0.3:
                c.last = max(c.last, now - 0.5)
        self._candidates = [
            c for c in self._candidates if now - c.last <= (OLD_S if c.last - c.born >= SURE_S else YOUNG_S)
        ]


_ROOM = Room()
