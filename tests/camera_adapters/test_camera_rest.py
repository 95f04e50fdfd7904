"""RTSP where key frames are enough: a thread that rests, and the camera's clock asked for now and then."""

from __future__ import annotations

import itertools
import struct
import threading
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import pytest
from camera_parts import QUICK, Memory, wait_for

from camera_adapters.clock import SystemClock
from camera_adapters.demand import Demand
from camera_adapters.hosts import HostGate
from camera_adapters.meter import METER
from camera_adapters.ring import StreamParams
from camera_adapters.rtsp import REST_S, Connection, RtspStream, _camera_time
from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam


class _Rests(threading.Event):
    """An end that counts how often somebody rested before it."""

    count = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.count += timeout == REST_S
        return super().wait(timeout)


@pytest.mark.parametrize(
    ("demand", "transport", "rests"),
    [(Demand("none"), "tcp", True), (Demand("key"), "tcp", True), (Demand("all"), "tcp", False), (Demand("key"), "udp", False)],
)  # fmt: skip
def test_where_key_frames_are_enough_the_thread_rests_and_misses_no_packet(
    rtp: RtpClip,
    monkeypatch: pytest.MonkeyPatch,
    demand: Demand,
    transport: Literal["tcp", "udp"],
    rests: bool,
) -> None:
    monkeypatch.setattr("camera_adapters.rtsp.REST_AFTER_S", 0.1)
    memory, stop = Memory(), _Rests()
    with ServedLoopCam({"gate": Camera(rtp)}) as served:
        # Long, so that a busy machine is no stall.
        options = replace(QUICK, transport=transport, stall_s=20.0, key_stall_s=20.0)
        stream = RtspStream("gate", served.url("gate"), memory, options, SystemClock(), gate=HostGate())
        stream.demand = demand
        thread = threading.Thread(target=stream.run, args=(stop,))
        thread.start()
        wait_for(lambda: stream.health().packets >= 40)
        # Nothing is decoded inside it, and it is counted all the same while the connection lasts.
        received = METER.seconds()["network"]
        wait_for(lambda: stop.count > 3 or not rests)
        wait_for(lambda: METER.seconds()["network"] > received)
        stop.set()
        thread.join(8)
    assert not thread.is_alive()
    assert stream.health().connects == 1
    assert (stop.count > 0) is rests
    assert stream.ring is not None
    held = stream.ring.held()
    if transport == "tcp":
        steps = {round((b.pts or 0) - (a.pts or 0)) for a, b in itertools.pairwise(held)}
        assert max(steps) - min(steps) <= 1, "a packet is missing"


class _Told:
    """A packet whose camera tells its time, and counts who asks."""

    asked = 0
    tells = True

    def __init__(self, at_s: float) -> None:
        self._at_s = at_s

    def get_sidedata(self, _kind: str) -> bytes:
        _Told.asked += 1
        return struct.pack("<qi", round(self._at_s * 1e6), 0) if self.tells else b""


def test_the_cameras_time_is_asked_for_once_a_second_and_reckoned_on(monkeypatch: pytest.MonkeyPatch) -> None:
    params = StreamParams("h264", 320, 240, Fraction(1, 90_000), None, 1)
    nothing: Any = None
    connection = Connection(params, nothing, nothing, QUICK, 0.0, _camera_time)
    monkeypatch.setattr(_Told, "asked", 0)
    # B-frames come out of order; at 3 s the camera's clock is set an hour on.
    for n in [*range(50), 52, 51, *range(53, 100)]:
        step = 3600 if n >= 75 else 0
        packet: Any = _Told(1000 + n / 25 + step)
        told = connection.camera_time(packet, n / 25)
        assert told is not None
        late = told.timestamp() - (1000 + n / 25 + step)
        assert abs(late) < 1e-3 or (step and 75 <= n < 75 + 25)
    assert _Told.asked <= 5
    silent: Any = _Told(0)
    monkeypatch.setattr(_Told, "tells", False)
    assert connection.camera_time(silent, None) is None
    assert connection.camera_time(silent, 0.5) is None, "a new time line is asked for"
