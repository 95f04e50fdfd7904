"""A commissioning report for people: lines of text, and the picture with its zones."""

from __future__ import annotations

import cv2
import numpy as np

from camera_adapters.frame import Picture
from edge.commission import CommissionReport
from edge.config import CameraConfig

_WORDS = {
    "homography": "by the ground plane",
    "people": "by the people seen",
    "none": "not known",
}
_ZONE, _HORIZON = (255, 170, 0), (0, 220, 255)


def lines(report: CommissionReport) -> list[str]:
    """Return the report as lines of text."""
    out = [
        f"camera      {report.camera}, {report.width}x{report.height}, {report.pictures} pictures by {report.light}",
        f"light       mean {report.level:g} of 255, noise {report.noise:g} grey steps",
        f"sharpness   blur {report.blur:g} (0 is sharp, above 0.55 is blurred)",
        f"scale       {_WORDS[report.scale]}"
        + (f" ({report.people} boxes)" if report.scale == "people" else ""),
        f"horizon     {_horizon(report)}",
        f"view        fingerprint {report.fingerprint}",
    ]
    for zone in report.zones:
        measure = "px/m not known"
        if zone.px_per_m_far is not None:
            measure = f"{zone.px_per_m_far:g} px/m far, {zone.px_per_m_near:g} near, {zone.at_detector:g} far at the detector"
        out.append(f"zone        {zone.id} ({zone.kind}): {measure}; blur {zone.blur:g}")
    out += [f"reference   {light} view of {at}" for light, at in report.kept.items()]
    if report.picture:
        out.append(f"picture     {report.picture}")
    return out + [f"advice      {line}" for line in report.advice]


def _horizon(report: CommissionReport) -> str:
    if report.horizon is None:
        return "not known"
    left, right = report.horizon
    where = "above the picture" if max(left, right) < 0 else "in the picture"
    return f"row {left:g} at the left, {right:g} at the right (shares of the height; {where})"


def draw(picture: Picture, camera: CameraConfig, report: CommissionReport) -> Picture:
    """Return an RGB picture (uint8, (H, W, 3)) with zones, pixels per metre and the horizon drawn on it."""
    out = picture.copy()
    height, width = out.shape[:2]
    scale = np.asarray([width, height], np.float64)
    thick = max(1, width // 640)
    if report.horizon is not None:
        ends = [(0, round(report.horizon[0] * height)), (width - 1, round(report.horizon[1] * height))]
        cv2.line(out, ends[0], ends[1], _HORIZON, thick)
    for zone, measure in zip(camera.watched, report.zones, strict=True):
        corners = np.rint(np.asarray(zone.polygon, np.float64) * scale).astype(np.int32)
        cv2.polylines(out, [corners], True, _ZONE, 2 * thick)
        words = [zone.id]
        if measure.px_per_m_far is not None:
            words.append(f"{measure.px_per_m_far:.0f}-{measure.px_per_m_near:.0f} px/m")
        for n, text in enumerate(words):
            _write(out, text, corners.min(0) + np.array([4, 16 * thick * (n + 1)]), thick)
    head = f"{report.camera}  {report.at:%Y-%m-%d %H:%M} UTC  {report.light}  blur {report.blur:g}"
    _write(out, head, np.array([6, height - 8]), thick)
    return out


def _write(picture: Picture, text: str, at: np.ndarray[tuple[int], np.dtype[np.int32]], thick: int) -> None:
    size = 0.45 * thick
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    height, width = picture.shape[:2]
    x, y = min(max(int(at[0]), 0), max(width - wide, 0)), min(max(int(at[1]), high + 2), height - 2)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 3 * thick, cv2.LINE_AA)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), thick, cv2.LINE_AA)
