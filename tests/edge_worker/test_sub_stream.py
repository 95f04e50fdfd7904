"""A camera with a main and a sub stream, both real RTSP on loopback: looked at by the one, evidence of the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from street_clip import ColourDetector, make_clip
from test_masks_and_stop import fill, frame_of

from camera_adapters.clock import SystemClock
from camera_adapters.frame import Frame
from camera_adapters.ring import PacketRing
from camera_adapters.stream import StreamState
from camera_adapters.testing.loopcam import Camera, Faults
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from contract import Alert, AlertEvent, utc_now
from edge.album import Album
from edge.config import BoxConfig, CameraConfig
from edge.health import camera_health
from edge.judge import Judge
from edge.lane import Lane, Rings
from edge.ledger import AlertLedger
from edge.log import get_logger
from edge.main_pictures import MainPictures
from edge.outbox import Outbox
from edge.pipeline import CameraPipeline
from edge.privacy import Sensitive, sensitive_of
from edge.recorder import AlertRecorder, BoxFacts
from edge.site_store import SiteStore
from edge.stills import StillStore
from edge.worker import Worker, picture_for

ZONE = {"id": "kerb", "kind": "no_parking", "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]]}
BIG, SMALL, WIDE = (640, 480), (320, 240), (320, 180)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RtpClip]:
    folder = tmp_path_factory.mktemp("street")
    sizes = {"main": BIG, "sub": SMALL, "wide": WIDE}
    return {n: RtpClip(make_clip(folder / f"{n}.mp4", 20, size=size)) for n, size in sizes.items()}


class Setup:
    """A worker with one camera of two streams, and what it sends."""

    def __init__(self, folder: Path, served: ServedLoopCam, **more: Any) -> None:
        camera = {
            "id": "cam", "url": served.url("main"), "sub_url": served.url("sub"), "place": {"lon": 1, "lat": 2},
            "zones": [ZONE], "policy": {"parking.motor": {"candidate_s": 2, "confirm_s": 5}},
            "sampling": {"quiet_interval_s": 0.5}, "clip": {"pre_s": 3, "post_s": 1}, **more,
        }  # fmt: skip
        self.config = BoxConfig.model_validate(
            {"device": "box", "api": {"url": "http://127.0.0.1:1", "token": "t"}, "cameras": [camera]}
        )
        self.folder, self.lines, self.detector = folder, list[tuple[str, dict[str, Any]]](), ColourDetector()
        self.outbox, self.ledger = Outbox(folder / "outbox"), AlertLedger(folder / "alerts.db")
        self.sites = SiteStore(folder / "sites.db")
        self.worker = Worker(self.config, self.detector, SystemClock(), self._pipeline, self)  # type: ignore[arg-type]

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda event, **facts: self.lines.append((event, facts))

    def _pipeline(self, camera: CameraConfig, rings: Rings) -> CameraPipeline:
        facts = BoxFacts("box", ColourDetector.ref, "0", True)
        recorder = AlertRecorder(
            camera, facts, rings, StillStore(self.folder / "stills"), self.outbox, self.ledger,
            self.folder / "clips", self, main=MainPictures(rings, self._look),
        )  # fmt: skip
        judge = Judge("cam", camera.zones, camera.policy, camera.place.point(), store=self.sites)
        return CameraPipeline(camera, judge, recorder)

    def _look(self, frame: Frame) -> Sensitive:
        picture = picture_for(frame, self.detector.input_size)
        return sensitive_of(self.detector.detect([picture])[0], picture.shape[1], picture.shape[0], {})

    @property
    def lane(self) -> Lane:
        return self.worker.lanes[0]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.lines if name == event]

    def alerts(self) -> list[Alert]:
        return [AlertEvent.model_validate_json(a.body).data for a in self.outbox.next_alerts(100)]

    def picture(self, sha256: str) -> np.ndarray:
        path = next(f.path for f in self.outbox.next_files(100) if f.sha256 == sha256)
        return np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR))[:, :, ::-1]


@contextmanager
def running(
    folder: Path, clips: dict[str, RtpClip], sub: str = "sub", **more: Any
) -> Iterator[tuple[Setup, Any]]:
    cameras = {"main": Camera(clips["main"]), "sub": Camera(clips[sub])}
    main_fault = more.pop("main_fault", None)
    if main_fault is not None:
        cameras["main"].faults = main_fault
    with ServedLoopCam(cameras, ("viewer", "s3cr3t")) as served:
        setup = Setup(folder, served, **more)
        setup.worker.start()
        try:
            yield setup, cameras
        finally:
            setup.worker.stop()
            assert "s3cr3t" not in str(setup.lines)
            for store in (setup.outbox, setup.ledger, setup.sites):
                store.close()


def wait(met: Callable[[], object], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.05)


def test_the_sub_stream_is_looked_at_and_the_main_stream_is_the_evidence(
    tmp_path: Path, clips: dict[str, RtpClip]
) -> None:
    with running(tmp_path, clips) as (setup, _):
        wait(lambda: any(a.stage == "updated" for a in setup.alerts()))
        opened, updated = setup.alerts()[:2]
        health = camera_health(setup.lane, 0, None)
        assert setup.lane.sub is not None
        assert setup.lane.stream.health().frames_decoded == 0, "the main stream is demuxed, never decoded"
        assert setup.lane.stream.health().packets > 50
        assert (health.looks_at, health.sub_state, health.sub_reason) == ("sub", "live", "")
        assert (opened.frame_width, opened.frame_height) == BIG
        assert [e.kind for e in opened.evidence] == ["context", "first", "middle", "confirm", "crop"]
        assert {(e.stream, e.note) for e in updated.evidence} == {("main", "")}
        sizes = {e.kind: (e.width, e.height) for e in updated.evidence}
        assert {sizes[k] for k in ("context", "first", "middle", "confirm", "clip")} == {BIG}
        # 70 x 50 of 320 x 240 with a quarter around it, twice as large.
        assert sizes["crop"] == pytest.approx((210, 150), abs=12)
        times = {e.kind: e.captured_at for e in opened.evidence}
        # Its key frame's, or the last one before the main stream's thread rested; on a busy machine it comes back a little late.
        assert abs(times["confirm"] - opened.occurred_at) < timedelta(seconds=1.0)
        assert abs(times["first"] - opened.dwell.first_seen_at) < timedelta(seconds=1.3), "its key frame"
        x1, y1, x2, y2 = (round(v * s) for v, s in zip(opened.box, (*BIG, *BIG), strict=True))
        car = setup.picture(opened.evidence[-1].sha256)
        whole = setup.picture(next(e.sha256 for e in opened.evidence if e.kind == "confirm"))
        inside = whole[y1 + 60 : y2 - 8, x1 + 8 : x2 - 8].reshape(-1, 3).mean(0)
        assert inside[0] > 1.5 * inside[2], (
            "the box on the main picture holds the red car, a walker before it or not"
        )
        assert car.shape[:2] == (sizes["crop"][1], sizes["crop"][0])
        clip = next(f for f in setup.outbox.next_files(100) if f.sha256 == updated.evidence[-1].sha256)
        with av.open(str(clip.path)) as container:
            assert container.streams.video[0].codec_context.width == BIG[0]


def test_main_key_frames_stand_in_for_a_sub_stream_that_is_away(
    tmp_path: Path, clips: dict[str, RtpClip]
) -> None:
    with running(tmp_path, clips) as (setup, cameras):
        wait(lambda: setup.said("camera.first_frame"))
        cameras["sub"].faults = Faults(status="503 Service Unavailable", close_s=0.0)
        wait(lambda: setup.lane.stream.health().frames_decoded >= 4)
        health = camera_health(setup.lane, 0, None)
        assert (health.looks_at, health.state) == ("main", "live")
        assert health.sub_reason.startswith(("server: ", "eof: "))
        lost = setup.said("camera.sub_lost")[0]
        assert lost["looks_at"] == "main key frames"
        demand = setup.lane.stream.demand
        assert demand.mode == "key"
        cameras["sub"].faults = Faults()
        wait(lambda: setup.said("camera.sub_back"))
        assert setup.lane.stream.demand.mode == "none"
        decoded = setup.lane.stream.health().frames_decoded
        packets = setup.lane.stream.health().packets
        wait(lambda: setup.lane.stream.health().packets > packets + 25)
        assert setup.lane.stream.health().frames_decoded <= decoded + 1
        assert camera_health(setup.lane, 0, None).sub_reason == ""
        wait(lambda: setup.alerts())
        assert len({a.id for a in setup.alerts()}) == 1


def test_without_the_main_stream_the_alert_goes_with_the_sub_streams_picture_and_says_so(
    tmp_path: Path, clips: dict[str, RtpClip]
) -> None:
    refused = Faults(status="503 Service Unavailable")
    with running(tmp_path, clips, main_fault=refused) as (setup, _):
        wait(lambda: any(a.stage == "updated" for a in setup.alerts()))
        opened, updated = setup.alerts()[:2]
        assert (opened.frame_width, opened.frame_height) == SMALL
        assert {e.stream for e in updated.evidence} == {"sub"}
        assert all(e.note.startswith("main stream: ") for e in updated.evidence)
        assert "server: " in next(e.note for e in opened.evidence if e.kind == "confirm")
        assert updated.evidence[-1].kind == "clip"
        assert camera_health(setup.lane, 0, None).looks_at == "sub"


@pytest.mark.parametrize("streams", [1, 2])
def test_the_clip_of_a_camera_that_goes_down_after_its_alert_is_sent_while_it_is_down(
    tmp_path: Path, clips: dict[str, RtpClip], streams: int
) -> None:
    more: dict[str, Any] = {"clip": {"pre_s": 3, "post_s": 60}}
    if streams == 1:
        more["sub_url"] = None
    with running(tmp_path, clips, **more) as (setup, cameras):
        wait(lambda: setup.alerts())
        if streams == 2:
            cameras["sub"].faults = Faults(status="503 Service Unavailable", close_s=0.0)
            wait(lambda: setup.said("camera.sub_lost"))
            assert not setup.said("alert.clip"), "the other stream goes on"
        cameras["main"].faults = Faults(status="503 Service Unavailable", close_s=0.0)
        wait(lambda: setup.said("alert.clip"))
        assert setup.lane.stream.state is not StreamState.LIVE
        opened, updated = setup.alerts()[:2]
        (clip,) = [e for e in updated.evidence if e.kind == "clip"]
        assert clip.captured_at < opened.occurred_at
        assert clip.duration_s is not None
        assert timedelta(seconds=clip.duration_s) > opened.occurred_at - clip.captured_at - timedelta(
            seconds=0.5
        )


@pytest.mark.parametrize(("stretched", "eyes", "shape"), [(False, "main", BIG), (True, "sub", (240, 180))])
def test_another_shape_is_refused_unless_it_is_told(
    tmp_path: Path, clips: dict[str, RtpClip], stretched: bool, eyes: str, shape: tuple[int, int]
) -> None:
    with running(tmp_path, clips, sub="wide", sub_stretched=stretched) as (setup, _):
        seen: list[Frame] = []
        offer = setup.lane.pipeline.offer
        setup.lane.pipeline.offer = lambda f: (seen.append(f), offer(f))[1]  # type: ignore[method-assign]
        wait(lambda: setup.lane.stream.state == "live")
        wait(lambda: seen and (seen[-1].meta.width, seen[-1].meta.height) == shape)
        assert setup.lane.eyes == eyes
        assert seen[-1].rgb().shape == (shape[1], shape[0], 3)
        reason = camera_health(setup.lane, 0, None).sub_reason
        if stretched:
            assert reason == ""
        else:
            assert reason.startswith(
                "shape: the sub stream's 320x180 is another shape than the main stream's 640x480"
            )


class _Rings:
    """A main stream's ring, without a camera."""

    masks = (((0.0, 0.9), (0.2, 0.9), (0.2, 1.0), (0.0, 1.0)),)

    def __init__(self, ring: PacketRing) -> None:
        self._ring = ring

    def __call__(self) -> PacketRing:
        return self._ring

    def main_reason(self) -> str:
        return ""

    def best(self, *_: object) -> tuple[PacketRing, Any]:
        return self._ring, "main"


