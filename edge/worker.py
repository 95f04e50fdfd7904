"""One box at work: cameras, one detector, judgement, evidence, outbox, uplink, heartbeat.

Threads: one a camera (demux and decode on demand), one for the detector and the judgement, one for the uplink,
one for the heartbeat. A camera that is down takes none of the others with it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from camera_adapters.clock import Clock
from camera_adapters.frame import Frame
from camera_adapters.meter import METER
from edge.config import BoxConfig, CameraConfig
from edge.lane import Lane, Look, Rings
from edge.load import Load, LoadGovernor
from edge.pipeline import CameraPipeline
from edge.pump import LatestSlots
from edge.shadow.spent import Spent
from edge.trace import Detected, during
from edge.trace import now as wall
from models.detections import Detections, Floats, Picture
from models.detector import Detector

# 20 ms apart, 50 cameras connect within a second and an NVR is not stormed.
START_GAP_S = 0.02
# So many looks are judged together, since they find what they need in the processor's cache. A look waits for the others of its turn: after so
# many seconds of detection it waits for no more.
TOGETHER, GATHER_S = 8, 0.25
PipelineOf = Callable[[CameraConfig, Rings], CameraPipeline]
# Is shown each judged frame: regions, what was found, the picture it was found in, milliseconds. Must not wait.
Beside = Callable[[Frame, Floats | None, Detections, Picture, float], None]


class Worker:
    """The cameras of one box around one detector. Cameras come and go while it runs."""

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
        self._pipeline_of = pipeline_of
        self._slots: LatestSlots[Look] = LatestSlots()
        self.governor = governor or LoadGovernor()
        self._pump = threading.Thread(target=self._run_pump, name="detector", daemon=True)
        # CPU seconds of work that stands back for the cameras: no reason to look at them less often.
        self.behind: Callable[[], float] = lambda: 0.0
        self._stop, self._shares = threading.Event(), _Shares(0.0)
        # Never changed in place: the detector's, the metrics' and the heartbeat's threads read it at any time.
        self._lanes: dict[str, Lane] = {c.id: self._lane(c) for c in config.cameras if c.enabled}
        # Another model looks at some of the frames too; what it sees goes nowhere but into its report.
        self.beside: Callable[[], Beside | None] = lambda: None
        # Pictures on which the detector or the judgement failed.
        self.failures = 0
        # When the detector's thread last came round, monotonic seconds: the supervisor's watchdog looks at it.
        self.turned_s = time.monotonic()

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The cameras at work."""
        return tuple(self._lanes.values())

    def lane(self, camera_id: str) -> Lane | None:
        """Return a camera at work, or None."""
        return self._lanes.get(camera_id)

    def dropped(self, camera_id: str) -> int:
        """Return how many frames of a camera were replaced before the detector had time for them."""
        return self._slots.dropped(camera_id)

    @property
    def left_out(self) -> int:
        """How many key frames that were due were left undecoded because too many others waited."""
        return self._slots.left_out

    def load(self) -> Load:
        """Return how much the box has to do, and how late it looks."""
        return self.governor.load()

    def start(self) -> None:
        """Start the detector's thread and the cameras, a little apart."""
        self.warm()
        self._pump.start()
        self._start(self.lanes)

    def warm(self) -> None:
        """Run every batch size of the detector once: no camera waits for it, and memory is at its height."""
        self._detector.warm()

    def stop(self, timeout_s: float = 8.0) -> None:
        """Stop the cameras, then the detector's thread."""
        self._stop.set()
        _close(self.lanes, timeout_s)
        self._slots.close()
        if self._pump.is_alive():
            self._pump.join(timeout_s)

    def add(self, cameras: Iterable[CameraConfig]) -> dict[str, str]:
        """Start cameras, a little apart; return those that could not be, each with its reason."""
        fresh, failed = [], {}
        for camera in cameras:
            try:
                fresh.append(self._lane(camera))
            except (ValueError, OSError) as exc:
                failed[camera.id] = f"{type(exc).__name__}: {exc}"
        self._lanes = {**self._lanes, **{lane.camera.id: lane for lane in fresh}}
        if self._pump.is_alive():
            self._start(fresh)
        return failed

    def remove(self, camera_ids: Iterable[str], timeout_s: float = 8.0) -> list[Lane]:
        """Stop cameras, all at once, and return what they leave behind; the others are not touched."""
        gone = [self._lanes[i] for i in camera_ids if i in self._lanes]
        _close(gone, timeout_s)
        ids = {lane.camera.id for lane in gone}
        self._lanes = {i: lane for i, lane in self._lanes.items() if i not in ids}
        return gone

    def _start(self, lanes: Iterable[Lane]) -> None:
        for lane in lanes:
            lane.start()
            if self._stop.wait(START_GAP_S):
                return

    def _lane(self, camera: CameraConfig) -> Lane:
        return Lane(camera, self._pipeline_of, self._slots, self._clock, self._log)

    def turn(self, timeout_s: float = 0.0) -> int:
        """Judge what waits, some frames together, for up to `timeout_s` seconds until something does; return how many.

        For one thread: the detector's, which does nothing else while the box runs.
        """
        most = self._config.model.max_batch
        work = self._slots.take(most, timeout_s)
        began = self.turned_s = time.monotonic()
        self._watch_load(self._shares)
        if not work:
            return 0
        self._shares.begin()
        count, found = 0, list[_Found]()
        while work:
            count += len(work)
            some = self._find([look for _, look in work if not look.lane.closed])
            if {f.camera_id for f in found} & {f.camera_id for f in some}:
                # A dense camera is there again.
                self._judge(found)
                found = []
            found += some
            self.turned_s = time.monotonic()
            more = min(most, TOGETHER - count) if self.turned_s - began < GATHER_S else 0
            work = self._slots.take(more, 0.0) if more > 0 else []
        self._judge(found)
        self._shares.end()
        return count

    def _failed(self, cameras: list[str], exc: Exception) -> None:
        self.failures += 1
        self._log.error("frame.failed", cameras=cameras, error=f"{type(exc).__name__}: {exc}")

    def _run_pump(self) -> None:
        self._shares = _Shares(self.behind())
        while not self._stop.is_set():
            self.turn(0.5)

    def _watch_load(self, shares: _Shares) -> None:
        taken = shares.take(self.behind)
        if taken is None:
            return
        was = self.governor.load().overloaded
        self.governor.observe(taken.busy, taken.cpu, self._slots.longest_wait_s(), taken.seconds)
        load = self.governor.load()
        if load.overloaded != was:
            told = self._log.warning if load.overloaded else self._log.info
            told("box.overloaded" if load.overloaded else "box.load_normal", busy=load.busy, cpu=load.cpu)

    def _find(self, looks: list[Look]) -> list[_Found]:
        """Ask the detector about one batch; empty where it failed: bad frames are lost and must not end the box, and the log says why."""
        if not looks:
            return []
        try:
            return self._detected(looks)
        except Exception as exc:
            self._failed([look.lane.camera.id for look in looks], exc)
            return []

    def _detected(self, looks: list[Look]) -> list[_Found]:
        regions = [look.lane.regions for look in looks]
        began, spent, beside = wall(), Spent(), self.beside()
        with METER.stage("detect"):
            pictures = [self._picture(x.frame, r) for x, r in zip(looks, regions, strict=True)]
            # To ask the system how long it waited takes as long as a rule.
            with spent if beside is not None else nullcontext():
                found = self._detect(regions, pictures)
        now, seen = self._clock.monotonic(), Detected(began, wall(), len(looks))
        for look in looks:
            lane, meta = look.lane, look.frame.meta
            self.governor.detected(now - meta.mono_s)
            if not lane.first_frame_logged:
                lane.first_frame_logged = True
                self._log.info(
                    "camera.first_frame", camera=lane.camera.id, width=meta.width, height=meta.height
                )
        ms = spent.ms / len(looks)
        return [
            _Found(
                look,
                detections,
                (picture.shape[1], picture.shape[0]),
                seen,
                None if beside is None else partial(beside, look.frame, region, detections, picture, ms),
            )
            for look, region, picture, detections in zip(looks, regions, pictures, found, strict=True)
        ]

    def _judge(self, found: list[_Found]) -> None:
        """Take each step of the judgement for all cameras before the next one: what it needs stays in the processor's cache."""
        ways = [(f, f.steps()) for f in found]
        while ways:
            ways = [(f, steps) for f, steps in ways if self._goes_on(f, steps)]
        for f in found:
            if f.show is not None:
                try:
                    f.show()
                except Exception as exc:
                    self._failed([f.camera_id], exc)

    def _goes_on(self, found: _Found, steps: Iterator[object]) -> bool:
        """Take a camera's next step; False after the last one, or where it failed: a camera's fault costs the others nothing."""
        try:
            with during(found.seen):
                return next(steps, None) is not None
        except Exception as exc:
            self._failed([found.camera_id], exc)
            return False

    def _picture(self, frame: Frame, regions: Floats | None) -> Picture:
        return frame.rgb() if regions is not None else picture_for(frame, self._detector.input_size)

    def _detect(self, regions: list[Floats | None], pictures: list[Picture]) -> list[Detections]:
        whole = iter(self._detector.detect([p for p, r in zip(pictures, regions, strict=True) if r is None]))
        return [
            next(whole) if r is None else self._detector.detect_regions(p, r)
            for p, r in zip(pictures, regions, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Found:
    """A look and what the detector found in it, in pixels of a picture of `size` (w, h); `show` tells the model beside it, if there is one."""

    look: Look
    detections: Detections
    size: tuple[int, int]
    seen: Detected
    show: Callable[[], None] | None

    @property
    def camera_id(self) -> str:
        return self.look.lane.camera.id

    def steps(self) -> Iterator[object]:
        return self.look.lane.steps(self.look.frame, self.detections, *self.size)


def _close(lanes: Iterable[Lane], timeout_s: float) -> None:
    """Stop cameras side by side: one that is silent holds none of the others up."""
    lanes = list(lanes)
    for lane in lanes:
        lane.signal_close()
    until = time.monotonic() + timeout_s
    for lane in lanes:
        lane.close(max(0.0, until - time.monotonic()))


@dataclass(frozen=True, slots=True)
class _Taken:
    busy: float
    cpu: float
    seconds: float


class _Shares:
    """How busy the detector's thread and the process were, second by second."""

    def __init__(self, behind_s: float) -> None:
        self._since, self._cpu = time.monotonic(), time.process_time() - behind_s
        self._busy, self._began = 0.0, 0.0

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        self._busy += time.monotonic() - self._began

    def take(self, behind_s: Callable[[], float]) -> _Taken | None:
        """Return the shares since the last time, once a second; None in between. `behind_s` of the CPU time do not count."""
        now = time.monotonic()
        seconds = now - self._since
        if seconds < 1.0:
            return None
        cpu = time.process_time() - behind_s()
        cores = len(os.sched_getaffinity(0))
        taken = _Taken(self._busy / seconds, (cpu - self._cpu) / seconds / cores, seconds)
        self._since, self._cpu, self._busy = now, cpu, 0.0
        return taken


def picture_for(frame: Frame, input_size: tuple[int, int]) -> Picture:
    """Return the frame as RGB uint8 (H, W, 3) at the scale at which it fits the detector's input (w, h).

    The decoder's own scaler makes it, so that no full-size RGB picture is ever built for detection.
    """
    width, height = frame.meta.width, frame.meta.height
    scale = min(input_size[0] / width, input_size[1] / height, 1.0)
    return frame.rgb(max(2, round(width * scale)), max(2, round(height * scale)))
