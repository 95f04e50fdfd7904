"""The reader of RTSP: what it says to a camera, what it understands, and when it leaves a camera to FFmpeg."""

from __future__ import annotations

import base64
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from camera_parts import QUICK, Memory, wait_for

from camera_adapters.clock import SystemClock
from camera_adapters.demand import Demand
from camera_adapters.hosts import HostGate
from camera_adapters.reasons import StreamFaultError
from camera_adapters.rtp import AccessUnit, UnreadableError
from camera_adapters.rtsp import RtspStream
from camera_adapters.rtsp_link import control_url, headers_of
from camera_adapters.rtsp_reader import RtspReader, video_track
from camera_adapters.stream import StreamState
from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam, make_clip

SETS = [b"\x67sps", b"\x68pps"]
SDP = "v=0\r\ns=x\r\n{session}m=audio 0 RTP/AVP 0\r\na=control:audio\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 {codec}/90000\r\n{fmtp}a=control:trackID=1\r\n"
KEY = b"\x65picture"


def sdp(codec: str = "H264", fmtp: str = "", session: str = "") -> str:
    return SDP.format(codec=codec, session=session, fmtp=f"a=fmtp:96 {fmtp}\r\n" if fmtp else "")


class Scripted:
    """A camera that answers by a script and notes what it is asked."""

    def __init__(self, description: str = "", public: str = "OPTIONS, DESCRIBE") -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.reports: list[bytes] = []
        self.description, self.public = description or sdp(), public
        self.base = ""
        self.transport = "RTP/AVP/TCP;unicast;interleaved=2-3"
        self.refusal: dict[str, str] = {}
        self.play: Callable[[socket.socket], None] = lambda _: None
        self._number = itertools.count(1)

    def packet(self, payload: bytes = KEY, stamp: int = 0) -> bytes:
        body = struct.pack("!BBHII", 0x80, 0xE0, next(self._number) & 0xFFFF, stamp, 7) + payload
        return struct.pack("!cBH", b"$", 2, len(body)) + body

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.asked]

    def serve(self, connection: socket.socket) -> None:
        # A client that goes with packets unread resets the connection.
        with suppress(ConnectionError), connection, connection.makefile("rb") as lines:
            while first := lines.read(1):
                if first == b"$":
                    head = lines.read(3)
                    self.reports.append(head + lines.read(int.from_bytes(head[1:], "big")))
                    continue
                told = [(first + lines.readline()).decode().strip()]
                while line := lines.readline().decode().strip():
                    told.append(line)
                method, url, _ = told[0].split(" ")
                headers = headers_of(told[1:])
                self.asked.append((method, url, headers))
                self.answer(connection, method, url, headers)

    def answer(self, to: socket.socket, method: str, url: str, headers: dict[str, str]) -> None:
        status, extra, body = self.refusal.get(method, "200 OK"), "", ""
        if method == "OPTIONS":
            extra = f"Public: {self.public}\r\n"
        elif method == "DESCRIBE":
            body = self.description
            extra = f"Content-Base: {self.base or url}\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            extra = f"Transport: {self.transport}\r\nSession: 77;timeout=60\r\n"
        to.sendall(f"RTSP/1.0 {status}\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}".encode())
        if method == "PLAY" and status == "200 OK":
            self.play(to)


