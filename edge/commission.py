"""The commissioning of a camera: what its view is worth to the zones, in numbers and words, and the reference it is held to.

Pixels per metre as in IEC 62676-4, across the line of sight; the blur measure is that of Crete, Dolmiere, Ladret and
Nicolas, "The blur effect: perception and estimation with a new no-reference perceptual blur metric" (2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from camera_adapters.frame import Picture
from camera_adapters.view import ViewReference, read_best
from contract import View
from edge.commission_watch import Watched
from edge.config import CameraConfig
from edge.geometry import GroundPlane
from edge.lane import zone_regions
from edge.ruler import PERSON_M, Ruler
from edge.views import Light
from edge.zones import ZoneConfig

# A person of 20 pixels at the detector's input: below that the embedded models find few.
LEAST_PX_PER_M = 12.0
BLURRED = 0.55
# Grey steps of 255; above it small things drown, and motion is seen where none is.
NOISY = 6.0
NIGHT_LEVEL = 40.0
ROOM = 0.1

Scale = Literal["homography", "people", "none"]


@dataclass(frozen=True)
class ZoneMeasure:
    """One zone. Pixels per metre of the stream's picture at the zone's nearest and farthest corner; None where unknown.

    `at_detector` is the farthest corner's after the picture was scaled to the detector's input. `blur` is 0 to 1.
    """

    id: str
    kind: str
    px_per_m_near: float | None
    px_per_m_far: float | None
    at_detector: float | None
    blur: float


@dataclass
class CommissionReport:
    """The findings. Rows are shares of the picture's height; grey levels are of 0 to 255."""

    camera: str
    at: datetime
    light: Light
    pictures: int
    width: int
    height: int
    level: float
    noise: float
    blur: float
    scale: Scale
    people: int
    horizon: tuple[float, float] | None
    fingerprint: str
    against_before: View
    zones: list[ZoneMeasure] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)
    picture: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {**asdict(self), "at": self.at.isoformat()}


def commission(
    camera: CameraConfig,
    seen: Watched,
    input_size: tuple[int, int],
    at: datetime,
    light: Light,
    before: Mapping[Light, ViewReference],
) -> tuple[CommissionReport, ViewReference]:
    """Measure a view; return the report and the new reference. `before` are the references kept so far."""
    reference = ViewReference.of(seen.greys)
    plane = GroundPlane.fit(camera.ground) if camera.ground else None
    measure = Measure(plane, seen)
    old = [before[light]] if light in before else []
    report = CommissionReport(
        camera=camera.id,
        at=at,
        light=light,
        pictures=len(seen.greys),
        width=seen.width,
        height=seen.height,
        level=round(seen.level, 1),
        noise=round(seen.noise, 2),
        blur=round(blur_of(_grey(seen.picture)), 2),
        scale=measure.scale,
        people=len(seen.people),
        horizon=measure.horizon(),
        fingerprint=reference.fingerprint,
        against_before=read_best(seen.greys[-1], old).verdict if old else "unknown",
    )
    regions = zone_regions(camera)
    for i, zone in enumerate(camera.watched):
        region = None if regions is None else regions[i]
        report.zones.append(_zone(zone, measure, seen, _shrink(seen, input_size, region)))
    report.advice = _advice(report, camera, before)
    return report, reference


class Measure:
    """Pixels per metre in one view, by the ground plane, or else by the people who were seen."""

    def __init__(self, plane: GroundPlane | None, seen: Watched) -> None:
        self._plane, self._seen = plane, seen
        self._ruler = Ruler(plane)
        self._ruler.observe(seen.people)
        by_people = self._ruler.person_height(1.0) is not None
        rows = [b[3] for b in seen.people] or [0.0]
        # The line through their heights holds where people stood, and a little beyond.
        self._rows = float(np.percentile(rows, 2)) - ROOM, float(np.percentile(rows, 98)) + ROOM
        self.scale: Scale = "homography" if plane else "people" if by_people else "none"

    def px_per_m(self, x: float, y: float) -> float | None:
        """Return the stream's pixels for a metre across the line of sight at a point of the ground (shares)."""
        if self._plane is not None:
            left, right = self._plane.on_ground(x - 0.01, y), self._plane.on_ground(x + 0.01, y)
            if left is None or right is None:
                return None
            metres = float(np.hypot(left[0] - right[0], left[1] - right[1]))
            return 0.02 * self._seen.width / max(metres, 1e-6)
        height = self._ruler.person_height(y) if self._rows[0] <= y <= self._rows[1] else None
        return None if height is None else height * self._seen.height / PERSON_M

    def horizon(self) -> tuple[float, float] | None:
        """Return the horizon's rows at the left and the right edge; None where nothing tells it, or far off the picture."""
        rows = self._by_plane() if self._plane is not None else self._by_people()
        return rows if rows is not None and all(-2 < r < 1.5 for r in rows) else None

    def _by_plane(self) -> tuple[float, float] | None:
        a, b, c = self._plane.matrix[2] if self._plane is not None else (0.0, 0.0, 0.0)
        if abs(b) < 1e-9:
            return None
        return round(float(-c / b), 3), round(float(-(a + c) / b), 3)

    def _by_people(self) -> tuple[float, float] | None:
        """People shrink to nothing where their feet would stand on the horizon, on flat ground."""
        high, low = self._ruler.person_height(0.9), self._ruler.person_height(0.6)
        if high is None or low is None or high - low < 1e-3:
            return None
        row = round(0.6 - low * 0.3 / (high - low), 3)
        return row, row


