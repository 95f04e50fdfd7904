"""The view references of a box's cameras, on its disk: made at commissioning, used by the view check after each start."""

from __future__ import annotations

import threading
from pathlib import Path

from camera_adapters.clock import Clock
from camera_adapters.frame import Frame
from camera_adapters.open import open_stream
from camera_adapters.stream import Demand, StreamEvent, StreamOptions
from camera_adapters.view import Grey, ViewReference
from edge.config import CameraConfig

GREY_SIZE = (320, 180)
LEAST_PICTURES, MOST_PICTURES = 3, 60


class ViewStore:
    """One reference a camera, as a file named after it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, camera_id: str) -> ViewReference | None:
        """Return a camera's reference; None where it was never commissioned.

        Raises:
            ValueError: the file cannot be read as one.
        """
        path = self._folder / f"{camera_id}.npz"
        return ViewReference.from_bytes(path.read_bytes()) if path.is_file() else None

    def put(self, camera_id: str, reference: ViewReference) -> Path:
        """Keep a reference in place of the one before, and return its file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{camera_id}.npz"
        part = path.with_suffix(".part")
        part.write_bytes(reference.to_bytes())
        part.replace(path)
        return path


class _Pictures:
    def __init__(self, camera: CameraConfig) -> None:
        self._camera = camera
        self.greys: list[Grey] = []
        self.reason = ""

    def on_frame(self, frame: Frame) -> None:
        if not frame.meta.tainted and len(self.greys) < MOST_PICTURES:
            # Masked as in service, or the masks would count as a change of the view.
            self.greys.append(frame.masked(self._camera.masks).luma(*GREY_SIZE))

    def on_event(self, event: StreamEvent) -> None:
        self.reason = event.reason or self.reason


def reference_of(camera: CameraConfig, clock: Clock, seconds: float = 10.0) -> ViewReference:
    """Watch a camera for `seconds` and return the reference of its view; what moves falls out by the median.

    Raises:
        ValueError: it gave fewer than three whole pictures, with the reason the stream told.
    """
    seen = _Pictures(camera)
    stream = open_stream(
        camera.id, camera.url.get_secret_value(), seen, StreamOptions(transport=camera.transport), clock
    )
    stream.demand = Demand("all", max(0.2, seconds / MOST_PICTURES))
    stream.start()
    threading.Event().wait(seconds)
    stream.close()
    if len(seen.greys) < LEAST_PICTURES:
        raise ValueError(
            f"{camera.id}: {len(seen.greys)} whole pictures in {seconds:.0f} s, {LEAST_PICTURES} are needed ({seen.reason})"
        )
    return ViewReference.of(seen.greys)
