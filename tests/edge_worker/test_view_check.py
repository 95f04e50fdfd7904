"""A camera that is turned away: its zones are suspended, its dwell goes on when it is back, the box says so."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from street_clip import make_clip
from test_box_parts import Bench, camera_config

from camera_adapters.clock import SystemClock
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.view import ViewReference, ViewWatch
from edge.pipeline import CameraPipeline
from edge.views import ViewStore, reference_of
from models.detections import Detections

T0 = datetime(2026, 5, 1, tzinfo=UTC)


def street(seed: int) -> np.ndarray:
    rng, ground = np.random.default_rng(seed), np.full((240, 320), 120, np.uint8)
    for x, y, w, h in rng.integers((0, 0, 8, 8), (300, 220, 60, 50), (60, 4)):
        ground[y : y + h, x : x + w] = rng.integers(30, 220)
    return ground


GROUND, AWAY = street(1), street(5)
CAR = Detections(
    np.array([[120, 110, 190, 160]], np.float32),
    np.array([0.9], np.float32),
    np.array([0], np.int32),
    ("car",),
)


def frame_at(t: int, ground: np.ndarray) -> Frame:
    noise = np.random.default_rng(t).integers(0, 4, ground.shape, np.uint8)
    grey = ground + noise
    grey[110:160, 120:190] = 90 if ground is GROUND else grey[110:160, 120:190]
    meta = FrameMeta("cam", t, T0 + timedelta(seconds=t), float(t), "arrival", None, True, False, 1, 320, 240)
    return Frame.from_rgb(np.repeat(grey[:, :, None], 3, axis=2), meta)


def test_a_turned_camera_ends_no_dwell_and_says_so(tmp_path: Path) -> None:
    bench, told = Bench(tmp_path / "box", camera_config("x", confirm_s=20)), []
    plain, recorder = bench.pipeline(lambda: None)
    watch = ViewWatch(ViewReference.of([GROUND]))
    pipeline = CameraPipeline(
        bench.camera, plain.judge_, recorder, watch=watch, on_view=lambda was, now: told.append((was, now))
    )
    kinds: list[tuple[int, str]] = []
    for t in range(260):
        away = 60 <= t < 180
        frame = frame_at(t, AWAY if away else GROUND)
        pipeline.offer(frame)
        found = Detections.empty(("car",)) if away else CAR
        kinds += [(t, c.kind) for c in pipeline.judge(frame, found, 320, 240)]
    bench.close()
    assert told == [("unknown", "good"), ("good", "moved"), ("moved", "good")]
    assert pipeline.view == "good"
    # 120 s without a sighting are twice the memory of a place; nothing was cleared, and nothing opened a second time.
    assert [k for _, k in kinds] == ["seen", "candidate", "confirmed"]


def test_a_reference_made_from_a_stream_outlives_the_process(tmp_path: Path) -> None:
    camera = camera_config(str(make_clip(tmp_path / "street.mp4", 6)))
    ViewStore(tmp_path / "views").put("cam", reference_of(camera, SystemClock(), 2.0))
    again = ViewStore(tmp_path / "views").get("cam")
    assert again is not None
    assert again.edges.shape == (108, 192)
    assert ViewStore(tmp_path / "views").get("other") is None
