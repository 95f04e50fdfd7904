"""Track-level scripts with known truth, played through the real judge: objects with a time of coming and going."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from contract import GeoPoint
from contract.geo import ErrorEllipse
from edge.geometry import Box, GroundPlane
from edge.judge import Change, Judge, Observation
from edge.left_objects import LeftObject
from edge.zones import GroundConfig, PolicyConfig, ZoneConfig
from models.detections import Detections

NAMES = ("person", "car", "bus", "bicycle", "umbrella", "table", "chair", "cart", "garbage", "overflow")
START = datetime(2026, 5, 6, 2, 0, tzinfo=UTC)  # Wednesday, 10:00 in Shanghai
PLACE = GeoPoint(
    lon=116.4, lat=39.9, error=ErrorEllipse(semi_major_m=40, semi_minor_m=40), source="camera_point"
)
W, H = 640, 360
CAR = (0.40, 0.50, 0.55, 0.70)
SHORT = {"candidate_s": 20, "confirm_s": 60}


@dataclass
class Actor:
    """One object: where it is at a second, or None; `seen` says whether the detector sees it in sample n."""

    name: str
    at: Callable[[float], Box | None]
    seen: Callable[[int], bool] = lambda _n: True


def standing(box: Box, begin: float = 0.0, end: float = 1e9) -> Callable[[float], Box | None]:
    return lambda t: box if begin <= t < end else None


def zone(kind: str = "no_parking", **more: Any) -> ZoneConfig:
    polygon = [[0.3, 0.4], [0.7, 0.4], [0.7, 0.9], [0.3, 0.9]]
    return ZoneConfig.model_validate({"id": kind.replace("_", "-"), "kind": kind, "polygon": polygon, **more})


def judge(zones: Sequence[ZoneConfig], policy: dict[str, Any] | None = None, store: Any = None) -> Judge:
    return Judge("cam", zones, PolicyConfig.model_validate(policy or {}), PLACE, store=store)


def play(
    subject: Judge,
    actors: Sequence[Actor],
    seconds: float,
    step: float = 1.0,
    begin: float = 0.0,
    jitter: float = 0.0,
    wall_shift: Callable[[float], float] = lambda _t: 0.0,
) -> list[tuple[float, Change]]:
    """Play a script and return (second, change) pairs. `wall_shift` moves the wall clock, never the monotonic one."""
    rng = np.random.default_rng(3)
    out: list[tuple[float, Change]] = []
    n, t = 0, begin
    while t <= begin + seconds:
        boxes, classes = [], []
        for actor in actors:
            box = actor.at(t)
            if box is not None and actor.seen(n):
                noise = rng.normal(0, jitter, 4) * (box[2] - box[0])
                boxes.append((np.asarray(box) + noise) * [W, H, W, H])
                classes.append(NAMES.index(actor.name))
        found = (
            Detections(
                np.asarray(boxes, np.float32),
                np.full(len(boxes), 0.6, np.float32),
                np.asarray(classes, np.int32),
                NAMES,
            )
            if boxes
            else Detections.empty(NAMES)
        )
        at = START + timedelta(seconds=t + wall_shift(t))
        out += [(t, c) for c in subject.observe(Observation(at, 5000.0 + t, W, H, found, interval_s=step))]
        subject.save()
        n, t = n + 1, t + step
    return out


def confirmed(changes: Sequence[tuple[float, Change]]) -> list[tuple[float, Change]]:
    return [(t, c) for t, c in changes if c.kind == "confirmed"]


def issues(changes: list[tuple[float, Change]]) -> list[str]:
    return [c.site.issue.value for _, c in confirmed(changes)]


def play_left(
    subject: Judge,
    actors: list[Actor],
    seconds: float,
    left: Callable[[float], list[LeftObject]],
    step: float = 0.5,
) -> list[tuple[float, Change]]:
    """Play a script with left objects, by handing them to the judge beside the detections of `play`."""
    observe = subject.observe

    def with_left(obs: Observation) -> list[Change]:
        return observe(
            Observation(
                obs.captured_at, obs.mono_s, obs.width, obs.height, obs.detections, left(obs.mono_s - 5000.0)
            )
        )

    subject.observe = with_left  # type: ignore[method-assign]
    return play(subject, actors, seconds, step)


def flat_ground(width_m: float) -> GroundPlane:
    """A ground seen from straight above: the picture is `width_m` wide and nine sixteenths of it high."""
    corners = []
    for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)):
        east, north = x * width_m, (1 - y) * width_m * 9 / 16
        corners.append(
            {"picture": [x, y], "lon": 116.4 + east / 111_132 / 0.76717, "lat": 39.9 + north / 111_132}
        )
    return GroundPlane.fit(GroundConfig.model_validate({"pairs": corners}))
