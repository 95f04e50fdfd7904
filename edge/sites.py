"""Sites: place + class + appearance. The dwell belongs to the site, in seconds of the monotonic clock.

A lost track, a person in front, a detector that sees the object in one frame of five, dusk or a restart of the box
change nothing: the site is still there until there is evidence that the place is empty.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median

import numpy as np
from numpy.typing import NDArray

from contract import IssueClass, new_id
from edge.geometry import Box, contact, covered, iou

Grey = NDArray[np.uint8]
PATCH = (24, 24)
# Normalised correlation of a still object with itself over minutes of CCTV noise stays above 0.8; an emptied place
# or another car falls below 0.4.
SAME_LOOK, OTHER_LOOK = 0.75, 0.4
# Chance of a run of misses by a detector that sees the object with its usual rate; below it the place is empty.
GONE_CHANCE = 0.01
# Another object has taken the place when its look has held for this many looks and seconds; a car that drives past in
# front does not stay so long.
SWAP_LOOKS, SWAP_S = 3, 4.0
STUCK_S = 10.0
MAX_TIMELINE = 40
# First seen, at rest, candidate, confirmed, cleared, and some to spare.
STEPS = 8
# What a weak detector needs before its word counts: this many sightings, and more than this share of the frames.
LEAST_HITS, LEAST_SHARE = 3, 0.15
# The contact of a standing object stays within this share of its size (of the way a weak detector's box jitters).
REST = 0.2
ARRIVAL_S, ARRIVAL_STEP_S = 20.0, 0.15


class SiteState(StrEnum):
    """Where a site stands."""

    SEEN = "seen"
    CANDIDATE = "candidate"
    CONFIRMED = "confirmed"
    CLEARED = "cleared"


_STEPS = {
    SiteState.SEEN: {SiteState.CANDIDATE, SiteState.CLEARED},
    SiteState.CANDIDATE: {SiteState.CONFIRMED, SiteState.CLEARED},
    SiteState.CONFIRMED: {SiteState.CLEARED},
    SiteState.CLEARED: set(),
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """One object of one frame that a rule cares about.

    Attributes:
        box: shares of the picture.
        count: objects in it, when it is a group.
        attended: somebody is with it.
        born_mono_s: when it came to rest, where that is known better than by this sighting.
        key: stays with the object, where something follows it.
        samples: frames in which it was seen before this sighting, this one included.
        alone_mono_s: when whoever brought it was last beside it.
        why: why no permit covers it, where the rule knows more than that there is none.
    """

    box: Box
    name: str
    score: float
    zone_id: str
    count: int = 1
    attended: bool = False
    born_mono_s: float | None = None
    key: int | None = None
    samples: int = 1
    alone_mono_s: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """When, on both clocks."""

    at: datetime
    mono_s: float


@dataclass
class Site:
    """One place with one issue."""

    issue: IssueClass
    zone_id: str
    first: Moment
    origin: Box
    id: str = field(default_factory=new_id)
    state: SiteState = SiteState.SEEN
    last: Moment | None = None
    candidate: Moment | None = None
    confirmed: Moment | None = None
    cleared: Moment | None = None
    hits: int = 0
    misses: int = 0
    missed_in_row: int = 0
    strange_in_row: int = 0
    attended: int = 0
    count: int = 1
    boxes: deque[Box] = field(default_factory=lambda: deque(maxlen=9))
    scores: deque[float] = field(default_factory=lambda: deque(maxlen=99))
    names: Counter[str] = field(default_factory=Counter)
    patch: NDArray[np.float32] | None = None
    patch_box: Box | None = None
    other: NDArray[np.float32] | None = None
    other_since: float = 0.0
    reach: Box | None = None
    looks: int = 0
    stills: int = 0
    key: int | None = None
    alone: float | None = None
    why: str = ""
    arrivals: deque[tuple[Moment, Box]] = field(default_factory=lambda: deque(maxlen=150))
    timeline: list[tuple[datetime, str]] = field(default_factory=list)
    _median_of: tuple[Box, ...] = field(default=(), init=False, repr=False, compare=False)
    _median: Box = field(default=(0.0, 0.0, 0.0, 0.0), init=False, repr=False, compare=False)

    @property
    def box(self) -> Box:
        """Median of the last boxes: a weak detector's boxes jitter."""
        boxes = tuple(self.boxes) or (self.origin,)
        # Asked for by every sighting of a frame, and changed by one: the median costs ten times the comparison.
        if boxes != self._median_of:
            self._median_of, self._median = boxes, median_box(boxes)
        return self._median

    @property
    def open(self) -> bool:
        """True until the site is cleared."""
        return self.state is not SiteState.CLEARED

    def dwell_s(self, mono_s: float) -> float:
        """Seconds since it came to rest."""
        return max(0.0, mono_s - self.first.mono_s)

    def go(self, state: SiteState, now: Moment, words: str) -> None:
        """Step to a state.

        Raises:
            ValueError: the step is not allowed.
        """
        if state not in _STEPS[self.state]:
            raise ValueError(f"a site cannot go from {self.state} to {state}")
        self.state = state
        if state is SiteState.CANDIDATE:
            self.candidate = now
        elif state is SiteState.CONFIRMED:
            self.confirmed = now
        else:
            self.cleared = now
        self.say(now.at, words)

    def say(self, at: datetime, words: str, passing: bool = False) -> None:
        """Add a line to the decision's timeline; what is `passing` may come any number of times and leaves room for the steps."""
        if len(self.timeline) < MAX_TIMELINE - (STEPS if passing else 0):
            self.timeline.append((at, words))

    def matches(self, box: Box) -> bool:
        """True when a box is this site's object, which has not moved."""
        mine = self.box
        if box[0] >= mine[2] or box[2] <= mine[0] or box[1] >= mine[3] or box[3] <= mine[1]:
            return False
        overlap = iou(mine, box)
        (x, y), (bx, by) = contact(mine), contact(box)
        width, height = mine[2] - mine[0], mine[3] - mine[1]
        near = abs(x - bx) <= 0.25 * width and abs(y - by) <= 0.25 * height
        return overlap >= 0.5 or (near and overlap >= 0.3)

    def takes(self, sighting: Sighting) -> bool:
        """True when a sighting is this site's object: by its key, by its place, or as part of one group."""
        if sighting.key is not None and sighting.key == self.key:
            return True
        if self.matches(sighting.box):
            return True
        mine, other = self.reach or self.box, sighting.box
        joins = sighting.count >= 3 and (covered(mine, other) > 0.7 or covered(other, mine) > 0.7)
        return joins or (self.reach is not None and covered(other, mine) > 0.7)

    def moved(self) -> bool:
        """True when the object has crept away from where it came to rest."""
        # Of a heap, now these and now those are seen.
        if self.key is not None or (self.reach is not None and covered(self.box, self.reach) > 0.7):
            return False
        mine, width = self.box, max(self.origin[2] - self.origin[0], self.box[2] - self.box[0])
        (x, y), (ox, oy) = contact(mine), contact(self.origin)
        height = max(self.origin[3] - self.origin[1], mine[3] - mine[1])
        return abs(x - ox) > 0.4 * width or abs(y - oy) > 0.4 * height

    def hit(self, sighting: Sighting, now: Moment) -> None:
        """Note that the object was seen."""
        self.boxes.append(sighting.box)
        self.scores.append(sighting.score)
        self.names[sighting.name] += 1
        self.hits += sighting.samples if self.hits == 0 else 1
        self.attended += sighting.attended
        self.count = max(self.count, sighting.count)
        if sighting.count >= 3:
            self.reach = _union(self.reach or sighting.box, sighting.box)
        self.key = sighting.key if sighting.key is not None else self.key
        self.why = sighting.why or self.why
        if sighting.alone_mono_s is not None:
            self.alone = max(sighting.alone_mono_s, self.alone or sighting.alone_mono_s)
        self.missed_in_row = 0
        self.last = now
        if sighting.born_mono_s is None and self.count < 2 and self.state is SiteState.SEEN:
            self._settle(sighting.box, now)

    def _settle(self, box: Box, now: Moment) -> None:
        """Let the dwell begin when the object came to rest, not when it came into the zone.

        Running medians of five boxes stand against a weak detector's jitter. What has been at rest for a while is not
        asked again.
        """
        path = self.arrivals
        if path and now.mono_s - path[0][0].mono_s > ARRIVAL_S:
            return
        if path and now.mono_s - path[-1][0].mono_s < ARRIVAL_STEP_S:
            return
        path.append((now, box))
        came_by = [b for _, b in path]
        boxes = np.asarray(came_by)
        smooth = np.asarray([median_box(came_by[max(0, i - 2) : i + 3]) for i in range(len(came_by))])
        here = smooth[-1]
        size = np.maximum([here[2] - here[0], here[3] - here[1]], 1e-6)

        def away(of: NDArray[np.float64]) -> NDArray[np.bool_]:
            contacts = np.column_stack([(of[:, 0] + of[:, 2]) / 2, of[:, 3]])
            goal = np.array([(here[0] + here[2]) / 2, here[3]])
            return np.asarray((np.abs(contacts - goal) > REST * size).any(axis=1))

        # A median over the first boxes would hide the last of the way in.
        came = np.flatnonzero(~away(boxes))
        passed = np.flatnonzero(away(smooth))
        begin = max(int(came[0]) if len(came) else 0, int(passed[-1]) + 1 if len(passed) else 0)
        if begin >= len(path):
            return
        if path[begin][0].mono_s > self.first.mono_s:
            self.first, self.origin = path[begin][0], (here[0], here[1], here[2], here[3])
            # The look of a place into which it was still rolling is not its own.
            self.patch_box, self.patch, self.other, self.looks, self.stills = None, None, None, 0, 0

    def unseen(self, since: Moment, now: Moment) -> None:
        """Take a time in which nobody could look out of a dwell that is not confirmed yet."""
        if self.state not in (SiteState.SEEN, SiteState.CANDIDATE):
            return
        lost = now.mono_s - max(since.mono_s, self.first.mono_s)
        self.first = Moment(self.first.at + timedelta(seconds=lost), self.first.mono_s + lost)
        if self.candidate is not None and self.candidate.mono_s < self.first.mono_s:
            self.candidate = self.first
        if self.alone is not None:
            self.alone += lost
        self.say(now.at, f"not seen for {lost:.0f} s, which do not count", passing=True)

    def miss(self) -> None:
        """Note that the place was in plain view and the object was not seen."""
        self.misses += 1
        self.missed_in_row += 1

    def empty_by_misses(self, unseen_s: float, same: float | None) -> bool:
        """True when the misses in a row cannot be the detector's weakness.

        `same` is the likeness of the place now. Misses stick together, as light and picture do: unless the place looks
        like another, a run of them counts only once it is `STUCK_S` long.
        """
        if same is not None and same > OTHER_LOOK and unseen_s < STUCK_S:
            return False
        seen_before = max(0, self.misses - self.missed_in_row)
        # Jeffreys' prior leans to the doubt of a detector that has seen little so far.
        rate = (self.hits + 0.5) / (self.hits + seen_before + 2)
        return self.missed_in_row >= 3 and float((1 - rate) ** self.missed_in_row) < GONE_CHANCE

    def look(self, grey: Grey | None, hit: bool, covered_up: bool, mono_s: float) -> float | None:
        """Compare the place's look with that of the last sighting; returns the likeness, None when it cannot be told.

        The region is fixed, not the jittering box of the moment: a standing object looks the same from frame to frame,
        cars that follow each other through one place do not.
        """
        if self.patch_box is None:
            if hit and not covered_up:
                self.patch_box = self.box
                self.patch = patch_of(grey, self.patch_box)
            return None
        if covered_up:
            return None
        now = patch_of(grey, self.patch_box)
        same = likeness(self.patch, now)
        if same is not None:
            self.looks += 1
            self.stills += same >= SAME_LOOK
        if hit and now is not None:
            self._learn(now, same, mono_s)
        return same

    def _learn(self, now: NDArray[np.float32], same: float | None, mono_s: float) -> None:
        """Take a sighting's look for the place's own, unless it is another object's: that one must stay to be believed.

        A car that drove past in front of a parked one left its look behind, and the parked one was taken for gone.
        """
        if same is None or same > OTHER_LOOK:
            self.patch, self.other, self.strange_in_row = now, None, 0
        elif (likeness(self.other, now) or 0.0) >= SAME_LOOK:
            self.strange_in_row += 1
        else:
            self.other, self.other_since, self.strange_in_row = now, mono_s, 1

    def swapped(self, mono_s: float) -> bool:
        """True when another object stands where this one stood. A case stays one: its place only looks different now."""
        if self.strange_in_row < SWAP_LOOKS or mono_s - self.other_since < SWAP_S:
            return False
        if (
            self.still_share >= 0.5
            and self.state is not SiteState.CONFIRMED
            and self.key is None
            and self.count == 1
        ):
            return True
        if not self.stills:
            # The first look was that of a place into which it was still rolling.
            self.looks = 0
        self.patch, self.other, self.strange_in_row = self.other, None, 0
        return False

    @property
    def still_share(self) -> float:
        """Share of the looks in which nothing had changed; 1 while too few looks were possible to tell."""
        return self.stills / self.looks if self.looks >= 5 else 1.0

    @property
    def hit_share(self) -> float:
        """Share of the frames in plain view in which the object was seen."""
        return self.hits / max(1, self.hits + self.misses)

    @property
    def surely_seen(self) -> bool:
        """True when the sightings are more than a phantom's: a share of the frames, by one standard deviation of chance."""
        n = self.hits + self.misses
        doubt = math.sqrt(LEAST_SHARE * (1 - LEAST_SHARE) * n)
        return self.hits >= max(LEAST_HITS, LEAST_SHARE * n + doubt)


