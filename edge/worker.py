"""One box at work: cameras, one detector, judgement, evidence, outbox, uplink, heartbeat.

Threads: one a camera (demux and decode on demand), one for the detector and the judgement, one for the uplink,
one for the heartbeat. A camera that is down takes none of the others with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from camera_adapters.clock import Clock
from camera_adapters.frame import Frame
from camera_adapters.open import open_stream
from camera_adapters.stream import CameraStream, StreamEvent, StreamOptions
from edge.config import BoxConfig, CameraConfig
from edge.pipeline import CameraPipeline
from edge.pump import LatestSlots
from models.detector import Detector

# 20 ms apart, 50 cameras connect within a second and an NVR is not stormed.
START_GAP_S = 0.02
PipelineOf = Callable[[CameraConfig, Callable[[], Any]], CameraPipeline]


@dataclass
class Lane:
    """One camera: its stream and its judgement."""

    camera: CameraConfig
    pipeline: CameraPipeline
    stream: CameraStream | None = None
    first_frame_logged: bool = False


class LaneSink:
    """Receives a camera's frames on the stream's thread."""

    def __init__(self, lane: Lane, slots: LatestSlots[Frame], log: Any) -> None:
        self._lane, self._slots, self._log = lane, slots, log

    def on_frame(self, frame: Frame) -> None:
        """Plan the frame, steer the stream, and hand the frame on when it is worth the detector."""
        plan = self._lane.pipeline.offer(frame)
        if self._lane.stream is not None:
            self._lane.stream.demand = plan.demand
        if plan.judge:
            self._slots.offer(self._lane.camera.id, frame)

    def on_event(self, event: StreamEvent) -> None:
        """Log a change of the stream's state."""
        self._log.info("camera.state", camera=event.camera_id, state=event.state.value, reason=event.reason)


class Worker:
    """The cameras of one box around one detector."""

    def __init__(
        self, config: BoxConfig, detector: Detector, clock: Clock, pipeline_of: PipelineOf, log: Any
    ) -> None:
        self._config, self._detector, self._clock, self._log = config, detector, clock, log
        self._slots: LatestSlots[Frame] = LatestSlots()
        self._lanes: dict[str, Lane] = {}
        for camera in config.cameras:
            if camera.enabled:
                self._lanes[camera.id] = self._lane(camera, pipeline_of)
        self._pump = threading.Thread(target=self._run_pump, name="detector", daemon=True)
        self._stop = threading.Event()

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The cameras at work."""
        return tuple(self._lanes.values())

    def dropped(self, camera_id: str) -> int:
        """Return how many frames of a camera were replaced before the detector had time for them."""
        return self._slots.dropped(camera_id)

    def start(self) -> None:
        """Start the detector's thread and the cameras, a little apart."""
        self._detector.warm()
        self._pump.start()
        for lane in self._lanes.values():
            if lane.stream is not None:
                lane.stream.start()
            if self._stop.wait(START_GAP_S):
                return

    def stop(self, timeout_s: float = 8.0) -> None:
        """Stop the cameras, then the detector's thread."""
        self._stop.set()
        for lane in self._lanes.values():
            if lane.stream is not None:
                lane.stream.close(timeout_s)
        self._slots.close()
        if self._pump.is_alive():
            self._pump.join(timeout_s)

    def _lane(self, camera: CameraConfig, pipeline_of: PipelineOf) -> Lane:
        lane: Lane

        def ring() -> Any:
            return lane.stream.ring if lane.stream is not None else None

        lane = Lane(camera, pipeline_of(camera, ring))
        options = StreamOptions(
            transport=camera.transport,
            ring_seconds=camera.clip.pre_s + camera.clip.post_s + 20,
            ring_bytes=camera.clip.ring_mib * 2**20,
        )
        sink = LaneSink(lane, self._slots, self._log)
        lane.stream = open_stream(camera.id, camera.url.get_secret_value(), sink, options, self._clock)
        lane.stream.demand = lane.pipeline.scheduler.demand(self._clock.monotonic())
        return lane

    def _run_pump(self) -> None:
        while not self._stop.is_set():
            work = self._slots.take(self._config.model.max_batch, 0.5)
            if work:
                try:
                    self._judge(work)
                except Exception as exc:
                    # One bad frame must not end the box; the frames are lost, and the log says why.
                    self._log.error(
                        "frame.failed", cameras=[c for c, _ in work], error=f"{type(exc).__name__}: {exc}"
                    )

    def _judge(self, work: list[tuple[str, Frame]]) -> None:
        pictures = [picture_for(frame, self._detector.input_size) for _, frame in work]
        found = self._detector.detect(pictures)
        for (camera_id, frame), picture, detections in zip(work, pictures, found, strict=True):
            lane = self._lanes.get(camera_id)
            if lane is None:
                continue
            if not lane.first_frame_logged:
                lane.first_frame_logged = True
                self._log.info(
                    "camera.first_frame", camera=camera_id, width=frame.meta.width, height=frame.meta.height
                )
            lane.pipeline.judge(frame, detections, picture.shape[1], picture.shape[0])


def picture_for(frame: Frame, input_size: tuple[int, int]) -> Any:
    """Return the frame as RGB uint8 (H, W, 3) at the scale at which it fits the detector's input (w, h).

    The decoder's own scaler makes it, so that no full-size RGB picture is ever built for detection.
    """
    width, height = frame.meta.width, frame.meta.height
    scale = min(input_size[0] / width, input_size[1] / height, 1.0)
    return frame.rgb(max(2, round(width * scale)), max(2, round(height * scale)))
