"""One commissioning from beginning to end: watch, measure, draw, keep."""

from __future__ import annotations

from pathlib import Path

import cv2

from camera_adapters.clock import Clock
from camera_adapters.frame import Picture
from camera_adapters.view import ViewReference
from edge.commission import CommissionReport, commission
from edge.commission_show import draw, lines
from edge.commission_watch import watch_camera
from edge.config import BoxConfig, CameraConfig
from edge.privacy import blur, sensitive_of
from edge.views import Light, ViewStore
from models.bundle import load_bundle
from models.detector import Detector


def run_commission(
    config: BoxConfig,
    camera: CameraConfig,
    clock: Clock,
    seconds: float,
    light: Light,
    keep: bool = True,
    picture: Path | None = None,
) -> tuple[CommissionReport, list[str]]:
    """Commission a camera and return the report with its text.

    The reference, the report (JSON) and the picture are kept under the box's `views/CAMERA`, unless `keep` is False.

    Raises:
        ValueError: the camera gave too few pictures, or its ground pairs do not fit.
        OSError: nothing can be written there.
    """
    detector = Detector(load_bundle(config.model.bundle), "cpu", config.model.threads, 1)
    roles = {**detector.bundle.roles, **config.model.roles}
    seen = watch_camera(camera, clock, seconds, detector.detect, roles)
    store = ViewStore(config.data_dir / "views")
    before = _before(store, camera.id)
    report, reference = commission(camera, seen, detector.input_size, clock.now(), light, before)
    shown = seen.picture
    if config.privacy.blur:
        height, width = shown.shape[:2]
        shown = blur(shown, sensitive_of(detector.detect([shown])[0], width, height, roles))
    shown = draw(shown, camera, report)
    paths = [picture] if picture is not None else []
    if keep:
        paths.append(store.path(camera.id, light).with_suffix(".jpg"))
    for path in paths:
        _save(path, shown)
        report.picture = report.picture or str(path)
    if keep:
        report.kept = {k: f"{v:%Y-%m-%d %H:%M} UTC" for k, v in store.kept(camera.id).items()}
        report.kept[light] = f"{report.at:%Y-%m-%d %H:%M} UTC, kept now"
        store.put(camera.id, reference, light, report.as_dict())
    return report, lines(report)


def _before(store: ViewStore, camera_id: str) -> dict[Light, ViewReference]:
    out: dict[Light, ViewReference] = {}
    for light in store.kept(camera_id):
        try:
            out[light] = ViewReference.from_bytes(store.path(camera_id, light).read_bytes())
        except ValueError:
            # It is about to be replaced.
            continue
    return out


def _save(path: Path, rgb: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: cannot be written; give a name that ends in .jpg or .png")