def test_people_of_either_picture_are_blurred_on_the_main_picture(tmp_path: Path) -> None:
    now, ring = utc_now(), PacketRing(60)
    rng = np.random.default_rng(3)
    fill(ring, now, seconds=4, picture=rng.integers(0, 255, (240, 320, 3), np.uint8))
    on_main, on_sub = (0.6, 0.2, 0.8, 0.9), (0.1, 0.2, 0.3, 0.9)
    main = MainPictures(_Rings(ring), lambda _frame: Sensitive(people=(on_main,)))
    album = Album(StillStore(tmp_path), main, blurred=True, subject_plate=False, log=get_logger())
    frame = frame_of(np.zeros((120, 160, 3), np.uint8), now - timedelta(seconds=1)).shaped(160, 120, "sub")
    shown = album.shown(frame)
    assert (shown.frame.meta.width, shown.frame.meta.role, shown.why) == (320, "main", "")
    before = shown.frame.rgb()
    assert before[-10:, :50].max() < 40, "privacy masks hold on the main picture too"
    after = album.clean(shown, Sensitive(people=(on_sub,)), (0.4, 0.4, 0.5, 0.5))

    def detail(picture: np.ndarray, box: tuple[float, float, float, float]) -> float:
        x1, x2 = round(box[0] * 320), round(box[2] * 320)
        head = picture[52:90, x1:x2].astype(float)
        return float(np.abs(np.diff(head, axis=1)).mean())

    for box in (on_main, on_sub):
        assert detail(after, box) < 0.3 * detail(before, box)
    assert np.array_equal(after[100:200, 110:180], before[100:200, 110:180])
    between = frame_of(np.zeros((120, 160, 3), np.uint8), now - timedelta(seconds=1.4)).shaped(
        160, 120, "sub"
    )
    key, moment = (album.shown(between, stood_s).frame.meta for stood_s in (60.0, 3.0))
    assert (key.key, key.captured_at) == (True, now - timedelta(seconds=2)), "a minute's dwell: its key frame"
    assert (moment.key, moment.captured_at) == (False, between.meta.captured_at), "an act: that very picture"
    late = album.shown(
        frame_of(np.zeros((120, 160, 3), np.uint8), now + timedelta(seconds=9)).shaped(160, 120, "sub")
    )
    assert (late.frame.meta.role, late.frame.meta.width) == ("sub", 160)
    assert late.why.startswith("main stream: no picture within 2 s")


