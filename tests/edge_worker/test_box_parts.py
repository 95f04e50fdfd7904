"""A camera from its packets to the outbox: over a made clip on a virtual clock, and over RTSP on loopback."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import pytest

import edge.pipeline

sys.path.insert(0, str(Path(__file__).parent))
from street_clip import ColourDetector, make_clip

from camera_adapters.clock import SystemClock, VirtualClock
from camera_adapters.open import open_stream
from camera_adapters.ring import PacketRing
from camera_adapters.stream import StreamOptions
from camera_adapters.testing.loopcam import Camera, Faults, LoopCam
from camera_adapters.testing.rtp_clip import RtpClip
from contract import AlertEvent
from edge.config import BoxConfig, CameraConfig
from edge.judge import Judge
from edge.ledger import AlertLedger
from edge.left_objects import LeftObjectDetector
from edge.log import get_logger
from edge.outbox import Outbox
from edge.pipeline import CameraPipeline
from edge.recorder import AlertRecorder, BoxFacts
from edge.site_store import SiteStore
from edge.stills import StillStore
from edge.worker import Worker, picture_for
from edge.zones import ZoneConfig

ZONE = {"id": "kerb", "kind": "no_parking", "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]]}


def camera_config(url: str, confirm_s: float = 6.0, **clip: float) -> CameraConfig:
    return CameraConfig.model_validate(
        {
            "id": "cam",
            "url": url,
            "place": {"lon": 116.4, "lat": 39.9},
            "zones": [ZONE],
            "policy": {"parking.motor": {"candidate_s": 2, "confirm_s": confirm_s}},
            "clip": {"pre_s": 3, "post_s": 2, **clip},
        }
    )


class Bench:
    """The parts of a box on a folder, without threads."""

    def __init__(self, folder: Path, camera: CameraConfig) -> None:
        self.outbox = Outbox(folder / "outbox")
        self.ledger = AlertLedger(folder / "alerts.db")
        self.sites = SiteStore(folder / "sites.db")
        self.folder, self.camera = folder, camera

    def pipeline(self, ring: Callable[[], PacketRing | None]) -> tuple[CameraPipeline, AlertRecorder]:
        facts = BoxFacts("box", ColourDetector.ref, "0", True)
        stills = StillStore(self.folder / "stills")
        recorder = AlertRecorder(
            self.camera, facts, ring, stills, self.outbox, self.ledger, self.folder / "clips", get_logger()
        )
        judge = Judge(
            "cam", self.camera.zones, self.camera.policy, self.camera.place.point(), store=self.sites
        )
        return CameraPipeline(self.camera, judge, recorder), recorder

    def events(self) -> list[AlertEvent]:
        return [AlertEvent.model_validate_json(a.body) for a in self.outbox.next_alerts(100)]

    def close(self) -> None:
        self.outbox.close()
        self.ledger.close()
        self.sites.close()


class _Sink:
    def __init__(self, pipeline: CameraPipeline) -> None:
        self.pipeline, self.detector, self.stream = pipeline, ColourDetector(), None

    def on_frame(self, frame: Any) -> None:
        plan = self.pipeline.offer(frame)
        self.stream.demand = plan.demand  # type: ignore[attr-defined]
        if plan.judge:
            picture = picture_for(frame, self.detector.input_size)
            self.pipeline.judge(frame, self.detector.detect([picture])[0], picture.shape[1], picture.shape[0])

    def on_event(self, event: Any) -> None:
        pass


def play(bench: Bench, clip: Path, clock: VirtualClock) -> None:
    holder: dict[str, Any] = {}
    pipeline, recorder = bench.pipeline(lambda: holder["stream"].ring)
    sink = _Sink(pipeline)
    stream = open_stream("cam", str(clip), sink, StreamOptions(), clock)
    holder["stream"] = sink.stream = stream
    stream.run(threading.Event())
    recorder.tick(clock.now(), final=True)


def test_a_standing_car_is_one_alert_with_its_evidence(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "box", camera_config("x"))
    play(bench, make_clip(tmp_path / "street.mp4", 30, car_from=4, car_to=20), VirtualClock())
    events = bench.events()
    assert [e.data.stage for e in events] == ["opened", "updated", "cleared"]
    assert len({e.data.id for e in events}) == 1
    opened, updated, _ = (e.data for e in events)
    assert [e.kind for e in opened.evidence] == ["context", "first", "middle", "confirm", "crop"]
    assert updated.evidence[-1].kind == "clip"
    assert 6.0 <= opened.dwell.dwell_s <= 8.1
    x1, y1, x2, y2 = opened.box
    assert (x1, y1, x2, y2) == pytest.approx((120 / 320, 110 / 240, 190 / 320, 160 / 240), abs=0.02)
    files = {f.sha256: f for f in bench.outbox.next_files(100)}
    assert {e.sha256 for e in updated.evidence} <= files.keys()
    with av.open(str(files[updated.evidence[-1].sha256].path)) as clip:
        assert clip.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in clip.decode(video=0)) >= 40
    bench.close()


def test_a_car_that_drives_on_is_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "box", camera_config("x", confirm_s=10))
    play(bench, make_clip(tmp_path / "street.mp4", 25, car_from=5, car_to=12), VirtualClock())
    assert bench.events() == []
    bench.close()


def test_a_restart_neither_restarts_the_dwell_nor_doubles_the_alert(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "street.mp4", 10)
    camera = camera_config("x", confirm_s=15)
    clock = VirtualClock(datetime(2026, 5, 1, tzinfo=UTC))
    for second_start in (False, True, True):
        bench = Bench(tmp_path / "box", camera)
        play(bench, clip, clock)
        if not second_start:
            assert bench.events() == []
        bench.close()
        # Another start of the machine: the monotonic clock begins anew, the wall clock goes on.
        clock = VirtualClock(clock.now(), mono_start_s=5.0)
    bench = Bench(tmp_path / "box", camera)
    opened = [e.data for e in bench.events() if e.data.stage == "opened"]
    assert len(opened) == 1
    assert 15 <= opened[0].dwell.dwell_s <= 17.1
    bench.close()


def test_a_dwell_goes_on_over_a_change_of_the_zones(tmp_path: Path) -> None:
    clip, camera = make_clip(tmp_path / "street.mp4", 10), camera_config("x", confirm_s=15)
    clock, bench = VirtualClock(), Bench(tmp_path / "box", camera)
    holder: dict[str, Any] = {}
    pipeline, _recorder = bench.pipeline(lambda: holder["stream"].ring)
    for _ in range(2):
        sink = _Sink(pipeline)
        stream = holder["stream"] = sink.stream = open_stream("cam", str(clip), sink, StreamOptions(), clock)
        stream.run(threading.Event())
        wider = {**ZONE, "polygon": [[0.25, 0.4], [0.75, 0.4], [0.75, 0.8], [0.25, 0.8]]}
        changed = camera.model_copy(update={"zones": (ZoneConfig.model_validate(wider),), "name": "Gate"})
        judge = Judge(
            "cam", changed.zones, changed.policy, changed.place.point(), store=bench.sites,
            resumed="the camera's configuration was changed",
        )  # fmt: skip
        pipeline.redraw(changed, judge)
    opened = [e.data for e in bench.events() if e.data.stage == "opened"]
    assert len(opened) == 1
    assert 15 <= opened[0].dwell.dwell_s <= 17.1
    assert (opened[0].camera_name, opened[0].zone.polygon[0]) == ("Gate", (0.25, 0.4))
    assert "the camera's configuration was changed" in [s.words for s in opened[0].timeline]
    bench.close()


@pytest.mark.parametrize(
    ("kinds", "looked_for"),
    [
        (["no_dumping"], True),
        (["no_vending"], True),
        (["frontage"], True),
        (["permitted_vending"], True),
        (["no_parking", "pavement", "fire_lane", "bin"], False),
    ],
)
def test_left_objects_are_looked_for_where_a_rule_asks_for_them(
    tmp_path: Path, kinds: list[str], looked_for: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[float, ...]] = []

    class Noted(LeftObjectDetector):
        def __init__(self, width: int, height: int, within: tuple[float, float, float, float]) -> None:
            made.append(within)
            super().__init__(width, height, within)

    monkeypatch.setattr(edge.pipeline, "LeftObjectDetector", Noted)
    zones = [
        ZoneConfig.model_validate(
            {**ZONE, "id": f"{k}{x}", "kind": k, "polygon": [[x, 0.4], [x + 0.2, 0.4], [x, 0.6]]}
        )
        for k in kinds
        for x in (0.1, 0.3)
    ]
    bench = Bench(tmp_path / "box", camera_config("x").model_copy(update={"zones": tuple(zones)}))
    play(bench, make_clip(tmp_path / "street.mp4", 3), VirtualClock())
    bench.close()
    assert made == ([(0.1, 0.4, 0.5, 0.6)] if looked_for else [])


def test_an_alert_confirmed_on_disk_but_not_sent_is_sent_at_the_next_start(tmp_path: Path) -> None:
    clip, camera = make_clip(tmp_path / "street.mp4", 12), camera_config("x")
    bench = Bench(tmp_path / "box", camera)
    play(bench, clip, VirtualClock())
    bench.close()
    # What a power cut between the site's file and the outbox leaves behind.
    with sqlite3.connect(tmp_path / "box" / "alerts.db") as db:
        db.execute("DELETE FROM alerts")
    with sqlite3.connect(tmp_path / "box" / "outbox" / "outbox.db") as db:
        lost = json.loads(db.execute("SELECT body FROM alerts").fetchone()[0])["data"]["id"]
        db.execute("DELETE FROM alerts")
    bench = Bench(tmp_path / "box", camera)
    play(bench, clip, VirtualClock(datetime(2026, 1, 1, 0, 0, 13, tzinfo=UTC)))
    assert {e.data.id for e in bench.events()} == {lost}
    bench.close()


@pytest.fixture
def loopcam(tmp_path: Path) -> Iterator[tuple[LoopCam, Camera]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    camera = Camera(RtpClip(make_clip(tmp_path / "loop.mp4", 20)))
    server = asyncio.run_coroutine_threadsafe(
        LoopCam({"gate": camera}, ("viewer", "s3cr3t")).start(), loop
    ).result(60)
    yield server, camera
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)


def test_rtsp_to_outbox_though_the_camera_goes_away_and_comes_back(
    tmp_path: Path, loopcam: tuple[LoopCam, Camera]
) -> None:
    server, simulated = loopcam
    camera = camera_config(server.url("gate"), confirm_s=8, pre_s=2, post_s=1)
    config = BoxConfig.model_validate(
        {
            "device": "box",
            "api": {"url": "http://127.0.0.1:1", "token": "t"},
            "cameras": [camera.model_dump()],
        }
    )
    lines: list[str] = []

    class Log:
        def __getattr__(self, _name: str) -> Callable[..., None]:
            return lambda *words, **fields: lines.append(f"{words} {fields}")

    bench = Bench(tmp_path / "box", camera)
    worker = Worker(config, ColourDetector(), SystemClock(), lambda _c, ring: bench.pipeline(ring)[0], Log())  # type: ignore[arg-type]
    worker.start()
    _until(lambda: simulated.plays == 1 and any("first_frame" in x for x in lines))
    time.sleep(3)
    simulated.faults = Faults(close_s=0.0)
    _until(lambda: simulated.clients == 0)
    simulated.faults = Faults()
    _until(lambda: simulated.plays >= 2)
    _until(lambda: any(e.data.stage == "updated" for e in bench.events()))
    worker.stop()
    events = bench.events()
    bench.close()
    assert [e.data.stage for e in events][:2] == ["opened", "updated"]
    assert len({e.data.id for e in events}) == 1
    assert events[0].data.dwell.dwell_s >= 8
    assert events[0].data.dwell.clock_source == "rtcp_sender_report"
    assert any("backing_off" in x for x in lines)
    assert not any("s3cr3t" in x for x in lines)


def _until(ready: Callable[[], bool], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.05)
