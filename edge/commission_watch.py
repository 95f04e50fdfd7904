"""Watching a camera for its commissioning: pictures over some seconds, and the people in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from camera_adapters.clock import Clock
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame
from camera_adapters.open import open_stream
from camera_adapters.stream import StreamEvent, StreamOptions
from camera_adapters.view import Grey
from edge.config import CameraConfig
from edge.geometry import Box
from edge.privacy import Picture, sensitive_of
from models.detections import Detections
from models.roles import Role

GREY_SIZE = (320, 180)
LEAST_PICTURES, MOST_PICTURES = 3, 60
# The median of these is the picture without what moves; at 1280 pixels across they are 40 MB.
MOST_COLOUR, COLOUR_WIDTH = 15, 1280

Detect = Callable[[Sequence[Picture]], list[Detections]]


@dataclass
class Watched:
    """What was seen of a camera.

    Attributes:
        greys: uint8 (180, 320), masked as in service.
        picture: RGB uint8 (H, W, 3) of at most 1280 pixels across, the median of some moments: what moves is gone.
        people: boxes of people in shares, of all moments.
        width, height: of the stream, in pixels.
    """

    width: int = 0
    height: int = 0
    greys: list[Grey] = field(default_factory=list)
    people: list[Box] = field(default_factory=list)
    picture: Picture = field(default_factory=lambda: np.zeros((2, 2, 3), np.uint8))

    @property
    def level(self) -> float:
        """Mean grey, 0 to 255."""
        return float(np.median([g.mean() for g in self.greys]))

    @property
    def noise(self) -> float:
        """Sensor noise in grey steps: the median over the picture of each pixel's spread over time."""
        stack = np.stack(self.greys).astype(np.float32)
        return float(np.median(np.median(np.abs(stack - np.median(stack, axis=0)), axis=0)) * 1.4826)


class _Sink:
    def __init__(self, camera: CameraConfig) -> None:
        self._camera = camera
        self.frames: list[Frame] = []
        self.greys: list[Grey] = []
        self.reason = ""

    def on_frame(self, frame: Frame) -> None:
        if frame.meta.tainted or len(self.greys) >= MOST_PICTURES:
            return
        # Masked as in service, or the masks would count as a change of the view.
        frame = frame.masked(self._camera.cuts)
        self.greys.append(frame.luma(*GREY_SIZE))
        self.frames.append(frame)
        # Evenly over the time watched, and never more decoded pictures than the median takes.
        if len(self.frames) > 2 * MOST_COLOUR:
            self.frames = self.frames[::2]

    def on_event(self, event: StreamEvent) -> None:
        self.reason = event.reason or self.reason


def watch_camera(
    camera: CameraConfig,
    clock: Clock,
    seconds: float,
    detect: Detect | None,
    roles: Mapping[str, Role],
) -> Watched:
    """Watch a camera for `seconds`; `detect` finds people in RGB pictures, in their own pixels.

    Raises:
        ValueError: it gave fewer than three whole pictures, with the reason the stream told.
    """
    sink = _Sink(camera)
    options = StreamOptions(transport=camera.transport, ring_seconds=1.0)
    # The stream that is judged in service: another encoder's edges would be another view's.
    url = camera.sub_url or camera.url
    stream = open_stream(camera.id, url.get_secret_value(), sink, options, clock)
    stream.demand = Demand("all", max(0.2, seconds / MOST_PICTURES))
    stream.start()
    threading.Event().wait(seconds)
    stream.close()
    if len(sink.greys) < LEAST_PICTURES:
        raise ValueError(
            f"{camera.id}: {len(sink.greys)} whole pictures in {seconds:.0f} s, {LEAST_PICTURES} are needed ({sink.reason})"
        )
    meta = sink.frames[-1].meta
    seen = Watched(meta.width, meta.height, sink.greys)
    scale = min(1.0, COLOUR_WIDTH / meta.width)
    size = max(2, round(meta.width * scale)), max(2, round(meta.height * scale))
    frames = [f for f in sink.frames if (f.meta.width, f.meta.height) == (meta.width, meta.height)]
    colours = [f.rgb(*size) for f in frames[:: max(1, len(frames) // MOST_COLOUR)][:MOST_COLOUR]]
    if detect is not None:
        for colour in colours:
            seen.people.extend(sensitive_of(detect([colour])[0], *size, roles).people)
    seen.picture = _median(colours)
    return seen


def _median(pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    return np.asarray(np.sort(np.stack(pictures), axis=0)[len(pictures) // 2], np.uint8)