@pytest.mark.parametrize("step_s", [0.0, 0.6, -3600.0, 7200.0])
def test_the_main_picture_is_found_though_a_clock_was_stepped(step_s: float) -> None:
    now, plain, ring = utc_now(), PacketRing(60), PacketRing(60)
    fill(plain, now, seconds=6)
    for packet in plain.held():
        mono_s = 500.0 + (packet.at - now).total_seconds()
        ring.push(replace(packet, mono_s=mono_s, at=packet.at + timedelta(seconds=step_s)))
    frame = frame_of(np.zeros((120, 160, 3), np.uint8), now - timedelta(seconds=2.1))
    sub = Frame.from_rgb(frame.rgb(), replace(frame.meta, mono_s=497.9, role="sub"))
    shown = MainPictures(_Rings(ring), lambda _frame: Sensitive()).near(sub)
    assert shown.why == ""
    # Pictures 0.2 s apart, each one grey step brighter; less than a step is the two streams' own difference.
    wanted = 6 * 5 - round((2.1 + (step_s if abs(step_s) < 1 else 0)) * 5)
    assert abs(float(np.median(shown.frame.rgb())) - wanted) < 3


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"sub_url": "/clips/a.mp4"}, "sub_url"),
        ({"url": "/clips/a.mp4", "sub_url": "rtsp://h/s"}, "with a sub_url it needs one of rtsp://"),
        ({"sub_stretched": True}, "sub_stretched: there is no sub_url"),
    ],
)
def test_a_sub_stream_needs_a_live_camera(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CameraConfig.model_validate({"id": "a", "url": "rtsp://h/a", "place": {"lon": 1, "lat": 2}, **more})
