"""Cameras that mean harm: pictures that promise too much, answers without an end, addresses that lead elsewhere."""

from __future__ import annotations

import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest
from camera_parts import Memory, wait_for

from camera_adapters.clock import SystemClock
from camera_adapters.decoder import MAX_PIXELS, OnDemandDecoder, Stamp
from camera_adapters.demand import Demand
from camera_adapters.jpeg import MAX_PICTURE_BYTES, PictureDecoder
from camera_adapters.onvif import OnvifAddress, _same_host, rtsp_url
from camera_adapters.open import open_stream
from camera_adapters.reasons import StreamFaultError
from camera_adapters.stream import StreamOptions, StreamState
from camera_adapters.testing.onvifcam import OnvifCam, SimulatedProfile
from contract import utc_now

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def web(answer: Answer) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def running(url: str) -> Iterator[Memory]:
    memory = Memory()
    stream = open_stream("cam", url, memory, StreamOptions(stall_s=2), SystemClock())
    stream.demand = Demand("all", 0.1)
    stream.start()
    try:
        yield memory
    finally:
        stream.close(8)


def jpeg(width: int, height: int, promised: tuple[int, int] | None = None) -> bytes:
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
    data = bytes(context.encode(frame.reformat(format="yuvj420p"))[0])
    if promised is not None:
        at = data.index(b"\xff\xc0") + 5
        data = data[:at] + struct.pack("!HH", promised[1], promised[0]) + data[at + 4 :]
    return data


def test_a_small_file_that_promises_a_giant_picture_is_not_decoded() -> None:
    bomb = jpeg(64, 48, promised=(65_500, 65_500))
    assert len(bomb) < 5_000
    before = psutil.Process().memory_info().rss
    assert PictureDecoder("mjpeg").decode(bomb) is None
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    assert PictureDecoder("mjpeg").decode(jpeg(64, 48)) is not None


def test_video_larger_than_any_cameras_is_not_decoded() -> None:
    sizes = {(640, 480): 1, (8192, 6160): 0}
    assert MAX_PIXELS < 8192 * 6160
    for (width, height), pictures in sizes.items():
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.options = Fraction(1, 25), {"preset": "ultrafast", "tune": "zerolatency"}
        grey = av.VideoFrame(width, height, "yuv420p")
        grey.pts = 0
        packets = [*encoder.encode(grey), *encoder.encode(None)]
        decoder = OnDemandDecoder(av.CodecContext.create("h264", "r"))  # type: ignore[arg-type]
        found = [
            p for packet in packets for p in decoder.feed(packet, Stamp(utc_now(), 0.0), Demand("all", 0.0))
        ]
        assert len([*found, *decoder.finish()]) == pictures


def test_an_answer_without_an_end_is_cut_off() -> None:
    sent: list[int] = []

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", "image/jpeg")
        to.end_headers()
        for _ in range(10 * MAX_PICTURE_BYTES // 2**16):
            to.wfile.write(bytes(2**16))
            sent.append(2**16)

    with web(answer) as port, running(f"http://127.0.0.1:{port}/x.jpg") as memory:
        wait_for(lambda: StreamState.BACKING_OFF in memory.states())
    assert "longer than any picture" in memory.reasons()
    assert sum(sent) < 3 * MAX_PICTURE_BYTES


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_camera_cannot_send_the_box_elsewhere_by_a_redirect(status: int) -> None:
    visited: list[str] = []

    def inner(to: http.server.BaseHTTPRequestHandler) -> None:
        visited.append(to.path)
        to.send_response(200)
        to.end_headers()

    with web(inner) as secret:

        def answer(to: http.server.BaseHTTPRequestHandler) -> None:
            to.send_response(status)
            to.send_header("Location", f"http://127.0.0.1:{secret}/admin")
            to.send_header("Content-Length", "0")
            to.end_headers()

        with web(answer) as port, running(f"http://127.0.0.1:{port}/x.jpg") as memory:
            wait_for(lambda: StreamState.BACKING_OFF in memory.states())
    assert visited == []


@pytest.mark.parametrize(
    "told",
    [
        "rtsp://127.0.0.1:554/main",
        "rtsp://localhost:554/main",
        "rtsp://10.0.0.1:554/main",
        "rtsp://203.0.113.9/main",
    ],
)
def test_an_onvif_cameras_stream_is_looked_for_at_the_camera_wherever_it_says_it_is(told: str) -> None:
    with OnvifCam({"main": SimulatedProfile(told, 320, 240)}) as camera:
        found = rtsp_url(OnvifAddress.parse(f"onvif://admin:secret@127.0.0.1:{camera.port}/"))
    assert found.startswith("rtsp://admin:secret@127.0.0.1")
    assert found.endswith("/main")


@pytest.mark.parametrize(
    "told", ["http://127.0.0.1/latest/meta-data", "file:///etc/passwd", "rtspx://127.0.0.1/x"]
)
def test_an_onvif_camera_cannot_name_what_is_no_stream(told: str) -> None:
    with OnvifCam({"main": SimulatedProfile(told, 320, 240)}) as camera:
        address = OnvifAddress.parse(f"onvif://admin:secret@127.0.0.1:{camera.port}/")
        with pytest.raises(StreamFaultError, match="give its rtsp:// address itself") as refused:
            rtsp_url(address)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("told", "asked", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("10.0.0.2", "10.0.0.1", False),
        ("169.254.169.254", "localhost", False),
        ("", "10.0.0.1", False),
        ("name.invalid", "10.0.0.1", False),
    ],
)
def test_one_host_by_name_and_by_number(told: str, asked: str, same: bool) -> None:
    assert _same_host(told, asked) is same


@pytest.mark.parametrize(
    "url",
    ["ftp://10.0.0.1/x", "gopher://10.0.0.1/x", "concat:/etc/passwd|x.mp4", "data:image/jpeg;base64,AA"],
)
def test_only_cameras_schemes_and_files_that_are_there(url: str) -> None:
    with pytest.raises(ValueError, match="url:"):
        open_stream("cam", url, Memory(), StreamOptions(), SystemClock())
