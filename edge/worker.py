"""One box at work: cameras, one detector, judgement, evidence, outbox, uplink, heartbeat.

Threads: one a camera (demux and decode on demand), one for the detector and the judgement, one for the uplink,
one for the heartbeat. A camera that is down takes none of the others with it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from camera_adapters.clock import Clock
from camera_adapters.frame import Frame
from camera_adapters.meter import METER
from camera_adapters.open import open_stream
from camera_adapters.stream import CameraStream, StreamEvent, StreamOptions
from edge.config import BoxConfig, CameraConfig
from edge.load import Load, LoadGovernor
from edge.pipeline import CameraPipeline
from edge.pump import LatestSlots
from models.detections import Detections, Floats, Picture
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
        with METER.stage("gate"):
            # Here, before the gate, the detector and the evidence see anything of it.
            frame = frame.masked(self._lane.camera.masks)
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
        self,
        config: BoxConfig,
        detector: Detector,
        clock: Clock,
        pipeline_of: PipelineOf,
        log: Any,
        governor: LoadGovernor | None = None,
    ) -> None:
        self._config, self._detector, self._clock, self._log = config, detector, clock, log
        self._slots: LatestSlots[Frame] = LatestSlots()
        self._lanes: dict[str, Lane] = {}
        self.governor = governor or LoadGovernor()
        self._regions: dict[str, Floats] = {}
        for camera in config.cameras:
            if camera.enabled:
                self._lanes[camera.id] = self._lane(camera, pipeline_of)
                if (regions := zone_regions(camera)) is not None:
                    self._regions[camera.id] = regions
        self._pump = threading.Thread(target=self._run_pump, name="detector", daemon=True)
        self._stop = threading.Event()

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The cameras at work."""
        return tuple(self._lanes.values())

    def dropped(self, camera_id: str) -> int:
        """Return how many frames of a camera were replaced before the detector had time for them."""
        return self._slots.dropped(camera_id)

    def load(self) -> Load:
        """Return how much the box has to do, and how late it looks."""
        return self.governor.load()

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
        if camera.sub_url is not None:
            self._log.warning("camera.sub_url_unused", camera=camera.id)
        options = StreamOptions(
            transport=camera.transport,
            hardware=camera.hardware,
            ring_seconds=camera.clip.pre_s + camera.clip.post_s + 20,
            ring_bytes=camera.clip.ring_mib * 2**20,
        )
        sink = LaneSink(lane, self._slots, self._log)
        lane.stream = open_stream(camera.id, camera.url.get_secret_value(), sink, options, self._clock)
        lane.stream.demand = lane.pipeline.scheduler.demand(self._clock.monotonic())
        return lane

    def _run_pump(self) -> None:
        shares = _Shares()
        while not self._stop.is_set():
            work = self._slots.take(self._config.model.max_batch, 0.5)
            self._watch_load(shares)
            if work:
                shares.begin()
                try:
                    self._judge(work)
                except Exception as exc:
                    # One bad frame must not end the box; the frames are lost, and the log says why.
                    self._log.error(
                        "frame.failed", cameras=[c for c, _ in work], error=f"{type(exc).__name__}: {exc}"
                    )
                shares.end()

    def _watch_load(self, shares: _Shares) -> None:
        taken = shares.take()
        if taken is None:
            return
        was = self.governor.load().overloaded
        self.governor.observe(taken.busy, taken.cpu, self._slots.longest_wait_s(), taken.seconds)
        load = self.governor.load()
        if load.overloaded != was:
            told = self._log.warning if load.overloaded else self._log.info
            told("box.overloaded" if load.overloaded else "box.load_normal", busy=load.busy, cpu=load.cpu)

    def _judge(self, work: list[tuple[str, Frame]]) -> None:
        with METER.stage("detect"):
            pictures = [self._picture(camera_id, frame) for camera_id, frame in work]
            found = self._detect([self._regions.get(camera_id) for camera_id, _ in work], pictures)
        now = self._clock.monotonic()
        for (camera_id, frame), picture, detections in zip(work, pictures, found, strict=True):
            lane = self._lanes.get(camera_id)
            if lane is None:
                continue
            self.governor.detected(now - frame.meta.mono_s)
            if not lane.first_frame_logged:
                lane.first_frame_logged = True
                self._log.info(
                    "camera.first_frame", camera=camera_id, width=frame.meta.width, height=frame.meta.height
                )
            lane.pipeline.judge(frame, detections, picture.shape[1], picture.shape[0])

    def _picture(self, camera_id: str, frame: Frame) -> Picture:
        if camera_id in self._regions:
            return frame.rgb()
        return picture_for(frame, self._detector.input_size)

    def _detect(self, regions: list[Floats | None], pictures: list[Picture]) -> list[Detections]:
        whole = iter(self._detector.detect([p for p, r in zip(pictures, regions, strict=True) if r is None]))
        return [
            next(whole) if r is None else self._detector.detect_regions(p, r)
            for p, r in zip(pictures, regions, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Taken:
    busy: float
    cpu: float
    seconds: float


class _Shares:
    """How busy the detector's thread and the process were, second by second."""

    def __init__(self) -> None:
        self._since, self._cpu = time.monotonic(), time.process_time()
        self._busy, self._began = 0.0, 0.0

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        self._busy += time.monotonic() - self._began

    def take(self) -> _Taken | None:
        """Return the shares since the last time, once a second; None in between."""
        now, cpu = time.monotonic(), time.process_time()
        seconds = now - self._since
        if seconds < 1.0:
            return None
        cores = len(os.sched_getaffinity(0))
        taken = _Taken(self._busy / seconds, (cpu - self._cpu) / seconds / cores, seconds)
        self._since, self._cpu, self._busy = now, cpu, 0.0
        return taken


def zone_regions(camera: CameraConfig) -> Floats | None:
    """Return the zones' boxes as float32 (N, 4) in 0-1 with a third of their size around; None without `detect_crops`."""
    if not camera.detect_crops or not camera.zones:
        return None
    boxes = []
    for zone in camera.zones:
        corners = np.array(zone.polygon, np.float32)
        low, high = corners.min(0), corners.max(0)
        # A vehicle or a stall stands in the zone with its feet and reaches out of it.
        margin = np.maximum((high - low) / 3, 0.02)
        boxes.append(np.concatenate([np.clip(low - margin, 0, 1), np.clip(high + margin, 0, 1)]))
    return np.array(boxes, np.float32)


def picture_for(frame: Frame, input_size: tuple[int, int]) -> Picture:
    """Return the frame as RGB uint8 (H, W, 3) at the scale at which it fits the detector's input (w, h).

    The decoder's own scaler makes it, so that no full-size RGB picture is ever built for detection.
    """
    width, height = frame.meta.width, frame.meta.height
    scale = min(input_size[0] / width, input_size[1] / height, 1.0)
    return frame.rgb(max(2, round(width * scale)), max(2, round(height * scale)))
