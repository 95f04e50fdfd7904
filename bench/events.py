"""Run clips through the edge as in service: the file adapter with a virtual clock, everything behind it unchanged."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from bench.changes import Change, ChangedFrame
from bench.manifest import Clip
from bench.score import Raised
from camera_adapters.clock import VirtualClock
from camera_adapters.frame import Frame
from camera_adapters.open import open_stream
from camera_adapters.stream import StreamEvent, StreamOptions, StreamState
from edge.config import CameraConfig
from edge.judge import Change as SiteChange
from edge.judge import Judge, SiteView
from edge.pipeline import CameraPipeline, Looker
from edge.worker import picture_for
from models.detections import Detections
from models.detector import Detector


@dataclass
class ClipRun:
    """What one clip gave."""

    clip: Clip
    length_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    judged: int = 0
    error: str = ""
    alerts: list[Raised] = field(default_factory=list)


class ConfirmedLooker(Looker, Protocol):
    """Looks again at what was confirmed."""

    def confirmed(self, change: SiteChange, frame: Frame) -> None:
        """Take note of a confirmed site in its frame."""


class _Recorder:
    """Takes confirmations instead of making evidence. `names` are the manifest's ids of the zones."""

    def __init__(
        self,
        run: ClipRun,
        start: datetime,
        names: dict[str, str],
        pictures: Path | None,
        looker: ConfirmedLooker | None = None,
    ) -> None:
        self._run, self._start, self._names, self._pictures = run, start, names, pictures
        self._looker = looker

    def record(
        self, change: SiteChange, frame: Frame, _detections: Detections, _width: int, _height: int
    ) -> None:
        """Note a confirmed site."""
        if change.kind != "confirmed":
            return
        if self._looker is not None:
            self._looker.confirmed(change, frame)
        site = change.site
        seen = (site.first_seen_at - self._start).total_seconds()
        confirmed = (frame.meta.captured_at - self._start).total_seconds()
        self._run.alerts.append(
            Raised(
                self._run.clip.id,
                site.issue.value,
                self._names[site.zone.id],
                site.box,
                round(seen, 2),
                round(confirmed, 2),
            )
        )
        if self._pictures is not None:
            clip = re.sub(r"[^A-Za-z0-9._-]", "-", self._run.clip.id)
            name = f"{clip}-{len(self._run.alerts)}-{site.issue.value}.jpg"
            annotate(frame, change, self._pictures / name)

    def prepare(
        self,
        changes: Sequence[Any],
        frame: Frame,
        detections: Detections,
        width: int,
        height: int,
    ) -> None:
        """There is no stop in between."""

    def middle(self, site: SiteView, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """No evidence is kept here."""

    def resume(
        self,
        sites: list[SiteView],  # noqa: ARG002 - the protocol's names
        frame: Frame,  # noqa: ARG002
        detections: Detections,  # noqa: ARG002
        width: int,  # noqa: ARG002
        height: int,  # noqa: ARG002
    ) -> bool:
        """There was no earlier start."""
        return True

    def follow(self, camera: CameraConfig) -> None:
        """The camera of a run stays as it is."""

    def tick(self, now: datetime, final: bool = False, patience_s: float = 60.0, down: bool = False) -> None:
        """Nothing waits for later frames here."""


class _Sink:
    def __init__(
        self, pipeline: CameraPipeline, detector: Detector, run: ClipRun, change: Change | None
    ) -> None:
        self._pipeline, self._detector, self._run, self._change = pipeline, detector, run, change
        self.stream: Any = None
        self._first: float | None = None
        self._given: float | None = None

    def on_frame(self, frame: Frame) -> None:
        now = frame.meta.mono_s
        self._first = now if self._first is None else self._first
        if self._change is not None:
            early = now - self._first < self._change.skip_s
            gap = 1 / self._change.fps if self._change.fps else 0.0
            if early or (self._given is not None and now - self._given < gap - 0.005):
                return
            self._given, frame = now, ChangedFrame(frame, self._change)
        plan = self._pipeline.offer(frame)
        self.stream.demand = plan.demand
        if plan.judge:
            picture = picture_for(frame, self._detector.input_size)
            self._pipeline.judge(
                frame, self._detector.detect([picture])[0], picture.shape[1], picture.shape[0]
            )
            # As a camera's lane does: the look that ends a dwell is aimed at.
            self.stream.demand = self._pipeline.scheduler.demand()
            self._run.judged += 1

    def on_event(self, event: StreamEvent) -> None:
        """Note why a clip could not be played; a file's other states need no answer."""
        if event.state is StreamState.FAILED and not event.reason.startswith("eof"):
            self._run.error = event.reason


def run_clip(
    clip: Clip,
    folder: Path,
    detector: Detector,
    pictures: Path | None = None,
    warn: list[str] | None = None,
    change: Change | None = None,
    looker: ConfirmedLooker | None = None,
) -> ClipRun:
    """Play one clip and return its alerts; times in seconds of the clip. `change` plays it in another light, size or rate."""
    run, clock, warnings = ClipRun(clip), VirtualClock(), [] if warn is None else warn
    zones = clip.known_zones(warnings)
    camera = CameraConfig.model_validate(
        {
            "id": "clip",
            "url": str(folder / clip.file),
            "place": {"lon": 0, "lat": 0},
            "zones": tuple(zones.values()),
            "policy": clip.known_policy(warnings),
            "sampling": {"dense_interval_s": change.dense_interval_s}
            if change and change.dense_interval_s
            else {},
        }
    )
    judge = Judge(camera.id, camera.zones, camera.policy, camera.place.point(), roles=detector.bundle.roles)
    start = clock.now()
    names = {z.id: name for name, z in zones.items()}
    pipeline = CameraPipeline(
        camera, judge, _Recorder(run, start, names, pictures, looker), lookers=[looker] if looker else []
    )
    sink = _Sink(pipeline, detector, run, change)
    began, used = time.perf_counter(), time.process_time()
    try:
        stream = open_stream(
            camera.id, camera.url.get_secret_value(), sink, StreamOptions(ring_seconds=1), clock
        )
        sink.stream = stream
        stream.demand = pipeline.scheduler.demand(clock.monotonic())
        stream.run(threading.Event())
    except (IndexError, ValueError) as exc:
        # A file that is not there, without a picture track, or one that the decoder chokes on, must not end the other clips.
        run.error = f"{type(exc).__name__}: {exc}"
    run.wall_s, run.cpu_s = time.perf_counter() - began, time.process_time() - used
    run.length_s = (clock.now() - start).total_seconds()
    if run.error:
        warnings.append(f"clip {clip.id}: {clip.file}: {run.error}")
    return run


def annotate(frame: Frame, change: SiteChange, path: Path) -> None:
    """Write the frame with the zone and the box as a JPEG."""
    picture = frame.rgb()
    height, width = picture.shape[:2]
    scale = np.array([width, height])
    corners = np.round(np.asarray(change.site.zone.polygon) * scale).astype(np.int32)
    cv2.polylines(picture, [corners], True, (255, 200, 0), 2)
    x1, y1, x2, y2 = (np.asarray(change.site.box) * np.tile(scale, 2)).round().astype(int).tolist()
    cv2.rectangle(picture, (x1, y1), (x2, y2), (255, 40, 40), 2)
    words = f"{change.site.issue.value} {change.site.dwell_s:.0f}s"
    cv2.putText(
        picture,
        words,
        (max(0, x1 - 20), max(14, y1 - 5)),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.5,
        (255, 40, 40),
        1,
        cv2.LINE_AA,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[:, :, ::-1])
