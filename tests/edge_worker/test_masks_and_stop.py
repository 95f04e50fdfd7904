"""Privacy masks from the decoder to the evidence, and a box that is stopped while a clip waits."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from bench.chaos_sites import site_view
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.ring import PacketRing, RingPacket, StreamParams
from contract import AlertEvent, new_id, utc_now
from edge.box import Box
from edge.config import BoxConfig, CameraConfig
from edge.judge import Change
from edge.lane import Lane, LaneSink, zone_regions
from edge.log import get_logger
from models.detections import Detections

MASK = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))


def frame_of(array: np.ndarray, at: datetime | None = None) -> Frame:
    height, width = array.shape[:2]
    meta = FrameMeta(
        "cam", 1, at or utc_now(), time.monotonic(), "rtcp_sender_report", 0.25, True, False, 0, width, height
    )
    return Frame.from_rgb(array, meta)


@pytest.mark.parametrize("video", [True, False], ids=["decoder's planes", "array"])
@pytest.mark.parametrize("size", [(640, 360), (320, 180), (97, 55)])
def test_no_picture_of_a_masked_frame_shows_what_is_under_the_mask(
    video: bool, size: tuple[int, int]
) -> None:
    frame = frame_of(np.full((360, 640, 3), 255, np.uint8))
    if video:
        native = av.VideoFrame.from_ndarray(np.full((360, 640, 3), 255, np.uint8), format="rgb24").reformat(
            format="yuv420p"
        )
        frame = Frame(frame.meta, native)
    masked = frame.masked((MASK,))
    for picture in (masked.rgb(*size), masked.luma(*size)):
        inside = picture[: int(size[1] * 0.5), : int(size[0] * 0.5)]
        assert not inside.any()
        assert picture[int(size[1] * 0.6) :, int(size[0] * 0.6) :].min() > 200
    assert frame.rgb(*size).all(), "the frame itself is not changed"


@pytest.mark.parametrize(
    "camera",
    [
        {"masks": (MASK,)},
        # At all hours, whatever its schedule says.
        {
            "zones": [
                {
                    "id": "yard",
                    "kind": "privacy_mask",
                    "polygon": MASK,
                    "schedule": [{"valid_to": "2020-01-01"}],
                }
            ]
        },
    ],
    ids=["masks", "a zone"],
)
def test_the_gate_the_detector_and_the_evidence_get_the_masked_frame_alone(
    tmp_path: Path, camera: dict[str, Any]
) -> None:
    box, _ = box_of(tmp_path, **camera)
    lane: Lane = box.worker.lanes[0]
    given: list[Frame] = []
    lane.pipeline.offer = lambda f: given.append(f) or _Plan()  # type: ignore[assignment, method-assign]
    LaneSink(lane).on_frame(frame_of(np.full((240, 320, 3), 255, np.uint8)))
    (queued,) = box.worker._slots.take(1, 1.0)
    for frame in (*given, queued[1].frame):
        assert not frame.rgb()[:120, :160].any()
    lane.pipeline._recorder.record(
        Change("confirmed", site_view(new_id(), 1, utc_now())), given[0], Detections.empty(), 320, 240
    )
    pictures = [
        cv2.imdecode(np.fromfile(f.path, np.uint8), cv2.IMREAD_COLOR) for f in box._outbox.next_files(10)
    ]
    assert len(pictures) == 3
    for picture in (p for p in pictures if p.shape == (240, 320, 3)):
        assert picture[60:110, 4:40].max() < 12, "the zone's line is drawn elsewhere"
    box.stop()


def test_a_zone_that_is_a_mask_is_cut_from_clips_and_looked_at_by_nobody(tmp_path: Path) -> None:
    kerb = {"id": "kerb", "kind": "no_parking", "polygon": [[0.6, 0.6], [0.9, 0.6], [0.9, 0.9], [0.6, 0.9]]}
    yard = {"id": "yard", "kind": "privacy_mask", "polygon": MASK}
    box, camera = box_of(tmp_path, zones=[yard, kerb], detect_crops=True)
    try:
        assert [z.id for z in camera.watched] == ["kerb"]
        regions = zone_regions(camera)
        assert regions is not None
        assert regions[:, :2].min() >= 0.5, "the detector is not sent into the mask"
        lane = box.worker.lanes[0]
        assert lane.stream is not None
        assert lane.stream.ring is not None
        fill(lane.stream.ring, utc_now(), picture=np.full((240, 320, 3), 200, np.uint8))
        lane.pipeline._recorder.record(
            Change("confirmed", site_view(new_id(), 1, utc_now())),
            frame_of(np.full((240, 320, 3), 90, np.uint8)),
            Detections.empty(),
            320,
            240,
        )
        lane.pipeline.finish(utc_now(), 30.0)
        (clip,) = [f.path for f in box._outbox.next_files(10) if f.media_type == "video/mp4"]
        with av.open(str(clip)) as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    finally:
        box.stop()
    height, width = picture.shape[:2]
    assert picture[: height // 2 - 4, : width // 2 - 4].max() < 40
    assert picture[height // 2 + 8 :, width // 2 + 8 :].min() > 150


@pytest.mark.parametrize(
    "mask",
    [((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)), ((0.5, 0.5),) * 3],
    ids=["its sides cross", "no area"],
)
def test_a_mask_that_would_cut_half_or_nothing_is_refused(tmp_path: Path, mask: object) -> None:
    with pytest.raises(ValidationError, match=r"masks\[1\]: .*corners"):
        box_of(tmp_path, masks=(MASK, mask))


class _Plan:
    judge, demand, dense, aimed = True, Demand("all"), False, False


def box_of(folder: Path, **camera: object) -> tuple[Box, CameraConfig]:
    clip = folder / "any.mp4"
    with av.open(str(clip), "w") as out:
        stream = out.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    config = BoxConfig.model_validate(
        {
            "device": "box",
            "data_dir": str(folder / "box"),
            "api": {"url": "http://127.0.0.1:1", "token": "t"},
            "model": {"bundle": "centernet"},
            "cameras": [
                {
                    "id": "cam",
                    "url": str(clip),
                    "place": {"lon": 1, "lat": 2},
                    "lens_preset": "wide",
                    **camera,
                }
            ],
        }
    )
    return Box(config, get_logger()), config.cameras[0]


def fill(ring: PacketRing, until: datetime, seconds: int = 30, picture: np.ndarray | None = None) -> None:
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 320, 240, "yuv420p"
    context.framerate, context.time_base = 5, Fraction(1, 5)
    context.options = {"g": "10", "bf": "0"}
    packets = []
    for i in range(seconds * 5):
        grey = np.full((240, 320, 3), i % 200, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey if picture is None else picture, format="rgb24")
        frame.pts = i
        packets += context.encode(frame)
    packets += context.encode(None)
    params = StreamParams("h264", 320, 240, Fraction(1, 5), bytes(context.extradata or b""), 1)
    for i, packet in enumerate(packets):
        at = until - timedelta(seconds=seconds - i / 5)
        ring.push(RingPacket(at, packet.is_keyframe, packet.pts, packet.dts, bytes(packet), params))


def test_a_stopped_box_cuts_the_clips_that_still_wait_and_says_all_that_a_manifest_must(
    tmp_path: Path,
) -> None:
    box, _ = box_of(tmp_path)
    now = utc_now()
    stream = box.worker.lanes[0].stream
    assert stream is not None
    assert stream.ring is not None
    fill(stream.ring, now)
    site = site_view(new_id(), 1, now)
    frame = frame_of(np.full((240, 320, 3), 90, np.uint8), now)
    box.worker.lanes[0].pipeline._recorder.record(
        Change("confirmed", site), frame, Detections.empty(), 320, 240
    )
    box.worker.lanes[0].pipeline._recorder.tick(now + timedelta(seconds=1))
    assert [f.media_type for f in box._outbox.next_files(10)].count("video/mp4") == 0, (
        "its last second is to come"
    )
    told: list[AlertEvent] = []
    close = box._outbox.close
    box._outbox.close = lambda: (  # type: ignore[method-assign]
        told.extend(AlertEvent.model_validate_json(a.body) for a in box._outbox.next_alerts(10)), close(),
    )[1]  # fmt: skip
    box.stop()
    assert [e.data.stage for e in told] == ["opened", "updated"]
    clip = told[1].data.evidence[-1]
    assert clip.kind == "clip"
    assert clip.blurred
    assert 18 <= (clip.duration_s or 0) <= 23, "20 s before; what would have come after is not there"
    data = told[0].data
    assert (data.lens_preset, data.dwell.clock_source, data.dwell.clock_offset_s) == (
        "wide",
        "rtcp_sender_report",
        0.25,
    )
    assert (data.dwell.dwell_s, data.rule.policy_version, data.model.sha256) == (
        300.0, "default", box._detector.ref.sha256,
    )  # fmt: skip
    assert data.software_version
    assert data.place.error is not None