@contextmanager
def serving(camera: Scripted) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                connection.settimeout(None)
                threading.Thread(target=camera.serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"rtsp://viewer:s3cret-word@127.0.0.1:{server.getsockname()[1]}/cam/realmonitor?channel=1&subtype=0"
        finally:
            over.set()
            thread.join(10)


def pictures(reader: RtspReader, count: int) -> list[AccessUnit]:
    units: list[AccessUnit] = []
    end = time.monotonic() + 60
    while len(units) < count:
        assert time.monotonic() < end
        units += reader.read(0.2)[0]
    return units


def test_it_asks_as_cameras_want_to_be_asked_and_says_goodbye() -> None:
    camera = Scripted()
    camera.base = "rtsp://camera/cam/realmonitor?channel=1&subtype=0/"
    camera.play = lambda to: to.sendall(camera.packet())
    with serving(camera) as url:
        with RtspReader(url, 5) as reader:
            assert pictures(reader, 1)[0].data == b"\0\0\0\1" + KEY
        wait_for(lambda: "TEARDOWN" in camera.methods())
    bare = re.sub(r"//[^@]*@", "//", url)
    assert [(m, u) for m, u, _ in camera.asked] == [
        ("OPTIONS", bare),
        ("DESCRIBE", bare),
        # Behind the query, as the camera's own base has it.
        ("SETUP", camera.base + "trackID=1"),
        ("PLAY", camera.base),
        ("TEARDOWN", camera.base),
    ]
    assert camera.asked[2][2]["transport"] == "RTP/AVP/TCP;unicast;interleaved=0-1"
    assert camera.asked[3][2]["session"] == "77"
    assert not any("authorization" in headers for _, _, headers in camera.asked), "not before it is asked for"


def test_words_and_noise_between_pictures() -> None:
    camera = Scripted()

    def play(to: socket.socket) -> None:
        to.sendall(camera.packet(stamp=0))
        for piece in (b"RTSP/1.0 200 OK\r\nCSe", b"q: 9\r\nContent-Length: 4\r\n\r\n$$", b"$$"):
            to.sendall(piece)
            time.sleep(0.05)
        to.sendall(b"OPTIONS rtsp://box RTSP/1.0\r\nCSeq: 1\r\n\r\n" + camera.packet(stamp=3600))
        to.sendall(b"\1\2$\3noise that is neither, a good deal of it" + camera.packet(stamp=7200))
        to.sendall(camera.packet(stamp=10800))

    camera.play = play
    with serving(camera) as url, RtspReader(url, 5) as reader:
        units = pictures(reader, 4)
    assert [(u.pts, u.torn) for u in units] == [(0, False), (3600, False), (7200, True), (10800, False)]


def test_it_stays_alive_by_reports_and_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camera_adapters.rtsp_reader._REPORT_S", 0.05)
    monkeypatch.setattr("camera_adapters.rtsp_reader._MOST_ALIVE_S", 0.1)
    camera = Scripted(public="OPTIONS, GET_PARAMETER")
    camera.refusal["GET_PARAMETER"] = '401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", nonce="newer"'
    with serving(camera) as url, RtspReader(url, 5) as reader:

        def heard() -> bool:
            reader.read(0.05)
            asked = [h for m, _, h in camera.asked if m == "GET_PARAMETER"]
            return (
                len(asked) > 2
                and len(camera.reports) > 2
                and 'nonce="newer"' in asked[-1].get("authorization", "")
            )

        wait_for(heard)
        assert all(h["session"] == "77" for m, _, h in camera.asked if m == "GET_PARAMETER")
    report = camera.reports[0]
    assert report[0] == 3, "the control channel"
    words = [struct.unpack_from("!BBH", report, at) for at in (3, 11)]
    assert words == [(0x80, 201, 1), (0x81, 202, 4)]
    assert len(report) == 3 + 8 + 20


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("DESCRIBE", "401 Unauthorized", "auth"),
        ("OPTIONS", "403 Forbidden", "auth"),
        ("DESCRIBE", "404 Not Found", "not_found"),
        ("PLAY", "453 Not Enough Bandwidth", "server"),
        ("SETUP", "503 Service Unavailable", "server"),
        ("SETUP", "461 Unsupported Transport", ""),
        ("DESCRIBE", "301 Moved", ""),
        ("OPTIONS", "501 Not Implemented", ""),
    ],
)
def test_a_refusal_has_its_meaning_and_what_is_unclear_is_left_to_ffmpeg(
    method: str, status: str, code: str
) -> None:
    camera = Scripted()
    camera.refusal[method] = status
    with serving(camera) as url, pytest.raises((StreamFaultError, UnreadableError)) as refused:
        RtspReader(url, 5)
    assert getattr(refused.value, "code", "") == code
    assert "s3cret" not in str(refused.value)


