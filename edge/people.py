"""Short tracks of persons and vehicles, to tell the owner of a left object from those who pass by."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from edge.boxes import FEW, array_of
from edge.geometry import Box, iou

MAX_TRACKS = 256
# How a camera that looks down 30 degrees shortens depth, and how far a box may end from the feet, in heights.
DEPTH, FEET_SLACK = 0.5, 0.2
# A path keeps no more than these points, so a minute at every rate.
PATH_STEP_S, PATH_POINTS = 0.2, 300
# A walker covers about one body height a second; boxes jitter by a third of one.
STEP, LONGEST_GAP_S = 0.35, 1.5


@dataclass
class Track:
    """One person or vehicle while it is in view. Boxes are shares of the picture."""

    id: int
    box: Box
    born: float
    last: float
    path: deque[tuple[float, Box]] = field(default_factory=lambda: deque(maxlen=PATH_POINTS))

    def take(self, mono_s: float, box: Box) -> None:
        """Note where it is."""
        self.box, self.last = box, mono_s
        if not self.path or mono_s - self.path[-1][0] >= PATH_STEP_S - 1e-6:
            self.path.append((mono_s, box))

    def there(self, begin: float, end: float) -> bool:
        """True when it was in view between two moments."""
        return self.last >= begin and self.born <= end


class ShortTracks:
    """Nearest-box association over seconds. An identity that is lost counts as gone: that errs on the side of a person's look."""

    def __init__(self, memory_s: float = 3.0) -> None:
        self._memory, self._next = memory_s, 1
        self.tracks: list[Track] = []
        self.gone: deque[Track] = deque(maxlen=64)

    def observe(self, boxes: list[Box], mono_s: float, aspect: float) -> None:
        """Take the boxes of one frame; `aspect` is width over height of the picture."""
        self.gone.extend(t for t in self.tracks if mono_s - t.last > self._memory)
        self.tracks = [t for t in self.tracks if mono_s - t.last <= self._memory]
        free = set(range(len(boxes)))
        pairs = sorted(_near(self.tracks, boxes, aspect), key=lambda p: p[0])
        by_id = {t.id: t for t in self.tracks}
        for distance, track_id, i in pairs:
            track = by_id.get(track_id)
            gap = mono_s - track.last if track else 0.0
            if track is None or i not in free or distance > STEP + min(gap, LONGEST_GAP_S):
                continue
            free.discard(i)
            del by_id[track_id]
            track.take(mono_s, boxes[i])
        for i in sorted(free):
            if len(self.tracks) < MAX_TRACKS:
                track = Track(self._next, boxes[i], mono_s, mono_s)
                track.take(mono_s, boxes[i])
                self.tracks.append(track)
                self._next += 1


def _near(tracks: list[Track], boxes: list[Box], aspect: float) -> list[tuple[float, int, int]]:
    """Return (distance, track's id, box's index) of all pairs that may belong together."""
    most = STEP + LONGEST_GAP_S
    # Most pairs are far apart, and calls cost more than what they count.
    few = len(tracks) * len(boxes) <= FEW * FEW
    close = (_close_by_loop if few else _close)([t.box for t in tracks], boxes, aspect, 1.01 * most)
    found = ((_distance(tracks[n].box, boxes[i], aspect), tracks[n].id, i) for n, i in close)
    return [p for p in found if p[0] <= most]


def _close(first: list[Box], second: list[Box], aspect: float, most: float) -> list[tuple[int, int]]:
    """Return the indices of all pairs whose contacts lie within `most` of their heights, or that overlap by half.

    Long boxes do so though their middles are many heights apart: a third of their length.
    """
    a, b = array_of(first), array_of(second)
    dx = ((a[:, 0] + a[:, 2])[:, None] - (b[:, 0] + b[:, 2])[None, :]) / 2 * aspect
    dy = a[:, 3][:, None] - b[:, 3][None, :]
    tall = np.maximum((a[:, 3] - a[:, 1])[:, None], (b[:, 3] - b[:, 1])[None, :])
    reach = most * np.maximum(tall, 1e-3)
    wide = ((a[:, 2] - a[:, 0])[:, None] + (b[:, 2] - b[:, 0])[None, :]) / 4 * aspect
    overlapping = (np.abs(dx) <= wide) & (np.abs(dy) <= tall)
    return [(int(n), int(i)) for n, i in np.argwhere((dx * dx + dy * dy <= reach * reach) | overlapping)]


def _close_by_loop(first: list[Box], second: list[Box], aspect: float, most: float) -> list[tuple[int, int]]:
    """Return what `_close` returns, and some more, of a few boxes."""
    feet = [
        (i, (x1 + x2) / 2 * aspect, y2, max(y2 - y1, 1e-3), x2 - x1)
        for i, (x1, y1, x2, y2) in enumerate(second)
    ]
    out = []
    for n, (x1, y1, x2, y2) in enumerate(first):
        x, tall = (x1 + x2) / 2 * aspect, y2 - y1
        for i, bx, by, height, wide in feet:
            reach = most * (tall if tall > height else height)
            aside = max(reach, (x2 - x1 + wide) / 4 * aspect)
            if -aside <= x - bx <= aside and -reach <= y2 - by <= reach:
                out.append((n, i))
    return out


def _distance(a: Box, b: Box, aspect: float) -> float:
    """Distance of two boxes' contacts in body heights; 0 for boxes that overlap well."""
    if iou(a, b) >= 0.5:
        return 0.0
    first, second = a[3] - a[1], max(b[3] - b[1], 1e-3)
    if not 0.5 < first / second < 2.0:
        return 9.0
    dx, dy = (a[0] + a[2] - b[0] - b[2]) / 2 * aspect, a[3] - b[3]
    return float((dx * dx + dy * dy) ** 0.5 / max(first, second))


def apart(subject: Box, person: Box, aspect: float) -> float:
    """Distance from an object to a person's box in person heights: 0 when they touch."""
    dx = max(person[0] - subject[2], subject[0] - person[2], 0.0) * aspect
    dy = max(person[1] - subject[3], subject[1] - person[3], 0.0)
    return float((dx * dx + dy * dy) ** 0.5 / max(person[3] - person[1], 1e-3))


def apart_on_ground(subject: Box, person: Box, aspect: float) -> float:
    """Distance along the ground from an object to a person in person heights, 0 when they stand together.

    Boxes that touch in the picture may be metres apart in depth: what counts is how far the feet are from the object's
    foot. A camera at the usual 30 degrees shows depth at half its length; a box may end at the knees.
    """
    left, top, right, foot = person
    height = max(foot - top, 1e-3)
    dx = max(left - subject[2], subject[0] - right, 0.0) * aspect
    dy = max(abs(foot - subject[3]) - FEET_SLACK * height, 0.0) / DEPTH
    return float((dx * dx + dy * dy) ** 0.5 / height)
