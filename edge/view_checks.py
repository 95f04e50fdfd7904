"""The view checks of a box's cameras: made from the references on its disk, and made anew when those change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from camera_adapters.view_watch import ViewWatch
from edge.config import CameraConfig
from edge.lane import Lane
from edge.view_log import ViewLog
from edge.views import ViewStore


class ViewChecks:
    """Gives each camera's pipeline its check. The cameras' own threads do the looking."""

    def __init__(self, store: ViewStore, told: ViewLog, log: Any) -> None:
        self._store, self._told, self._log = store, told, log

    def of(self, camera: CameraConfig) -> ViewWatch | None:
        """Return a camera's check; None where it is to have none."""
        if not camera.view_check.enabled:
            return None
        try:
            references = self._store.get(camera.id)
        except (OSError, ValueError) as exc:
            self._log.error("camera.view_reference", camera=camera.id, reason=str(exc))
            references = []
        return ViewWatch(references, loops=camera.view_check.looped)

    def renew(self, lanes: Iterable[Lane]) -> None:
        """Take up the references that were made since the last look; a commissioned camera needs no restart."""
        for lane in lanes:
            if lane.camera.view_check.enabled and self._store.changed(lane.camera.id):
                self.anew(lane)
                self._log.info("camera.view_renewed", camera=lane.camera.id)

    def anew(self, lane: Lane) -> None:
        """Begin a camera's check again."""
        was = lane.pipeline.view
        lane.pipeline.watch = self.of(lane.camera)
        if was != "unknown":
            # What the old check said holds no more.
            self._told.note(lane.camera.id, was, "unknown")
