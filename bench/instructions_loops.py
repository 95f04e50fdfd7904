"""The hot loops whose instructions are counted: what a box does with every packet, look and detection.

Each loop is a function that takes the number of turns; everything it needs is made before. Nothing in them depends on the
wall clock, on a hash's seed or on another thread.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import av
import numpy as np

from bench.growth import one_zone_judge, some_cars
from camera_adapters.capture import CaptureClock
from camera_adapters.coded import CodedPicture
from camera_adapters.decoder import OnDemandDecoder, Stamp
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.ring import PacketRing, RingPacket, StreamParams
from camera_adapters.rtp import RtpUnpacker
from camera_adapters.view_watch import ViewWatch
from edge.config import SamplingConfig
from edge.gate import MotionGate
from edge.judge import Observation
from edge.left_objects import LeftObjectDetector
from edge.pipeline import small_grey
from edge.pump import LatestSlots
from edge.scheduler import CameraScheduler
from models.families import decode_yolo, nms

T0 = datetime(2026, 3, 1, 2, tzinfo=UTC)
Loop = Callable[[int], None]


def _greys(count: int = 8) -> list[np.ndarray[tuple[int, int], np.dtype[np.uint8]]]:
    rng = np.random.default_rng(5)
    ground = rng.integers(60, 190, (180, 320)).astype(np.int16)
    return [np.clip(ground + rng.normal(0, 2, ground.shape), 0, 255).astype(np.uint8) for _ in range(count)]


def _frame() -> Frame:
    rgb = np.random.default_rng(6).integers(0, 255, (135, 240, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    video = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format="yuv420p")
    return Frame(
        FrameMeta("c", 0, T0, 0.0, "arrival", None, True, False, 1, video.width, video.height), video
    )


def grey() -> Loop:
    """The small grey picture of a 1080p frame."""
    frame = _frame()

    def turn(count: int) -> None:
        for _ in range(count):
            small_grey(frame)

    return turn


def rgb() -> Loop:
    """The detector's picture of a 1080p frame, by the decoder's scaler."""
    frame = _frame()

    def turn(count: int) -> None:
        for _ in range(count):
            frame.rgb(640, 360)

    return turn


def gate() -> Loop:
    """The motion gate."""
    zone = np.array([[0.6, 0.7], [0.92, 0.7], [0.92, 0.93], [0.6, 0.93]], np.float32)
    motion, greys = MotionGate([zone]), _greys()

    def turn(count: int) -> None:
        for i in range(count):
            motion.observe(greys[i % len(greys)], float(i))

    return turn


def view() -> Loop:
    """The view check without a reference."""
    watch, greys, seconds = ViewWatch(), _greys(), [0.0]

    def turn(count: int) -> None:
        for i in range(count):
            seconds[0] += 2.0
            watch.observe(greys[i % len(greys)], seconds[0])

    return turn


def left() -> Loop:
    """Left objects, with two people about."""
    detector, greys, seconds = LeftObjectDetector(320, 180), _greys(), [0.0]
    people = [(0.1, 0.1, 0.2, 0.4), (0.5, 0.5, 0.6, 0.9)]

    def turn(count: int) -> None:
        for i in range(count):
            seconds[0] += 0.5
            detector.observe(greys[i % len(greys)], seconds[0], people)

    return turn


def rules() -> Loop:
    """The rules of one zone with sixteen standing cars."""
    judge, cars, seen = one_zone_judge(), some_cars(16), [0]

    def turn(count: int) -> None:
        for _ in range(count):
            seen[0] += 1
            at = 2.0 * seen[0]
            judge.observe(
                Observation(T0 + timedelta(seconds=at), at, 1000, 1000, cars, (), True, interval_s=2.0)
            )

    return turn


def queue() -> Loop:
    """A look through the line of sixteen cameras, planned and taken."""
    now = [0.0]
    slots: LatestSlots[int] = LatestSlots(lambda: now[0])
    plans = [CameraScheduler(SamplingConfig(), False) for _ in range(16)]

    def turn(count: int) -> None:
        for i in range(count):
            now[0] += 2.0
            for n, plan in enumerate(plans):
                if plan.plan(now[0], True, False).judge:
                    slots.offer(f"c{n}", i)
            while slots.take(4, 0):
                pass

    return turn


def packets() -> Loop:
    """Fifty packets of a camera that is only kept: capture time, ring, decoder that is asked for nothing."""
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, av.VideoCodecContext)
    decoder, ring, clock = OnDemandDecoder(context), PacketRing(20.0), CaptureClock(2.0)
    params, demand, ticks = (
        StreamParams("h264", 1920, 1080, Fraction(1, 90_000), None, 1),
        Demand("none"),
        [0],
    )
    data = bytes(4000)

    def turn(count: int) -> None:
        for _ in range(count * 50):
            ticks[0] += 1
            seconds = ticks[0] / 25
            packet = CodedPicture(data, ticks[0] % 50 == 0, ticks[0] * 3600, False)
            taken = clock.stamp(seconds, None, T0 + timedelta(seconds=seconds), seconds)
            packet.data = ring.push(
                RingPacket(taken.at, packet.is_keyframe, packet.pts, None, packet.data, params, taken.mono_s)
            )
            for _ in decoder.feed(packet, Stamp(taken.at, taken.mono_s), demand):
                raise AssertionError("nothing was asked for")

    return turn


def unpack() -> Loop:
    """Ten pictures of fifteen RTP packets, put together as one reading of the socket gives them."""
    data, number = bytearray(), 0
    for picture in range(10):
        for part in range(15):
            number += 1
            flags, marker = (0x80 if part == 0 else 0x40 if part == 14 else 0), 0x80 if part == 14 else 0
            head = struct.pack("!BBHII", 0x80, 96 | marker, number, picture * 3600, 7) + bytes(
                [0x5C, 1 | flags]
            )
            data += struct.pack("!cBH", b"$", 0, len(head) + 1400) + head + bytes(1400)

    def turn(count: int) -> None:
        for _ in range(count):
            unpacker = RtpUnpacker("h264", 96, (0, 1))
            if unpacker.take(data, memoryview(data), 0, len(data)) != len(data) or len(unpacker.units) != 10:
                raise AssertionError("ten pictures were sent")

    return turn


def boxes() -> Loop:
    """From a network's output (8 400 anchors, 15 classes) to the boxes that stay."""
    rng = np.random.default_rng(7)
    output = rng.random((1, 19, 8400), np.float32) * 0.2
    output[0, :4] *= 3000
    some = rng.integers(0, 8400, 60)
    output[0, 4 + rng.integers(0, 15, 60), some] = 0.8
    channels = np.arange(15, dtype=np.int32)

    def turn(count: int) -> None:
        for _ in range(count):
            found, scores, rows = decode_yolo([output], 0.3, channels, (640, 640))[0]
            nms(found, scores, rows, 0.5, 100)

    return turn


LOOPS: dict[str, Callable[[], Loop]] = {
    f.__name__: f for f in (grey, rgb, gate, view, left, rules, queue, packets, unpack, boxes)
}
