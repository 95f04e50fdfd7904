"""`curbwatch camera probe` against real servers on loopback: what it tells of a good camera, and the mend of each failure."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import pytest
from camera_parts import self_signed, send, wait_for, web
from click.testing import CliRunner, Result

from bench.ports import free_port
from camera_adapters.mends import sub_stream_of
from camera_adapters.testing.gbdevice import GbDevice
from camera_adapters.testing.loopcam import Camera, Faults
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam, make_clip
from curbwatch.commands.camera import cli

SECRET = "s3cret-word"


def ask(*args: str, seconds: str = "2") -> Result:
    told = CliRunner().invoke(cli, ["probe", *args, "--seconds", seconds])
    assert SECRET not in told.output
    return told


@pytest.mark.parametrize(
    ("url", "sub"),
    [
        ("rtsp://h/Streaming/Channels/1601", "rtsp://h/Streaming/Channels/1602"),
        (
            "rtsp://u:p@h/cam/realmonitor?channel=2&subtype=0",
            "rtsp://u:p@h/cam/realmonitor?channel=2&subtype=1",
        ),
        ("rtsp://h/other", None),
        ("onvif://u:p@h/?role=main", "onvif://u:p@h/?role=sub"),
        ("onvif://h/?profile=3", None),
        ("gb28181+http://u:p@h:18080/1/2", "gb28181+http://u:p@h:18080/1/2?stream=1"),
        ("gb28181+http://h/1/2?stream=1", None),
        ("gb28181://:p@h:5060/1/2", None),
    ],
)
def test_the_sub_stream(url: str, sub: str | None) -> None:
    assert sub_stream_of(url) == sub


def test_a_good_camera(rtp: RtpClip, clips: dict[str, Path], tmp_path: Path) -> None:
    picture = tmp_path / "p.jpg"
    cameras = {
        "main": Camera(rtp, Faults(clock_skew_s=30)),
        "sub": Camera(RtpClip(clips["small"])),
    }
    with ServedLoopCam(cameras, ("viewer", SECRET)) as served:
        told = ask(served.url("main"), "--picture", str(picture), "--json", seconds="3")
        assert told.exit_code == 0
        report = json.loads(told.output)
        assert (report["codec"], report["width"], report["height"]) == ("h264", 320, 240)
        assert report["fps"] == pytest.approx(10, abs=0.5)
        assert report["key_interval_s"] == pytest.approx(1, abs=0.1)
        assert (report["gop"], report["gop_is_least"]) == (10, False)
        assert report["clock_offset_s"] == pytest.approx(30, abs=1)
        assert (report["sub"]["width"], report["sub"]["height"]) == (160, 120)
        assert cv2.imread(str(picture)).shape == (240, 320, 3)
        words = ask(served.url("main"), seconds="3").output
        for line in (
            "reachable   yes, login right",
            "video       h264 320x240, 10.0 fps",
            "GOP of 10 pictures",
            "clock       arrival, +",
            "sub stream  h264 160x120",
            "set its NTP server",
        ):
            assert line in words


@pytest.mark.parametrize("codec", ["hevc", "bframes"])
def test_other_streams(codec: str, clips: dict[str, Path]) -> None:
    with ServedLoopCam({"x": Camera(RtpClip(clips[codec]))}) as served:
        for transport in ("tcp", "udp"):
            told = ask(served.url("x"), "--transport", transport, "--json")
            assert json.loads(told.output)["codec"] == ("hevc" if codec == "hevc" else "h264")
        if codec == "hevc":
            assert "H.265 clips" in ask(served.url("x")).output


def test_rtsp_over_tls(rtp: RtpClip, tmp_path: Path) -> None:
    with ServedLoopCam({"x": Camera(rtp)}, ("viewer", SECRET), self_signed(tmp_path)) as served:
        url = served.url("x")
        assert url.startswith("rtsps://")
        report = json.loads(ask(url, "--json").output)
        assert (report["ok"], report["codec"]) == (True, "h264")
        wrong = ask(served.url("x", f"viewer:not-{SECRET}"))
        assert "failed      auth" in wrong.output


def test_a_long_gop_is_told(tmp_path: Path) -> None:
    clip = RtpClip(make_clip(tmp_path / "long.mp4", seconds=8, gop_s=8))
    with ServedLoopCam({"x": Camera(clip)}) as served:
        report = json.loads(ask(served.url("x"), "--json", seconds="6").output)
        assert report["gop_is_least"]
        assert report["gop"] == pytest.approx(60, abs=5)
        assert "set 1 to 4 s" in report["advice"][0]


class Svac(RtpClip):
    """A clip that is announced in a codec that nobody here decodes."""

    def sdp(self) -> str:
        return super().sdp().replace("H264/90000", "SVAC/90000")


@contextmanager
def silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def hanging_up() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join(5)


def rtsp(served: ServedLoopCam, path: str = "x", login: str | None = None) -> str:
    return served.url(path, login)


def served_with(faults: Faults | None = None, svac: bool = False) -> Callable[[ExitStack, Path], str]:
    def make(stack: ExitStack, clip: Path) -> str:
        camera = Camera((Svac if svac else RtpClip)(clip), faults or Faults())
        return stack.enter_context(ServedLoopCam({"x": camera}, ("viewer", SECRET))).url("x")

    return make


def wrong_password(stack: ExitStack, clip: Path) -> str:
    served = stack.enter_context(ServedLoopCam({"x": Camera(RtpClip(clip))}, ("viewer", "other")))
    return served.url("x", f"viewer:{SECRET}")


def nobody(stack: ExitStack, clip: Path) -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"rtsp://viewer:{SECRET}@127.0.0.1:{server.getsockname()[1]}/x"


def a_silent_one(stack: ExitStack, clip: Path) -> str:
    return f"rtsp://viewer:{SECRET}@127.0.0.1:{stack.enter_context(silent())}/x"


def one_that_hangs_up(stack: ExitStack, clip: Path) -> str:
    return f"rtsp://viewer:{SECRET}@127.0.0.1:{stack.enter_context(hanging_up())}/x"


def a_web_page(stack: ExitStack, clip: Path) -> str:
    port = stack.enter_context(web(lambda to: send(to, 200, b"<html>", Content_Type="text/html")))
    return f"rtsp://viewer:{SECRET}@127.0.0.1:{port}/x"


@pytest.mark.parametrize(
    ("make", "code", "mend"),
    [
        (wrong_password, "auth", "Check user and password"),
        (nobody, "refused", "Nothing listens on that port"),
        (a_silent_one, "timeout", "No answer in time"),
        (one_that_hangs_up, "protocol", "may have reached its limit of viewers"),
        (a_web_page, "protocol", "not its web page's"),
        (served_with(Faults(status="453 Not Enough Bandwidth")), "server", "limit of viewers"),
        (served_with(Faults(status="404 Not Found")), "not_found", "Hikvision: /Streaming/Channels/101"),
        (served_with(Faults(no_key=True)), "no_key", "smart codec"),
        (served_with(svac=True), "codec", "Set the camera to H.264 or H.265"),
    ],
    ids=["auth", "refused", "timeout", "hangs up", "web page", "full", "not found", "no key", "svac"],
)
def test_each_failure_has_its_mend(
    make: Callable[[ExitStack, Path], str], code: str, mend: str, clips: dict[str, Path]
) -> None:
    with ExitStack() as stack:
        told = ask(make(stack, clips["h264"]))
    assert told.exit_code == 1
    assert f"failed      {code}" in told.output
    assert mend in next(line for line in told.output.splitlines() if line.startswith("mend        "))


def test_a_wrong_path_finds_the_right_one(rtp: RtpClip) -> None:
    with ServedLoopCam({"Streaming/Channels/101": Camera(rtp)}, ("viewer", SECRET)) as served:
        told = ask(served.url("live"))
        assert told.exit_code == 1
        right = f"rtsp://***@127.0.0.1:{served.port}/Streaming/Channels/101 (Hikvision)"
        assert f"answers     {right}" in told.output
        assert told.output.count("answers     ") == 1


def test_devices_that_register_here(clips: dict[str, Path]) -> None:
    port = free_port(socket.SOCK_DGRAM)
    url = f"gb28181://:{SECRET}@127.0.0.1:{port}"
    none = ask("--gb28181", url, seconds="1")
    assert none.exit_code == 1
    assert "no device has registered" in none.output
    device, channel = "34020000001320000001", "34020000001320000101"
    channels = [(channel, "东门", 116.39, 39.9), ("34020000001320000102", "yard", 0.0, 0.0)]
    told: list[Result] = []
    probe = threading.Thread(target=lambda: told.append(ask("--gb28181", url, "--json", seconds="5")))
    probe.start()
    wait_for(lambda: f":{port:04X} " in Path("/proc/net/udp").read_text())
    with GbDevice(device, SECRET, ("127.0.0.1", port), clips["h264"], channels):
        probe.join(60)
    listed = json.loads(told[0].output)["channels"]
    assert listed[0] == {
        "device": device,
        "channel": channel,
        "name": "东门",
        "online": True,
        "place": [116.39, 39.9],
    }
    assert listed[1]["place"] is None