def blur_of(grey: NDArray[np.uint8]) -> float:
    """Return how blurred a grey picture is, 0 (sharp) to 1: how little it loses when it is blurred once more."""
    picture = grey.astype(np.float32)
    shares = []
    for axis, size in ((0, (1, 11)), (1, (11, 1))):
        again = np.asarray(cv2.blur(picture, size), np.float32)
        before = np.abs(np.diff(picture, axis=axis))
        after = np.abs(np.diff(again, axis=axis))
        total = float(before.sum())
        lost = float(np.maximum(before - after, 0).sum())
        shares.append(1.0 if total < 1e-3 else (total - lost) / total)
    return max(shares)


def _zone(zone: ZoneConfig, measure: Measure, seen: Watched, shrink: float) -> ZoneMeasure:
    corners = np.asarray(zone.polygon, np.float64)
    points = [*corners.tolist(), corners.mean(0).tolist()]
    found = [v for x, y in points if (v := measure.px_per_m(x, y)) is not None]
    height, width = seen.picture.shape[:2]
    (x1, y1), (x2, y2) = corners.min(0), corners.max(0)
    part = seen.picture[int(y1 * height) : int(y2 * height) + 1, int(x1 * width) : int(x2 * width) + 1]
    return ZoneMeasure(
        id=zone.id,
        kind=zone.kind.value,
        px_per_m_near=round(max(found), 1) if found else None,
        px_per_m_far=round(min(found), 1) if found else None,
        at_detector=round(min(found) * shrink, 1) if found else None,
        blur=round(blur_of(_grey(part)), 2),
    )


def _shrink(seen: Watched, input_size: tuple[int, int], region: NDArray[np.float32] | None) -> float:
    """Return the factor by which the detector sees the picture, or a zone's crop of it, smaller."""
    wide, high = (1.0, 1.0) if region is None else (region[2] - region[0], region[3] - region[1])
    return float(min(input_size[0] / (wide * seen.width), input_size[1] / (high * seen.height), 1.0))


def _grey(rgb: Picture) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _advice(
    report: CommissionReport, camera: CameraConfig, before: Mapping[Light, ViewReference]
) -> list[str]:
    out = []
    if report.scale == "none":
        out.append(
            "No scale: give `ground` (four points and more of picture and map), or watch longer while people pass."
        )
    for zone in report.zones:
        if zone.px_per_m_far is None and report.scale != "none":
            out.append(
                f"Zone {zone.id}: "
                + ("it lies above the horizon." if report.scale == "homography" else "nobody was seen there.")
            )
        if zone.at_detector is not None and zone.at_detector < LEAST_PX_PER_M:
            mend = "come nearer or zoom in" if camera.detect_crops else "set detect_crops: true, or zoom in"
            out.append(
                f"Zone {zone.id}: {zone.at_detector:g} px/m at its far end as the detector sees it, {LEAST_PX_PER_M:g} are needed; {mend}."
            )
        if zone.blur > BLURRED:
            out.append(f"Zone {zone.id} is blurred ({zone.blur:g}): clean or focus the lens.")
    if report.blur > BLURRED:
        out.append(f"The picture is blurred ({report.blur:g}): clean or focus the lens.")
    if report.noise > NOISY:
        out.append(f"The picture is noisy ({report.noise:g} grey steps): more light, or a longer exposure.")
    if report.level < NIGHT_LEVEL:
        out.append(
            f"The picture is dark (mean {report.level:g} of 255)"
            + ("." if report.light == "night" else "; if it is night, use --night.")
        )
    if report.light == "day" and "night" not in before:
        out.append(
            "No night view yet: run again after dark with --night, or `moved` and `blurred` are not told at night."
        )
    if report.light == "night" and "day" not in before:
        out.append("No day view yet: run again by daylight without --night.")
    if report.against_before not in {"good", "unknown"}:
        out.append(
            f"Against the reference kept before, this view is {report.against_before}: draw the zones anew if the camera was turned."
        )
    return out
