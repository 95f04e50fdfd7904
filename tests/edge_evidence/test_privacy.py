from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_adapters.ring import ClipInfo, PacketRing, RingPacket, StreamParams
from edge import evidence_clip
from edge.evidence_clip import BEHIND, ClipMaker, blurred_clip
from edge.privacy import Sealer, Sensitive, blur, head_region, plate_region, sensitive_of
from models.detections import Detections

START = datetime(2026, 5, 1, 8, tzinfo=UTC)
NAMES = ("person", "car")


def noise(width: int = 320, height: int = 240, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels(box: tuple[float, float, float, float], width: int, height: int) -> tuple[slice, slice]:
    x1, y1, x2, y2 = box
    rows = slice(max(0, int(np.ceil(y1 * height))), max(0, int(y2 * height)))
    return rows, slice(max(0, int(np.ceil(x1 * width))), max(0, int(x2 * width)))


share = st.floats(0, 1)


@settings(deadline=None)
@given(share, share, share, share, st.sampled_from(["people", "vehicles"]))
def test_a_region_keeps_a_few_values_and_the_rest_keeps_all(
    a: float, b: float, c: float, d: float, kind: str
) -> None:
    box = (min(a, b), min(c, d), max(a, b), max(c, d))
    picture = noise()
    if box[2] - box[0] < 0.2 or box[3] - box[1] < 0.2:
        return
    found = Sensitive(**{kind: (box,)})
    out = blur(picture.copy(), found)
    region = head_region(box) if kind == "people" else plate_region(box)
    inside = out[pixels(region, 320, 240)]
    cells = len(np.unique(inside.reshape(-1, 3), axis=0))
    pixel_count = inside.shape[0] * inside.shape[1]
    assert cells <= max(1, pixel_count // 40)
    untouched = np.ones((240, 320), bool)
    x1, y1, x2, y2 = region
    untouched[
        max(0, int(y1 * 240) - 1) : int(y2 * 240) + 2, max(0, int(x1 * 320) - 1) : int(x2 * 320) + 2
    ] = False
    assert (out[untouched] == picture[untouched]).all()


@pytest.mark.parametrize(
    ("subject_plate", "subject_readable"), [(False, True), (True, False)], ids=["default", "sealed original"]
)
def test_the_subjects_plate_is_readable_only_without_a_sealed_original(
    subject_plate: bool, subject_readable: bool
) -> None:
    subject, other = (0.1, 0.1, 0.4, 0.6), (0.6, 0.1, 0.9, 0.6)
    picture = noise()
    out = blur(picture.copy(), Sensitive(vehicles=(subject, other)), subject, subject_plate)
    rows, columns = pixels((0.1, 0.35, 0.4, 0.59), 320, 240)
    assert (out[rows, columns] == picture[rows, columns]).all() == subject_readable
    rows, columns = pixels((0.6, 0.35, 0.9, 0.6), 320, 240)
    assert (out[rows, columns] == picture[rows, columns]).all(axis=2).mean() < 0.01


def test_a_driver_in_the_subject_is_blurred_and_a_neighbours_region_spares_the_subject() -> None:
    subject, neighbour, driver = (0.3, 0.2, 0.7, 0.8), (0.6, 0.2, 1.0, 0.8), (0.4, 0.3, 0.5, 0.5)
    picture = noise()
    out = blur(picture.copy(), Sensitive(people=(driver,), vehicles=(subject, neighbour)), subject)
    assert (
        out[pixels((0.62, 0.5, 0.69, 0.75), 320, 240)] == picture[pixels((0.62, 0.5, 0.69, 0.75), 320, 240)]
    ).all()
    head = out[pixels(head_region(driver), 320, 240)]
    assert len(np.unique(head.reshape(-1, 3), axis=0)) <= 25


def test_detections_become_shares() -> None:
    boxes = np.array([[0, 0, 32, 48], [160, 120, 320, 240]], np.float32)
    found = sensitive_of(
        Detections(boxes, np.ones(2, np.float32), np.array([0, 1], np.int32), NAMES), 320, 240, {}
    )
    assert found == Sensitive(people=((0, 0, 0.1, 0.2),), vehicles=((0.5, 0.5, 1, 1),))


def test_sealed_opens_with_the_private_key_alone() -> None:
    mine, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    sealed = Sealer(str(mine.to_public())).seal(b"picture")
    assert b"picture" not in sealed
    assert pyrage.decrypt(sealed, [mine]) == b"picture"
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed, [other])


@pytest.mark.parametrize(
    ("key", "words"), [("AGE-SECRET-KEY-1XX", "private key"), ("age1nonsense", "keygen")]
)
def test_a_wrong_seal_key_is_refused(key: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Sealer(key)


def ring_of(seconds: float, fps: int = 10, bframes: int = 2) -> tuple[PacketRing, list[np.ndarray]]:
    """Fill a ring with H.264 in which a bright square stands where a head is."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 320, 240, "yuv420p"
    context.framerate, context.time_base = fps, Fraction(1, fps)
    context.options = {"g": "10", "bf": str(bframes), "crf": "15"}
    ring, sent = PacketRing(600), []
    packets = []
    rng = np.random.default_rng(3)
    for i in range(int(seconds * fps)):
        picture = np.full((240, 320, 3), 90, np.uint8)
        picture[40:80, 100:140] = np.kron(rng.integers(0, 2, (10, 10, 1)) * 255, np.ones((4, 4, 3)))
        sent.append(picture)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = i
        packets += context.encode(frame)
    packets += context.encode(None)
    params = StreamParams("h264", 320, 240, Fraction(1, fps), bytes(context.extradata or b""), 1)
    for i, packet in enumerate(packets):
        at = START + timedelta(seconds=i / fps)
        ring.push(RingPacket(at, packet.is_keyframe, packet.pts, packet.dts, bytes(packet), params))
    return ring, sent


def head_detector(pictures: object) -> list[Detections]:
    box = np.array([[100, 40, 140, 180]], np.float32)
    return [Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32), NAMES) for _ in pictures]  # type: ignore[attr-defined]


def detail(picture: np.ndarray) -> float:
    return float(np.abs(np.diff(picture[44:76, 104:136].astype(int), axis=1)).mean())


@pytest.mark.parametrize("with_detector", [True, False])
def test_a_clip_that_leaves_is_blurred(tmp_path: Path, with_detector: bool) -> None:
    ring, sent = ring_of(4)
    t0 = START + timedelta(seconds=1)
    info = blurred_clip(
        ring, t0, START + timedelta(seconds=3), tmp_path / "c.mp4", head_detector if with_detector else None
    )
    with av.open(str(info.path)) as clip:
        frames = [f.to_ndarray(format="rgb24") for f in clip.decode(video=0)]
    assert 18 <= len(frames) <= 22
    assert abs(info.duration_s - 2) < 0.3
    assert detail(sent[0]) > 20
    assert max(detail(f) for f in frames) < 8
    assert not list(tmp_path.glob("*.part"))


def test_what_a_city_calls_a_person_or_a_vehicle_is_blurred(tmp_path: Path) -> None:
    names, roles = ("行人", "环卫车", "bench"), {"行人": "person", "环卫车": "vehicle", "bench": "other"}

    def detect(pictures: Sequence[np.ndarray]) -> list[Detections]:
        boxes = np.array([[100, 40, 140, 180], [200, 40, 300, 180], [0, 0, 50, 50]], np.float32)
        return [
            Detections(boxes, np.ones(3, np.float32), np.arange(3, dtype=np.int32), names) for _ in pictures
        ]

    found = sensitive_of(detect([noise()])[0], 320, 240, roles)  # type: ignore[arg-type]
    assert (len(found.people), len(found.vehicles)) == (1, 1)
    ring, sent = ring_of(3)
    maker = ClipMaker(True, lambda: detect, inline=True, roles=roles)  # type: ignore[arg-type]
    info = maker.cut(ring, START, START + timedelta(seconds=3), tmp_path / "c.mp4").result()
    with av.open(str(info.path)) as clip:
        frames = [f.to_ndarray(format="rgb24") for f in clip.decode(video=0)]
    assert detail(sent[0]) > 20
    assert max(detail(f) for f in frames) < 8


@pytest.mark.parametrize("blurred", [True, False])
def test_a_mask_is_cut_out_of_the_clip_before_the_detector_looks(tmp_path: Path, blurred: bool) -> None:
    ring, _ = ring_of(2)
    seen: list[int] = []

    def detect(pictures: Sequence[np.ndarray]) -> list[Detections]:
        seen.extend(int(p[44:76, 104:136].max()) for p in pictures)
        return [Detections.empty() for _ in pictures]

    maker = ClipMaker(blurred, lambda: detect, inline=True)
    mask = ((0.3, 0.1), (0.5, 0.1), (0.5, 0.4), (0.3, 0.4))
    info = maker.cut(ring, START, START + timedelta(seconds=2), tmp_path / "c.mp4", [mask]).result()
    assert info.transcoded, "packets cannot be cut: with a mask the clip is encoded again"
    with av.open(str(info.path)) as clip:
        frames = [f.to_ndarray(format="rgb24") for f in clip.decode(video=0)]
    assert max(int(f[30:90, 100:156].max()) for f in frames) < 12
    assert min(int(f[120:].min()) for f in frames) > 60, "the rest stays"
    assert bool(seen) == blurred
    assert max(seen, default=0) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a thread's own priority is Linux's")
def test_clips_stand_back_for_the_cameras_and_tell_what_they_took(tmp_path: Path) -> None:
    ring, _ = ring_of(2)
    niceness: list[int] = []

    def detect(pictures: Sequence[np.ndarray]) -> list[Detections]:
        niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return [Detections.empty() for _ in pictures]

    maker = ClipMaker(True, lambda: detect)
    assert maker.cpu_s() == 0
    maker.cut(ring, START, START + timedelta(seconds=2), tmp_path / "c.mp4").result(60)
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert set(niceness) == {min(19, own + BEHIND)}
    assert 0 < maker.cpu_s() <= time.process_time()
    maker.close()
    assert maker.cpu_s() == 0


def test_the_maker_copies_without_blur_and_counts_what_waits(tmp_path: Path) -> None:
    ring, _ = ring_of(2, bframes=0)
    maker = ClipMaker(False, lambda: pytest.fail("no detector is needed"))
    info = maker.cut(ring, START, START + timedelta(seconds=2), tmp_path / "c.mp4").result(20)
    maker.close()
    assert not info.transcoded
    assert maker.free


def test_a_clip_that_waits_longer_than_a_ring_holds_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, _ = ring_of(2, bframes=0)
    maker, go = ClipMaker(True, lambda: None), threading.Event()
    real = evidence_clip.blurred_clip

    def slow(*given: Any, **more: Any) -> ClipInfo:
        assert go.wait(60)
        return real(*given, **more)

    monkeypatch.setattr(evidence_clip, "blurred_clip", slow)
    asked = [maker.cut(ring, START, START + timedelta(seconds=2), tmp_path / f"{n}.mp4") for n in range(8)]
    monkeypatch.setattr(evidence_clip, "HELD_BYTES", 8 * ring.size)
    last = ring.held()[-1]
    ring.push(replace(last, at=last.at + timedelta(seconds=1000), mono_s=None))
    assert len(ring.held()) == 1, "the ring has gone on"
    assert not maker.free, "what waits is bounded"
    go.set()
    assert {round(one.result(60).duration_s) for one in asked} == {2}
    maker.close()
    assert maker.free
