"""What a sampled frame costs beside its decoding and the network: the real box, fed by hand, stage by stage.

The box is the box of `bench throughput` (gate, view check, queue, left objects, rules, places, recorder, outbox), its
cameras are not connected: decoded pictures are handed to them in turns, two seconds of the monotonic clock apart, and the
detector's turn is taken in between. Nothing waits, so CPU time is all there is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av

from bench.throughput import Profile, box_config
from bench.throughput_box import Log
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.meter import METER
from edge.allocator import lean_process
from edge.box import Box
from edge.config import load_box

STEP_S = 2.0
# Everything but the network's answer and what an alert asks for.
PER_FRAME = ("gate", "left", "rules", "other")


@dataclass(frozen=True, slots=True)
class Rest:
    """Milliseconds of CPU a sampled frame by stage; `rest_ms` is all that is neither decoding, detector nor evidence."""

    profile: Profile
    streets: str
    cameras: int
    frames: int
    judged: int
    stage_ms: dict[str, float]
    rest_ms: float
    evidence_ms_an_alert: float | None
    alerts: int
    target: float

    @property
    def met(self) -> bool:
        """Whether a frame costs no more than the target."""
        return self.rest_ms <= self.target

    def wire(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {**asdict(self), "met": self.met}


def feed(
    folder: Path,
    scenes: Sequence[Sequence[av.VideoFrame]],
    cameras: int,
    looks: int,
    model: str,
    provider: str,
    target: float,
    profile: Profile = "acts",
    streets: str = "",
) -> Rest:
    """Give each of `cameras` cameras `looks` pictures and return what they cost; `streets` is the scenes' name.

    The first camera is given the first of `scenes` over and over, the next one the next scene, and so on by turns. The
    first tenth warms up and does not count.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # As the worker does it.
    lean_process()
    log = Log()
    box = Box(load_box(box_config(folder, 9, cameras, profile, model, 4, provider)), log)
    lanes = box.worker.lanes
    box.warm()
    warm = max(1, looks // 10)
    began, stages, total, start = 0.0, METER.seconds(), 0.0, datetime.now(UTC)
    try:
        for i in range(looks):
            if i == warm:
                stages, began = METER.seconds(), time.process_time()
            for n, lane in enumerate(lanes):
                videos = scenes[n % len(scenes)]
                video = videos[(i + n * 3) % len(videos)]
                lane.take(_frame(lane.camera.id, i, video, start), "main")
            while box.worker.turn():
                pass
        total = time.process_time() - began
        used = {name: value - stages[name] for name, value in METER.seconds().items()}
        counted = [lane.pipeline.counters() for lane in lanes]
    finally:
        box.stop()
    if log.events.get("frame.failed"):
        raise RuntimeError(f"frames failed: {log.problems[:3]}")
    used["other"] = total - sum(used.values())
    frames = cameras * (looks - warm)
    alerts = log.events.get("alert.opened", 0)
    return Rest(
        profile=profile,
        streets=streets,
        cameras=cameras,
        frames=frames,
        judged=sum(c.judged for c in counted),
        stage_ms={k: round(v * 1e3 / frames, 3) for k, v in used.items()},
        rest_ms=round(sum(used[k] for k in PER_FRAME) * 1e3 / frames, 3),
        evidence_ms_an_alert=round(used["evidence"] * 1e3 / alerts, 1) if alerts else None,
        alerts=alerts,
        target=target,
    )


def still_frames(videos: Sequence[av.VideoFrame]) -> list[Frame]:
    """Return the pictures as frames of one camera."""
    start = datetime.now(UTC)
    return [_frame("bench", i, video, start) for i, video in enumerate(videos)]


def _frame(camera: str, number: int, video: av.VideoFrame, start: datetime) -> Frame:
    after = number * STEP_S
    meta = FrameMeta(
        camera_id=camera,
        seq=number,
        captured_at=start + timedelta(seconds=after),
        mono_s=1000.0 + after,
        clock_source="arrival",
        clock_offset_s=None,
        key=True,
        tainted=False,
        epoch=1,
        width=video.width,
        height=video.height,
    )
    return Frame(meta, video)