def median_box(boxes: Sequence[Box]) -> Box:
    """Return the median of each side of some boxes; for a handful of them a sixth of the cost of arrays."""
    x1, y1, x2, y2 = (median(side) for side in zip(*boxes, strict=True))
    return x1, y1, x2, y2


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def patch_of(grey: Grey | None, box: Box) -> NDArray[np.float32] | None:
    """Return the normalised look of a box in a grey picture: (24, 24) float32, mean 0, norm 1; None when too small or flat."""
    import cv2

    if grey is None:
        return None
    height, width = grey.shape
    x1, y1 = max(0, round(box[0] * width)), max(0, round(box[1] * height))
    x2, y2 = min(width, round(box[2] * width)), min(height, round(box[3] * height))
    if x2 - x1 < 6 or y2 - y1 < 6:
        return None
    small = cv2.resize(grey[y1:y2, x1:x2], PATCH, interpolation=cv2.INTER_AREA).astype(np.float32)
    mean, spread = (float(v[0, 0]) for v in cv2.meanStdDev(small))
    # Flat patches (a spread under 3 grey levels) correlate with anything.
    return np.asarray((small - mean) / (spread * PATCH[0]), np.float32) if spread > 3.0 else None


def likeness(a: NDArray[np.float32] | None, b: NDArray[np.float32] | None) -> float | None:
    """Return the normalised correlation of two looks, -1 to 1; None when one is unknown."""
    return None if a is None or b is None else float(a.ravel() @ b.ravel())


def hidden(box: Box, others: list[Box]) -> bool:
    """True when something else stands in front of 30 % of a box or more."""
    return any(covered(box, other) >= 0.3 for other in others)
