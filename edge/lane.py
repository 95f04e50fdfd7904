"""One camera at work: its streams, its judgement, and which of its streams is looked at.

A camera with a sub stream is judged by it. The main stream is then only demuxed into its ring, and decoded when
evidence is needed. While the sub stream is away, or shows another shape than the main one, the main stream's key
frames are judged in its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

import numpy as np

from camera_adapters.clock import Clock
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame, Masks, Role
from camera_adapters.mends import same_shape
from camera_adapters.meter import METER
from camera_adapters.open import open_stream
from camera_adapters.ring import PacketRing
from camera_adapters.stream import CameraStream, StreamEvent, StreamOptions, StreamState
from edge.config import CameraConfig
from edge.pipeline import CameraPipeline
from edge.pump import LatestSlots
from models.detections import Detections, Floats

# How often a sub stream of the wrong shape is looked at again: somebody may set the camera right.
RECHECK = Demand("key", 30.0)
# A clip of the sub stream is worth more than one of the main stream when it is longer by this many seconds.
CLIP_PREFERS_SUB_S = 3.0
# What a ring holds beyond a clip: a long GOP before its first second, and the look that finds it due. Each second of a camera's
# 4 Mbit/s is half a megabyte of memory. A clip that waits longer for the maker begins that much later.
RING_SPARE_S = 10.0
# So long a sub stream's pictures wait for the main stream's shape, which its first key frame tells. Judged in their own shape, of CIF the
# first ones were squeezed, and the detector made its network for squares as well, some 180 MB that no later picture asks for.
SHAPE_S = 5.0
_AWAY = frozenset({StreamState.STALLED, StreamState.BACKING_OFF, StreamState.FAILED})


@dataclass(frozen=True, slots=True)
class Look:
    """A frame that waits for the detector, with the lane that asked."""

    lane: Lane
    frame: Frame


class Rings:
    """Where evidence comes from. Called, it returns the ring of the camera's own address."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def __call__(self) -> PacketRing | None:
        """Return the main stream's ring."""
        return self._lane.stream.ring

    @property
    def masks(self) -> Masks:
        """The camera's privacy masks as they are now."""
        return self._lane.cuts

    def main_reason(self) -> str:
        """Return why the main stream gives nothing; empty while it is live."""
        stream = self._lane.stream
        if stream.state is StreamState.LIVE:
            return ""
        return stream.health().reason or stream.state.value

    def newest_mono(self) -> float | None:
        """Return the monotonic time of the newest packet of either stream."""
        rings = [s.ring for s in self._lane.streams if s.ring is not None]
        return max((t for r in rings if (t := r.newest_mono()) is not None), default=None)

    def best(
        self, at: datetime, mono_s: float, pre_s: float, post_s: float
    ) -> tuple[PacketRing | None, Role]:
        """Return the ring that holds most of the time round a moment: the main stream's, unless that was away."""
        main, sub = self(), self._lane.sub
        if main is None or sub is None or sub.ring is None:
            return main, "main"
        t0, t1 = at - timedelta(seconds=pre_s), at + timedelta(seconds=post_s)
        covered = [r.timed_by(at, mono_s).covered_s(t0, t1, at) for r in (main, sub.ring)]
        return (sub.ring, "sub") if covered[1] - covered[0] > CLIP_PREFERS_SUB_S else (main, "main")


