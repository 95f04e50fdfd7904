"""A camera that is turned away: its zones are suspended, its dwell goes on when it is back, the box says so."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from street_clip import make_clip
from test_box_parts import ZONE, Bench, camera_config

from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.view import ViewReference
from camera_adapters.view_watch import ViewWatch
from contract import CameraEvent
from curbwatch.commands.camera import cli
from edge.commission import BLURRED, Measure, blur_of
from edge.commission_watch import Watched
from edge.geometry import GroundPlane
from edge.log import get_logger
from edge.pipeline import CameraPipeline
from edge.view_checks import ViewChecks
from edge.view_log import ViewLog
from edge.views import ViewStore
from edge.zones import GroundConfig
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
    watch = ViewWatch([ViewReference.of([GROUND])])
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


def event_words(events: Sequence[CameraEvent]) -> list[tuple[str, str]]:
    return [(e.was, e.view) for e in events]


def test_events_wait_until_the_centre_has_heard() -> None:
    moments = iter(T0 + timedelta(seconds=n) for n in range(100))
    log = ViewLog(lambda: next(moments), get_logger(), most=3)
    log.note("cam", "unknown", "good")
    assert log.waiting() == ()
    assert not log.changed.is_set()
    log.note("cam", "good", "moved")
    assert log.changed.is_set()
    told = log.waiting()
    assert event_words(told) == [("good", "moved")]
    log.note("cam", "moved", "good")
    log.sent(told)
    assert event_words(log.waiting()) == [("moved", "good")]
    assert log.since("cam") == T0 + timedelta(seconds=2)
    assert (log.since("other"), log.count("cam")) == (None, 2)
    for _ in range(5):
        log.note("cam", "good", "dark")
    assert len(log.waiting()) == 3


@pytest.mark.parametrize("torn", [b"", b"half"])
def test_a_torn_reference_takes_the_camera_no_more_than_its_reference(tmp_path: Path, torn: bytes) -> None:
    store, told = ViewStore(tmp_path), list[str]()
    path = store.put("cam", ViewReference.of([GROUND]))
    path.write_bytes(path.read_bytes()[:5000] if torn else torn)
    log = SimpleNamespace(error=lambda event, **facts: told.append(f"{event}: {facts['reason']}"))
    camera = camera_config("x")
    watch = ViewChecks(store, ViewLog(lambda: T0, log), log).of(camera)
    assert watch is not None
    assert watch.observe(GROUND, 0.0) == "unknown"
    assert [t.startswith("camera.view_reference: the stored view reference") for t in told] == [True]


def test_a_reference_is_on_the_disk_before_it_takes_the_place_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    store, real = ViewStore(tmp_path), os.fsync
    path = store.path("cam", "day")

    def fsync(handle: int) -> None:
        synced.append((Path(f"/proc/self/fd/{handle}").readlink().name, path.exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    assert store.put("cam", ViewReference.of([GROUND]), report={"match": 1.0}) == path
    assert synced == [
        ("day.json.part", False), ("cam", False), ("day.npz.part", False), ("cam", True),
    ]  # fmt: skip
    assert json.loads(path.with_suffix(".json").read_text()) == {"match": 1.0}
    assert len(store.get("cam")) == 1


GROUND_PAIRS = [
    # A plane seen from 30 degrees above: rows 0.5 and 1.0 are 20 m and 5 m away, 16 m and 4 m wide.
    {"picture": (x, y), "lon": lon, "lat": lat}
    for (x, y), (lon, lat) in (
        ((0.0, 0.5), (-8 / 111_132, 20 / 111_132)),
        ((1.0, 0.5), (8 / 111_132, 20 / 111_132)),
        ((0.0, 1.0), (-2 / 111_132, 5 / 111_132)),
        ((1.0, 1.0), (2 / 111_132, 5 / 111_132)),
    )
]


def box_file(folder: Path, url: str, **camera: Any) -> Path:
    path = folder / "box.yaml"
    entry = {"id": "cam", "url": url, "place": {"lon": 0, "lat": 0}, "zones": [ZONE], **camera}
    box = {
        "device": "box",
        "data_dir": str(folder / "data"),
        "api": {"url": "http://127.0.0.1:9", "token": "t"},
        "model": {"bundle": "centernet"},
        "cameras": [entry],
    }
    path.write_text(yaml.safe_dump(box))
    return path


def test_commissioning_by_the_ground_plane(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "street.mp4", 6)
    box = box_file(tmp_path, str(clip), ground={"pairs": GROUND_PAIRS})
    args = ["commission", "cam", "--box", str(box), "--seconds", "2", "--json"]
    told = CliRunner().invoke(cli, args)
    assert told.exit_code == 0, told.output
    report = json.loads(told.output)
    zone = report["zones"][0]
    assert report["scale"] == "homography"
    plane = GroundPlane.fit(GroundConfig.model_validate({"pairs": GROUND_PAIRS}))
    left, right = plane.metres(0.0, 0.8), plane.metres(1.0, 0.8)
    assert zone["px_per_m_near"] == pytest.approx(320 / (right[0] - left[0]), rel=0.01)
    assert zone["px_per_m_near"] > zone["px_per_m_far"] > 0
    assert report["horizon"] == pytest.approx([1 / 3, 1 / 3], abs=0.01)
    assert any("night" in line for line in report["advice"])
    shown = cv2.imread(report["picture"])
    bare = cv2.imread(str(next(Path(report["picture"]).parent.glob("day.jpg"))))
    assert shown.shape == bare.shape == (240, 320, 3)
    # The zone's line is drawn in its colour at the middle of its upper side.
    assert shown[round(0.4 * 240), 160].tolist() == pytest.approx([0, 170, 255], abs=70)
    text = CliRunner().invoke(cli, [*args[:-1], "--night", "--dry-run"])
    assert "zone        kerb (no_parking)" in text.output
    assert "px/m far" in text.output
    store = ViewStore(tmp_path / "data/views")
    assert list(store.kept("cam")) == ["day"]
    assert [r.edges.shape for r in store.get("cam")] == [(108, 192)]
    assert store.get("other") == []
    assert not store.changed("cam")
    store.put("cam", ViewReference.of([GROUND]), "night")
    assert store.changed("cam")
    assert len(store.get("cam")) == 2


def test_a_scale_by_people(tmp_path: Path) -> None:
    # People of 1.65 m whose height grows by 0.6 of the picture per row below the horizon at row 0.2.
    people = [(0.4, y - 0.6 * (y - 0.2), 0.45, y) for y in np.linspace(0.4, 0.9, 20)]
    seen = Watched(1000, 500, people=people)
    measure = Measure(None, seen)
    assert measure.scale == "people"
    assert measure.px_per_m(0.5, 0.8) == pytest.approx(0.36 * 500 / 1.65, rel=0.02)
    assert measure.horizon() == pytest.approx((0.2, 0.2), abs=0.01)
    assert measure.px_per_m(0.5, 0.2) is None
    assert Measure(None, Watched(1000, 500)).px_per_m(0.5, 0.8) is None


def test_a_blurred_picture_is_measured_as_blurred() -> None:
    sharp = street(3)
    soft = cv2.GaussianBlur(sharp, (0, 0), 4)
    assert blur_of(sharp) < 0.4 < BLURRED < blur_of(soft)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["commission", "nobody", "--box"], "it has cam"),
        (["commission", "cam", "--seconds", "2", "--box"], "whole pictures in 2 s"),
    ],
)
def test_commissioning_says_what_is_wrong(args: list[str], words: str, tmp_path: Path) -> None:
    told = CliRunner().invoke(cli, [*args, str(box_file(tmp_path, "rtsp://u:s3cret@127.0.0.1:9/x"))])
    assert told.exit_code == 1
    assert words in told.output
    assert "s3cret" not in told.output
