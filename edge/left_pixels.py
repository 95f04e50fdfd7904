"""The background of some pixels of a view: what they look like, how much they flicker, who stands before them.

Pictures are uint8 or float32 (height, width) in grey levels; times are seconds from a camera's first look.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.geometry import Box
from edge.left_regions import Floats, Grey, Mask, Rect, part_of

Value = TypeVar("Value", bound=np.generic)

# A pixel that kept its value so long, within this share of the limit of change, lies still.
STILL_S, STILL_SHARE = 0.8, 0.7
# The background's own time, and how slowly it takes in what differs: an object stays foreground for minutes.
BACKGROUND_S, FOREGROUND_S = 10.0, 900.0
# Grey levels at usual contrast. A dark bag on wet, dark pavement differs by some 20; the noise is measured pixel by
# pixel, and a change must exceed it several times: foliage, water and coarse codecs raise their own threshold.
DIFFERENT, NOISIEST, NOISE_FACTOR = 11.0, 45.0, 5.0
NOISE_S = 20.0
DARK = 8.0
RIM = 3
# A place that was covered is covered for so long.
COVERED_S, MOST_COVERS = 0.4, 2000
# What is carried beside a person reaches half of this part of the width beyond the box.
CARRIED = 16
# Light is levelled over a grid of so many cells a side (an object fills less than half of one).
GRID = 3
# What lies in a part of a view reaches so far beyond it, in shares of the picture, and is compared with so many pixels round it.
ASIDE, ABOVE, BELOW, ROUND = 0.1, 0.3, 0.02, 10


class Window:
    """Some rows and columns of a camera's pictures: the ones that are looked at, or a thin sample of all.

    `inside` is 255 but for the picture's rim, where a nudged camera brings new scenery in.
    """

    def __init__(self, picture: tuple[int, int], rows: range, cols: range) -> None:
        """`picture` is the height and width of the whole."""
        self.picture, self.rows, self.cols = picture, rows, cols
        self.shape = len(rows), len(cols)
        self.size = len(rows) * len(cols)
        self.cut = slice(rows.start, rows.stop, rows.step), slice(cols.start, cols.stop, cols.step)
        self._down, self._across = _between(rows, picture[0]), _between(cols, picture[1]).T
        self.inside = np.full(self.shape, 255, np.uint8)
        for numbers, length, lines in ((rows, picture[0], self.inside), (cols, picture[1], self.inside.T)):
            lines[_within(numbers, 0, RIM)] = lines[_within(numbers, length - RIM, length)] = 0

    def brighter(self, gains: Floats) -> Floats:
        """Return the factor of each pixel for those of a grid's cells, blended linearly between their middles."""
        return np.asarray(self._down @ gains @ self._across, np.float32)

    def within(self, y1: int, y2: int, x1: int, x2: int) -> tuple[slice, slice]:
        """Return which of its rows and columns lie in those of the picture from y1 and x1 to before y2 and x2."""
        return _within(self.rows, y1, y2), _within(self.cols, x1, x2)

    def fill(self, mask: Mask, covers: Sequence[tuple[float, tuple[int, int, int, int]]]) -> None:
        """Set to 255 what of places of the picture (rows from, to, columns from, to; with a time each) lies in the window."""
        # As `within` counts, without the calls: a dozen boxes a look.
        row, down, col, across = self.rows.start, self.rows.step, self.cols.start, self.cols.step
        for _, (y1, y2, x1, x2) in covers:
            if y2 > row and x2 > col:
                top, left = max(0, -((row - y1) // down)), max(0, -((col - x1) // across))
                mask[top : -((row - y2) // down), left : -((col - x2) // across)] = 255

    def cuts(self, rect: Rect) -> bool:
        """True when a rectangle of own pixels ends where the window does and the picture does not: more of it may lie beyond."""
        height, width = self.picture
        x, y, w, h = rect
        beside = (x == 0 and self.cols.start > 0) or (x + w == self.shape[1] and self.cols.stop < width)
        return (
            beside or (y == 0 and self.rows.start > 0) or (y + h == self.shape[0] and self.rows.stop < height)
        )

    def share(self, rect: Rect) -> Box:
        """Return a rectangle of own pixels in shares of the picture; where they lie side by side."""
        height, width = self.picture
        x, y, w, h = rect[0] + self.cols.start, rect[1] + self.rows.start, rect[2], rect[3]
        return x / width, y / height, (x + w) / width, (y + h) / height


class Pixels:
    """Background, noise and cover of the pixels of several windows, one after the other in one row: what is done for each is done once.

    Attributes:
        grey: the present look, levelled; `before` is the one before it.
        slow: the background.
        limit: by how much a pixel must differ from it; holds until another camera's turn.
        busy, free: 255 where a person or vehicle covers the view, and where none does.
        changed: 255 where the present look is not the background's.
        since: since when it has kept its value.
    """

    def __init__(self, *windows: Window) -> None:
        self.windows = windows
        ends = np.cumsum([0, *(w.size for w in windows)]).tolist()
        self._parts = [slice(a, b) for a, b in pairwise(ends)]
        self.shape = shape = (1, ends[-1])
        # The look before this one. It and the present one change places, so that no picture is ever made anew.
        self.slow, self.before, self.grey = (np.zeros(shape, np.float32) for _ in range(3))
        # Rows and columns of who covers the view, each with the time until when.
        self._covers: list[tuple[float, tuple[int, int, int, int]]] = []
        self._settled, self.since = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._noise = np.full(shape, DIFFERENT / NOISE_FACTOR, np.float32)
        # Places that were covered when the background was begun: what is behind is learned when it shows.
        self._unknown: Mask | None = None
        self._inside = np.concatenate([w.inside.reshape(1, -1) for w in windows], axis=1)
        self.limit = self.slow
        self._nobody, self._open = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
        self.changed = self.busy = self.free = self._nobody

    def of(self, number: int, values: NDArray[Value]) -> NDArray[Value]:
        """Return a window's rows and columns of one of the arrays (1, pixels)."""
        return values[0, self._parts[number]].reshape(self.windows[number].shape)

    def take(self, picture: Grey, boxes: Sequence[Sequence[float]], now: float) -> None:
        """Take a look uint8 (the picture's height, width) and the boxes of who covers it, in shares."""
        for n, window in enumerate(self.windows):
            # All models lie this much above the picture: only their ratios mind, and those do not run away in the dark.
            out = self.of(n, self.grey)
            np.add(picture[window.cut], DARK, out=out, casting="unsafe", dtype=np.float32)
        self._cover(boxes, now)

    def _cover(self, boxes: Sequence[Sequence[float]], now: float) -> None:
        height, width = self.windows[0].picture
        covers = [(until, place) for until, place in self._covers if until > now]
        for x1, y1, x2, y2 in boxes:
            pad = 0.05 * (x2 - x1)
            rows = max(0, int(y1 * height)), min(height, int(y2 * height) + 1)
            cols = max(0, int((x1 - pad) * width)), min(width, int((x2 + pad) * width) + 1)
            covers.append((now + COVERED_S, (*rows, *cols)))
        self._covers = covers[-MOST_COVERS:]
        if not covers:
            self.busy, self.free = self._nobody, self._open
            return
        self.busy = np.zeros(self.shape, np.uint8)
        for n, window in enumerate(self.windows):
            window.fill(self.of(n, self.busy), self._covers)
        self.free = np.asarray(cv2.bitwise_not(self.busy), np.uint8)

    def level(self, gains: Floats) -> None:
        """Make the present look brighter by a factor for each cell of the grid."""
        for n, window in enumerate(self.windows):
            grey = self.of(n, self.grey)
            np.multiply(grey, window.brighter(gains), out=grey)

    def find_changes(self, least: float, room: Room) -> None:
        """Set `limit` and `changed`; `least` is the smallest limit, in grey levels."""
        np.multiply(self._noise, NOISE_FACTOR, out=room.limit)
        self.limit = np.clip(room.limit, least, NOISIEST, out=room.limit)
        cv2.absdiff(self.grey, self.slow, dst=room.a)
        self.changed = np.asarray(cv2.compare(room.a, self.limit, cv2.CMP_GT), np.uint8)
        cv2.bitwise_and(self.changed, self._inside, dst=self.changed)

    def show(self) -> None:
        """Learn what was covered when the background was begun and shows now."""
        if self._unknown is None:
            return
        shown = np.asarray(cv2.bitwise_and(self._unknown, self.free), np.uint8)
        if cv2.countNonZero(shown):
            cv2.copyTo(self.grey, shown, self.slow)
            self.changed[shown > 0] = 0
            self._unknown = _or_none(np.asarray(cv2.bitwise_and(self._unknown, self.busy), np.uint8))

    def learn(self, step: float, room: Room) -> None:
        """Take the present look into background and noise; `step` is the time since the one before."""
        differs = np.asarray(cv2.bitwise_and(self.changed, self.free), np.uint8)
        # While a place is covered the background waits.
        if (part := part_of(differs)) is not None:
            slowly = 1 - math.exp(-step / FOREGROUND_S)
            cv2.accumulateWeighted(self.grey[part], self.slow[part], slowly, differs[part])
        alike = cv2.bitwise_xor(differs, self.free)
        cv2.accumulateWeighted(self.grey, self.slow, 1 - math.exp(-step / BACKGROUND_S), alike)
        # One step to another value, such as an object that is put down, is no noise: it counts three times the usual.
        flicker, most = room.a, room.b
        cv2.absdiff(self.grey, self.before, dst=flicker)
        cv2.addWeighted(self._noise, 3, self._noise, 0, 1, dst=most)
        cv2.min(flicker, most, dst=flicker)
        cv2.accumulateWeighted(flicker, self._noise, 1 - math.exp(-step / NOISE_S), self.free)
        self.before, self.grey = self.grey, self.before

    def static(self, last: float, now: float, room: Room) -> Mask:
        """Return where the look is not the background's and has kept its value for a while; `last` is the time of the look before."""
        still = self._settle(last, now, room)
        there = cv2.bitwise_and(cv2.bitwise_and(self.changed, still), self.free)
        lasting = cv2.compare(self.since, now - STILL_S, cv2.CMP_LE)  # type: ignore[call-overload]
        return np.asarray(cv2.bitwise_and(there, lasting), np.uint8)

    def _settle(self, last: float, now: float, room: Room) -> Mask:
        """Note where the picture took another value, and since when it has kept it; returns where it keeps it now.

        Two looks must agree that a value is gone: a raindrop or a grain of noise is one look. A covered place is not
        looked at.
        """
        settled, off, both, close = self._settled, room.a, room.b, room.c
        cv2.absdiff(self.grey, settled, dst=off)
        cv2.absdiff(self.before, settled, dst=both)
        cv2.min(off, both, dst=both)
        np.multiply(self.limit, STILL_SHARE, out=close)
        moved = np.asarray(cv2.compare(both, close, cv2.CMP_GT), np.uint8)
        still = np.asarray(cv2.compare(off, close, cv2.CMP_LE), np.uint8)
        put(self.since, moved, last, both)
        put(self.since, self.busy, now, both)
        # There it takes the present value, so it is still by definition.
        cv2.bitwise_or(moved, self.busy, dst=moved)
        cv2.copyTo(self.grey, moved, settled)
        cv2.bitwise_or(still, moved, dst=still)
        cv2.accumulateWeighted(self.grey, settled, 0.2, still)
        return still

    def restart(self, now: float) -> None:
        """Make the present look the background."""
        for model in (self.slow, self._settled, self.before):
            np.copyto(model, self.grey)
        self.since.fill(now)
        unknown = np.zeros(self.shape, np.uint8)
        for n, window in enumerate(self.windows):
            # People carry things beside them.
            side = max(3, window.picture[1] // CARRIED // window.cols.step + 1)
            wide = cv2.dilate(self.of(n, self.busy), np.ones((side, side), np.uint8))
            np.copyto(self.of(n, unknown), wide)
        self._unknown = _or_none(unknown)

    def go_on_from(self, earlier: Pixels) -> None:
        """Take over what other windows on the same view know. What they do not show is learned when it is first seen."""
        self._covers = earlier._covers
        unknown = np.full(self.shape, 255, np.uint8)
        known = np.zeros(earlier.shape, np.uint8) if earlier._unknown is None else earlier._unknown
        models = (
            (self.slow, earlier.slow),
            (self.before, earlier.before),
            (self.since, earlier.since),
            (self._settled, earlier._settled),
            (self._noise, earlier._noise),
            (unknown, known),
        )
        for n, (window, other) in enumerate(zip(self.windows, earlier.windows, strict=True)):
            rows, cols = _common(window.rows, other.rows), _common(window.cols, other.cols)
            for mine, theirs in models:
                self.of(n, mine)[rows[0], cols[0]] = earlier.of(n, theirs)[rows[1], cols[1]]
        self._unknown = _or_none(unknown)

    def covered(self, number: int, box: Box) -> float:
        """Return how much of a box (shares of the picture) persons and vehicles cover in a window, 0 to 1."""
        window = self.windows[number]
        height, width = window.picture
        x1, y1, x2, y2 = box
        place = window.within(int(y1 * height), int(y2 * height) + 1, int(x1 * width), int(x2 * width) + 1)
        part = self.of(number, self.busy)[place]
        return float(np.count_nonzero(part)) / part.size if part.size else 0.0


class Room(threading.local):
    """Rows that live as long as a look: one memory for all cameras of a thread, so that it stays in the processor's cache."""

    def __init__(self) -> None:
        self._memory = np.zeros((4, 0), np.float32)
        self.of(0)

    def of(self, size: int) -> Self:
        """Return itself with rows (1, size); what they hold means nothing."""
        if size > self._memory.shape[1]:
            self._memory = np.zeros((4, size), np.float32)
        self.a, self.b, self.c, self.limit = (row[None, :size] for row in self._memory)
        return self


def wanted(picture: tuple[int, int], within: Box) -> tuple[range, range]:
    """Return the rows and columns that show the things which touch the ground in a part of a view (shares), and what is round them."""
    (height, width), (x1, y1, x2, y2) = picture, within
    rows = int((y1 - ABOVE) * height) - ROUND, math.ceil((y2 + BELOW) * height) + ROUND
    cols = int((x1 - ASIDE) * width) - ROUND, math.ceil((x2 + ASIDE) * width) + ROUND
    return range(max(0, rows[0]), min(height, rows[1])), range(max(0, cols[0]), min(width, cols[1]))


def put(into: Floats, where: Mask, value: float, room: Floats) -> None:
    """Write a value into the pixels of a mask."""
    if (part := part_of(where)) is not None:
        room[part].fill(value)
        cv2.copyTo(room[part], where[part], into[part])


def _or_none(mask: Mask) -> Mask | None:
    """Return a mask, None where it is empty."""
    return mask if cv2.countNonZero(mask) else None


def _within(numbers: range, start: int, stop: int) -> slice:
    """Return which of some rows or columns of a picture lie from `start` to before `stop`."""
    first, last = (max(0, -(-(at - numbers.start) // numbers.step)) for at in (start, stop))
    return slice(first, last)


def _common(mine: range, theirs: range) -> tuple[slice, slice]:
    """Return which rows or columns of one window, and which of another of the same step, are the same of the picture."""
    both = max(mine.start, theirs.start), min(mine.stop, theirs.stop)
    return _within(mine, *both), _within(theirs, *both)


def _between(numbers: range, length: int) -> Floats:
    """Return the weights (rows or columns, cells) by which the cells of a grid over `length` of them are blended."""
    places = (np.asarray(numbers, np.float64) + 0.5) * GRID / length - 0.5
    weights = 1 - np.abs(np.clip(places, 0, GRID - 1)[:, None] - np.arange(GRID))
    return np.asarray(np.maximum(weights, 0), np.float32)
