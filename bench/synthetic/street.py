"""The words of a script: actors with paths, what the camera does, and the truth that a city would expect.

Boxes are shares of the picture, x1, y1, x2, y2; times are seconds of the script.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from contract import IssueClass
from edge.geometry import Box, GroundPlane
from edge.zones import ZoneConfig

Path = Callable[[float], Box | None]
WORKDAY = datetime(2026, 5, 6, 2, 0, tzinfo=UTC)  # Wednesday, 10:00 in Shanghai


@dataclass(frozen=True)
class Actor:
    """One object.

    Attributes:
        name: the detector's class; `other_name` is what it says in `confused` of the frames.
        at: where it is, None when it is not in view.
        rate: chance that the detector sees it in a frame, by the second.
        texture: seed of its look; objects with one number look the same.
        left_since: it came to rest then and no class names it: the left-object detector reports it.
    """

    name: str
    at: Path
    rate: Callable[[float], float] = lambda _t: 0.9
    texture: int = 0
    other_name: str | None = None
    confused: float = 0.0
    left_since: float | None = None


@dataclass(frozen=True)
class Truth:
    """What a city would want to know: this issue here, alerted between two moments.

    `sure` ones must be alerted; the others lie so close to a threshold that either answer is right.
    """

    issues: frozenset[IssueClass]
    box: Box
    earliest_s: float
    latest_s: float
    sure: bool = True


@dataclass(frozen=True)
class Conditions:
    """What the camera, the detector and the box do to the truth.

    Attributes:
        step_s: time between judged frames.
        jitter: standard deviation of a box's edges, share of its size.
        stick_s: how long a miss of the detector lasts.
        dropped: share of the frames that never come.
        phantoms: false boxes a frame, anywhere.
        light: brightness by the second, 0 to 1.
        wall_shift: error of the wall clock by the second.
        restarts: (moment, length) of the box being off.
    """

    step_s: float = 1.0
    jitter: float = 0.02
    stick_s: float = 0.0
    dropped: float = 0.0
    phantoms: float = 0.0
    light: Callable[[float], float] = lambda _t: 1.0
    wall_shift: Callable[[float], float] = lambda _t: 0.0
    restarts: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Script:
    """One camera for a while."""

    name: str
    zones: Sequence[ZoneConfig]
    actors: Sequence[Actor]
    seconds: float
    truths: Sequence[Truth] = ()
    policy: dict[str, Any] = field(default_factory=dict)
    conditions: Conditions = field(default_factory=Conditions)
    start: datetime = WORKDAY
    seed: int = 0
    camera: str = "cam"
    ground: GroundPlane | None = None


def always(rate: float) -> Callable[[float], float]:
    """Return one chance for every second."""
    return lambda _t: rate


def rectangle(kind: str, x1: float, y1: float, x2: float, y2: float, **more: Any) -> ZoneConfig:
    """Return a zone of four corners, named after its kind."""
    corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
    return ZoneConfig.model_validate({"id": kind.replace("_", "-"), "kind": kind, "polygon": corners, **more})


def stand(box: Box, begin: float = -1e9, end: float = 1e9) -> Path:
    """Return a path of something that is there for a while."""
    return lambda t: box if begin <= t < end else None


def visit(
    box: Box, begin: float, end: float, drive_s: float = 4.0, out_of: float = -0.4, lane: float = 0.0
) -> Path:
    """Return a path that comes into its place by `begin` over `drive_s`, and leaves after `end` the other way.

    `out_of` is the shift, in shares of the picture's width, from which it comes, `lane` that of its height.
    """

    def at(t: float) -> Box | None:
        if begin <= t <= end:
            return box
        if begin - drive_s <= t < begin:
            return shifted(box, out_of * (begin - t) / drive_s, lane * min(1.0, 2 * (begin - t) / drive_s))
        if end < t <= end + drive_s:
            return shifted(box, -out_of * (t - end) / drive_s, lane * min(1.0, 2 * (t - end) / drive_s))
        return None

    return at


def shifted(box: Box, dx: float, dy: float = 0.0) -> Box:
    """Return a box moved by shares of the picture."""
    return box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy


def pass_by(box: Box, begin: float, seconds: float, from_x: float = -0.3, to_x: float = 1.1) -> Path:
    """Return a path through the picture along the row of a box."""
    width = box[2] - box[0]

    def at(t: float) -> Box | None:
        if not begin <= t < begin + seconds:
            return None
        x = from_x + (to_x - from_x) * (t - begin) / seconds
        return x, box[1], x + width, box[3]

    return at


def issues(*classes: IssueClass) -> frozenset[IssueClass]:
    """Return classes any of which is right."""
    return frozenset(classes)
