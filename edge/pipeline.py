"""One camera from frame to alert: gate, plan, judgement, record. Called with decoded frames; knows no threads.

The stream's thread calls `offer` (cheap: a 320 x 180 grey picture), the detector's thread calls `judge`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPoint

from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.meter import METER
from camera_adapters.view_watch import ViewWatch
from contract import IssueClass, View
from edge.config import CameraConfig
from edge.gate import MotionGate
from edge.geometry import Box
from edge.judge import Change, Judge, Observation, SiteView
from edge.left_objects import LeftObject, LeftObjectDetector
from edge.rules import ALL_RULES
from edge.scheduler import CameraScheduler, Plan
from edge.tape import Tape
from edge.zones import numbers_of
from models.detections import Detections

GREY_SIDE = 320
# Sites that only wait for their confirm time want a steady look; these rules look for left objects.
_LEFT_KINDS = frozenset(kind for r in ALL_RULES if "left_objects" in r.needs for kind in r.zones)
# A dwell of this many quiet looks is measured well enough without the dense rate.
_LOOKS_ENOUGH = 12
_OCCUPANTS = frozenset({"person", "vehicle", "non_motor"})


class Recorder(Protocol):
    """Turns the changes of one frame into alerts and evidence."""

    def record(self, change: Change, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Record one change seen in `frame`; `detections` are in pixels of a `width` x `height` picture of it."""

    def prepare(
        self, changes: Sequence[Change], frame: Frame, detections: Detections, width: int, height: int
    ) -> None:
        """Keep what the alerts of these changes need, before the places are written down as confirmed."""

    def middle(self, site: SiteView, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Keep the middle picture of a dwell when it is time."""

    def resume(
        self, sites: list[SiteView], frame: Frame, detections: Detections, width: int, height: int
    ) -> bool:
        """Send what an earlier start of the box owes; False when it must be asked for again with the next frame."""

    def tick(self, now: datetime, final: bool = False, patience_s: float = 60.0, down: bool = False) -> None:
        """Do what waits for later frames, such as the rest of a clip; with what there is when `final`, or the camera is `down`."""

    def follow(self, camera: CameraConfig) -> None:
        """Take up another configuration of the camera."""


class Looker(Protocol):
    """Looks again at the places of older alerts."""

    def due(self, frame: Frame, /) -> bool:
        """True when an order wants this frame judged."""

    def look(self, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Take the looks that are due."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Frames of one camera since the start."""

    offered: int = 0
    judged: int = 0
    moving: int = 0
    tainted: int = 0


class CameraPipeline:
    """The judgement of one camera."""

    def __init__(
        self,
        camera: CameraConfig,
        judge: Judge,
        recorder: Recorder,
        stretch: Callable[[], float] = lambda: 1.0,
        lookers: Sequence[Looker] = (),
        watch: ViewWatch | None = None,
        on_view: Callable[[View, View], None] = lambda _was, _now: None,
        on_trouble: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """`stretch` is the box's word on its load, see `edge.load`.

        `watch` is None for a camera whose view nobody checks, and may be replaced at any time; `on_view` hears of each
        change of its verdict. `on_trouble` hears why the places could not be written; they are written with the next frame.
        """
        self.watch, self._on_view, self._on_trouble = watch, on_view, on_trouble
        self._resumed = self._over = False
        self._lookers = lookers
        # What the detector saw lately; an engineer's draft of zones is tried on it.
        self.tape = Tape()
        self.judge_ = judge
        self._recorder = recorder
        self._stretch = stretch
        self._left: LeftObjectDetector | None = None
        self._draw(camera)
        self._lock = threading.Lock()
        self._offered = self._judged = self._moving = self._tainted = 0
        self._last_judged: float | None = None
        # The grey picture of the last frame that was worth the detector, so that it is made once.
        self._grey: tuple[FrameMeta, NDArray[np.uint8]] | None = None

    def _draw(self, camera: CameraConfig) -> None:
        self.camera = camera
        self._gate = MotionGate([np.asarray(z.polygon, np.float32) for z in camera.watched])
        # Where left objects are looked for.
        self._left_in = _around([z.polygon for z in camera.zones if z.kind in _LEFT_KINDS])
        self.scheduler = CameraScheduler(camera.sampling, dense_pays(camera), self._stretch)

    def redraw(self, camera: CameraConfig, judge: Judge) -> None:
        """Take up other zones, masks or numbers. The places that are known go on, by way of the judge's store."""
        with self._lock:
            self._save(now=True)
            # Alerts of zones that are gone must end.
            self._resumed = False
            if camera.cuts != self.camera.cuts:
                # What is newly cut out, or shows itself again, is no left object.
                self._left = None
            self._draw(camera)
            self._recorder.follow(camera)
            judge.blind_since = self.judge_.blind_since
            self.judge_ = judge

    def finish(self, now: datetime, patience_s: float) -> None:
        """End: places are written down, and clips that wait are cut, within `patience_s` seconds. Nothing is judged from then on."""
        with self._lock:
            self._over = True
            self._save(now=True)
            self._recorder.tick(now, final=True, patience_s=patience_s)

    def down(self, now: datetime) -> None:
        """The camera is down: what comes after it has no room in the ring for the clips that wait. Called as `offer` is."""
        self._recorder.tick(now, down=True)

    @property
    def view(self) -> View:
        """What the view check says now."""
        watch = self.watch
        return watch.verdict if watch is not None else "unknown"

    def counters(self) -> Counters:
        """Return the counts since the start."""
        return Counters(self._offered, self._judged, self._moving, self._tainted)

    def offer(self, frame: Frame) -> Plan:
        """Look at a decoded frame and decide whether it is worth the detector."""
        meta = frame.meta
        self._offered += 1
        self._recorder.tick(meta.captured_at)
        if meta.tainted:
            self._tainted += 1
            return Plan(judge=False, demand=self.scheduler.demand(meta.mono_s), dense=False)
        grey = small_grey(frame)
        if (watch := self.watch) is not None:
            was = watch.verdict
            if (now := watch.observe(grey, meta.mono_s)) != was:
                self._on_view(was, now)
        moving = self._gate.observe(grey, meta.mono_s)
        self._moving += moving
        plan = self.scheduler.plan(meta.mono_s, moving, self.judge_.attentive)
        if not plan.judge and any(x.due(frame) for x in self._lookers):
            plan = replace(plan, judge=True)
        if plan.judge:
            self._grey = (meta, grey)
        return plan

    def judge(self, frame: Frame, detections: Detections, width: int, height: int) -> list[Change]:
        """Judge one frame; `detections` are in pixels of a `width` x `height` picture of it."""
        return [change for changes in self.steps(frame, detections, width, height) for change in changes]

    def steps(
        self, frame: Frame, detections: Detections, width: int, height: int
    ) -> Iterator[Sequence[Change]]:
        """Judge one frame in three steps, left objects, rules and evidence, one each time it is asked; the second yields what changed.

        Cameras that take each step together find what it needs in the processor's cache. The judgement is locked from the first step
        to the end, or until the iterator is closed.
        """
        with self._lock:
            # Its camera went while the look waited for the others of its turn: what it knew is written down already.
            if self._over:
                return
            with METER.stage("left"):
                seen = self._seen(frame, detections, width, height)
            yield ()
            with METER.stage("rules"):
                self.tape.keep(seen)
                changes = self.judge_.observe(seen)
                self.scheduler.aim(self.judge_.next_end)
            yield changes
            with METER.stage("evidence" if changes else "rules") as stage:
                self._recorder.prepare(changes, frame, detections, width, height)
                stage.then("rules")
                self._save()
                if changes or not self._resumed or self.judge_.attentive:
                    stage.then("evidence")
                    self._record(changes, frame, detections, width, height)
            for looker in self._lookers:
                looker.look(frame, detections, width, height)

    def _seen(self, frame: Frame, detections: Detections, width: int, height: int) -> Observation:
        meta = frame.meta
        interval = (
            self.camera.sampling.dense_interval_s
            if self._last_judged is None
            else meta.mono_s - self._last_judged
        )
        self._last_judged = meta.mono_s
        self._judged += 1
        kept = self._grey
        grey = kept[1] if kept is not None and kept[0] is meta else small_grey(frame)
        # Another view would become the background of the left objects.
        watch = self.watch
        view_ok = watch is None or watch.fit
        return Observation(
            captured_at=meta.captured_at,
            mono_s=meta.mono_s,
            width=width,
            height=height,
            detections=detections,
            left=self._left_objects(frame, detections, width, height, grey) if view_ok else (),
            view_ok=view_ok,
            interval_s=interval,
            grey=grey,
        )

    def _record(
        self, changes: Sequence[Change], frame: Frame, detections: Detections, width: int, height: int
    ) -> None:
        if not self._resumed:
            self._resumed = self._recorder.resume(self.judge_.sites(), frame, detections, width, height)
        for change in changes:
            self._recorder.record(change, frame, detections, width, height)
        for site in self.judge_.waiting():
            self._recorder.middle(site, frame, detections, width, height)

    def _save(self, now: bool = False) -> None:
        try:
            self.judge_.save(now)
        except sqlite3.Error as exc:
            # A full disk or a locked file: what follows from this frame is recorded all the same.
            self._on_trouble(f"{type(exc).__name__}: {exc}")

    def _left_objects(
        self, frame: Frame, detections: Detections, width: int, height: int, grey: NDArray[np.uint8]
    ) -> Sequence[LeftObject]:
        if self._left_in is None:
            return ()
        if self._left is None or self._left.shape != grey.shape:
            self._left = LeftObjectDetector(grey.shape[1], grey.shape[0], self._left_in)
        elif not self._left.finds(grey.shape, self._left_in):
            self._left = self._left.widened(self._left_in)
        roles, boxes = self.judge_.roles_of(detections), detections.boxes.tolist()
        occupied = [
            (x1 / width, y1 / height, x2 / width, y2 / height)
            for (x1, y1, x2, y2), role in zip(boxes, roles, strict=True)
            if role in _OCCUPANTS
        ]
        return self._left.observe(grey, frame.meta.mono_s, occupied)


def small_grey(frame: Frame) -> NDArray[np.uint8]:
    """Return the grey picture on which gate, left objects and looks of places work: 320 pixels on the longer side."""
    scale = GREY_SIDE / max(frame.meta.width, frame.meta.height)
    return frame.luma(max(2, round(frame.meta.width * scale)), max(2, round(frame.meta.height * scale)))


def _around(polygons: Sequence[Sequence[tuple[float, float]]]) -> Box | None:
    """Return the smallest box round some polygons (corners in shares); None without any."""
    corners = [corner for polygon in polygons for corner in polygon]
    return MultiPoint(corners).bounds if corners else None


def dense_pays(camera: CameraConfig) -> bool:
    """True when a rule of the camera watches for an act, or waits so short that quiet looks would not measure it."""
    enough = _LOOKS_ENOUGH * camera.sampling.quiet_interval_s
    for zone in camera.zones:
        for rule in ALL_RULES:
            numbers = numbers_of(rule.issue, zone.street_class, camera.policy)
            if zone.kind not in rule.zones or not numbers.enabled:
                continue
            if rule.issue is IssueClass.DUMPING_ACT or numbers.confirm_s < enough:
                return True
    return False