def test_what_a_description_says() -> None:
    sets = ",".join(base64.b64encode(one).decode() for one in SETS)
    track = video_track(sdp(fmtp=f"packetization-mode=1; sprop-parameter-sets={sets}"))
    assert (track.codec, track.control, track.payload_type) == ("h264", "trackID=1", 96)
    assert track.extradata == b"\0\0\0\1\x67sps\0\0\0\1\x68pps"
    hevc = ";".join(f"sprop-{n}={base64.b64encode(n.encode()).decode()}" for n in ("vps", "sps", "pps"))
    assert video_track(sdp("H265", hevc)).extradata == b"\0\0\0\1vps\0\0\0\1sps\0\0\0\1pps"
    assert video_track(sdp(fmtp="sprop-parameter-sets=%%%")).extradata is None
    for other in (
        sdp("MP4V-ES"),
        sdp().replace("video 0 RTP/AVP", "video 0 RTP/SAVP"),
        sdp(fmtp="packetization-mode=2"),
        sdp("H265", "sprop-max-don-diff=2"),
        "v=0\r\nm=audio 0 RTP/AVP 0\r\n",
        "",
    ):
        with pytest.raises(UnreadableError):
            video_track(other)


@pytest.mark.parametrize(
    ("base", "control", "url"),
    [
        ("rtsp://h/a/", "track1", "rtsp://h/a/track1"),
        ("rtsp://h/a?x=1", "track1", "rtsp://h/a?x=1/track1"),
        ("rtsp://h/a", "rtsp://h/b", "rtsp://h/b"),
        ("rtsp://h/a", "*", "rtsp://h/a"),
        ("rtsp://h/a", "", "rtsp://h/a"),
    ],
)
def test_where_a_track_is(base: str, control: str, url: str) -> None:
    assert control_url(base, control) == url


def test_of_two_logins_digest_is_taken() -> None:
    both = ['WWW-Authenticate: Digest realm="a", nonce="b"', 'WWW-Authenticate: Basic realm="a"']
    for lines in (both, both[::-1]):
        assert headers_of(lines)["www-authenticate"].startswith("Digest")


def test_what_it_cannot_read_ffmpeg_plays_and_the_state_says_so(
    rtp: RtpClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def unreadable(self: RtspReader, url: str, timeout_s: float) -> None:
        asked.append(url)
        raise UnreadableError("viewer:s3cret-word packs in a rare way")

    monkeypatch.setattr(RtspReader, "__init__", unreadable)
    memory = Memory()
    with ServedLoopCam({"gate": Camera(rtp)}, ("viewer", "s3cret-word")) as served:
        stream = RtspStream("gate", served.url("gate"), memory, QUICK, SystemClock(), gate=HostGate())
        stream.demand = Demand("all")
        stream.start()
        wait_for(lambda: len(memory.frames) > 10)
        assert stream.state is StreamState.LIVE
        wait_for(lambda: "packs in a rare way" in memory.reasons())
        # A connection that breaks is not tried by the reader again.
        served.stop()
        served.restart()
        wait_for(lambda: memory.states().count(StreamState.LIVE) == 2)
        stream.close(8)
    assert len(asked) == 1
    assert "s3cret" not in memory.reasons()


def test_a_camera_that_refreshes_in_stripes_is_played_by_ffmpeg(tmp_path: Path) -> None:
    """After the first picture it sends no IDR; its recovery points are where decoding can begin."""
    path = make_clip(tmp_path / "stripes.mp4", seconds=30, more={"x264-params": "intra-refresh=1:keyint=10"})
    clip = RtpClip(path)
    assert sum(u.key for u in clip.units) > 1, "FFmpeg flags its recovery points"
    memory = Memory()
    with ServedLoopCam({"gate": Camera(clip)}) as served:
        stream = RtspStream("gate", served.url("gate"), memory, QUICK, SystemClock(), gate=HostGate())
        stream.demand = Demand("all")
        stream.start()
        wait_for(lambda: "no key frames of the usual kind" in memory.reasons())
        count = len(memory.frames)
        wait_for(lambda: len(memory.frames) > count + 40)
        connects = stream.health().connects
        wait_for(lambda: len(memory.frames) > count + 80)
        assert stream.health().connects == connects
        stream.close(8)