class Lane:
    """One camera. `stream` is its main stream; `sub` is None where it has one alone."""

    def __init__(
        self, camera: CameraConfig, pipeline_of: Callable[[CameraConfig, Rings], CameraPipeline],
        slots: LatestSlots[Look], clock: Clock, log: Any,
    ) -> None:  # fmt: skip
        """Open the streams; nothing is connected before `start`.

        Raises:
            ValueError: no adapter knows an address.
        """
        self.camera, self._slots, self._clock, self._log = camera, slots, clock, log
        self.sub: CameraStream | None = None
        self.regions, self.cuts = zone_regions(camera), camera.cuts
        self.first_frame_logged = self.closed = False
        self.eyes: Role = "main" if camera.sub_url is None else "sub"
        # Why the sub stream is not looked at; "" while it is, or where there is none.
        self.sub_refused = ""
        self._lock = threading.Lock()
        self._last_mono = self._shape_by = float("-inf")
        self._shape: tuple[int, int] | None = None
        self.pipeline = pipeline_of(camera, Rings(self))
        demand = self.pipeline.scheduler.demand(clock.monotonic())
        self.stream: CameraStream = self._open("main", camera.url.get_secret_value(), 1.0)
        if camera.sub_url is not None:
            # A quarter of the budget: what it keeps is for the time in which the main stream is away.
            self.sub = self._open("sub", camera.sub_url.get_secret_value(), 0.25)
            self.stream.demand = Demand("none")
        # The first picture asks for room too: those of two hundred cameras at a start would wait a minute, decoded, in a line that lets
        # nobody else in.
        self._steer(self.sub or self.stream, demand)

    @property
    def streams(self) -> tuple[CameraStream, ...]:
        """The streams of the camera, main first."""
        return (self.stream,) if self.sub is None else (self.stream, self.sub)

    def start(self) -> None:
        """Connect."""
        self._shape_by = self._clock.monotonic() + SHAPE_S
        for stream in self.streams:
            stream.start()

    def redraw(self, camera: CameraConfig) -> None:
        """Take up other zones, masks or numbers; the streams go on. The pipeline is told by its owner."""
        self.camera, self.regions, self.cuts = camera, zone_regions(camera), camera.cuts

    def take(self, frame: Frame, role: Role) -> None:
        """Plan a frame, steer the streams, and hand the frame on when it is worth the detector."""
        try:
            self._take(frame, role)
        finally:
            self._slots.arrived(self.camera.id)

    def _take(self, frame: Frame, role: Role) -> None:
        with self._lock:
            stream = self.stream if role == "main" else self.sub
            if self.closed or stream is None:
                return
            if role == "sub":
                if self._waits_for_shape():
                    return
                fitted = self._fitted(frame)
                if fitted is None:
                    stream.demand = RECHECK
                    return
                frame = fitted
                self._look_at("sub", "")
            elif self.eyes == "sub":
                return
            # Two streams of one camera have two time lines; at a change of streams the later one may begin earlier.
            if frame.meta.mono_s <= self._last_mono:
                return
            self._last_mono = frame.meta.mono_s
            with METER.stage("gate"):
                # Here, before the gate, the detector and the evidence see anything of it.
                frame = frame.masked(self.cuts)
                plan = self.pipeline.offer(frame)
            self._steer(stream, plan.demand)
            if plan.judge:
                self._slots.offer(self.camera.id, Look(self, frame), urgent=plan.aimed)

    def steps(self, frame: Frame, detections: Detections, width: int, height: int) -> Iterator[object]:
        """Judge a frame that was handed on step by step, and ask the stream for the next one, which may end a dwell.

        `detections` are in pixels of a `width` x `height` picture of it. See `CameraPipeline.steps`.
        """
        if self.closed:
            return
        yield from self.pipeline.steps(frame, detections, width, height)
        with self._lock:
            stream = self.stream if self.eyes == "main" else self.sub
            if not self.closed and stream is not None:
                self._steer(stream, self.pipeline.scheduler.demand())

    def _steer(self, stream: CameraStream, demand: Demand) -> None:
        """Ask a stream for frames. The box was given a sub stream because the main one is too much to decode."""
        if self.sub is not None and stream is self.stream and demand.mode != "key":
            quiet = max(self.camera.sampling.quiet_interval_s, demand.min_interval_s)
            demand = replace(demand, mode="key", max_gap_s=2 * quiet)
        if demand.mode == "key" and not demand.urgent:
            demand = replace(demand, room=partial(self._has_room, demand.min_interval_s))
        stream.demand = demand

    def _has_room(self, interval_s: float, late_s: float) -> bool:
        # Under load a camera may wait for its longest interval, however short the one still is that was planned.
        slack = max(0.0, self.pipeline.scheduler.longest_s - interval_s)
        return self._slots.has_room(self.camera.id, max(0.0, late_s - slack))

    def event(self, event: StreamEvent, role: Role) -> None:
        """Take a change of a stream's state."""
        words = {} if self.sub is None else {"stream": role}
        self._log.info(
            "camera.state", camera=event.camera_id, state=event.state.value, reason=event.reason, **words
        )
        if event.state not in _AWAY:
            return
        with self._lock:
            if role == "sub":
                self._look_at("main", event.reason or event.state.value)
            if self.closed or any(s.state is StreamState.LIVE for s in self.streams):
                return
            self._slots.away(self.camera.id)
            try:
                # Again with each attempt to connect, which hands on what the clips' thread has made since.
                self.pipeline.down(event.at)
            except Exception as exc:
                # Nothing above holds a fault of a state's change: it would end the stream's thread.
                self._log.warning("clips.failed", camera=event.camera_id, reason=type(exc).__name__)

    def signal_close(self) -> None:
        """Tell the streams to end, and take nothing from them any more."""
        with self._lock:
            self.closed = True
        for stream in self.streams:
            stream.close(0)

    def close(self, timeout_s: float) -> None:
        """Wait for the streams' ends; one whose camera is silent ends by its own timeout."""
        self.signal_close()
        for stream in self.streams:
            stream.close(timeout_s)
        self._slots.forget(self.camera.id)

    def _open(self, role: Role, url: str, share: float) -> CameraStream:
        camera = self.camera
        options = StreamOptions(
            transport=camera.transport,
            hardware=camera.hardware,
            ring_seconds=camera.clip.pre_s + camera.clip.post_s + RING_SPARE_S,
            ring_bytes=round(camera.clip.ring_mib * 2**20 * share),
        )
        return open_stream(camera.id, url, LaneSink(self, role), options, self._clock)

    def _fitted(self, frame: Frame) -> Frame | None:
        """Return a sub stream's frame in the main stream's shape; None where the two show different things."""
        main = self._main_shape()
        width, height = frame.meta.width, frame.meta.height
        if main is None:
            return frame.shaped(width, height, "sub")
        wanted = main[0] / main[1]
        if same_shape((width, height), main) or self.camera.sub_stretched:
            return frame.shaped(round(height * wanted), height, "sub")
        self._look_at(
            "main",
            f"shape: the sub stream's {width}x{height} is another shape than the main stream's {main[0]}x{main[1]};"
            " set both to one shape, or sub_stretched: true if both show the whole view",
        )
        return None

    def _waits_for_shape(self) -> bool:
        young = self._clock.monotonic() < self._shape_by
        return young and self.stream.state not in _AWAY and self._main_shape() is None

    def _main_shape(self) -> tuple[int, int] | None:
        ring = self.stream.ring
        self._shape = (ring.shape() if ring is not None else None) or self._shape
        return self._shape

    def _look_at(self, role: Role, why: str) -> None:
        if self.sub is None or self.closed:
            return
        changed, self.sub_refused = role != self.eyes, why
        self.eyes = role
        if not changed:
            return
        if role == "main":
            self._steer(self.stream, self.pipeline.scheduler.demand(self._clock.monotonic()))
            self._log.warning(
                "camera.sub_lost", camera=self.camera.id, looks_at="main key frames", reason=why
            )
        else:
            self.stream.demand = Demand("none")
            self._log.info("camera.sub_back", camera=self.camera.id, looks_at="sub")


class LaneSink:
    """Receives one stream's frames on that stream's thread."""

    def __init__(self, lane: Lane, role: Role = "main") -> None:
        self._lane: Lane = lane
        self._role: Literal["main", "sub"] = role

    def on_frame(self, frame: Frame) -> None:
        """Hand a frame to the lane."""
        self._lane.take(frame, self._role)

    def on_event(self, event: StreamEvent) -> None:
        """Hand a change of state to the lane."""
        self._lane.event(event, self._role)


def zone_regions(camera: CameraConfig) -> Floats | None:
    """Return the watched zones' boxes as float32 (N, 4) in 0-1 with a third of their size around; None without `detect_crops`."""
    if not camera.detect_crops or not camera.watched:
        return None
    boxes = []
    for zone in camera.watched:
        corners = np.array(zone.polygon, np.float32)
        low, high = corners.min(0), corners.max(0)
        # A vehicle or a stall stands in the zone with its feet and reaches out of it.
        margin = np.maximum((high - low) / 3, 0.02)
        boxes.append(np.concatenate([np.clip(low - margin, 0, 1), np.clip(high + margin, 0, 1)]))
    return np.array(boxes, np.float32)
