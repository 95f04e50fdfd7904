"""The reader of RTSP: what it says to a camera, what it understands, and when it leaves a camera to FFmpeg."""

from __future__ import annotations

import base64
import hashlib
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
from camera_adapters.sip import digest_fields
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
                headers = headers_of("\r\n".join(told))
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


def test_it_stays_alive_by_requests_with_the_newest_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camera_adapters.rtsp_reader._MOST_ALIVE_S", 0.1)
    monkeypatch.setattr("camera_adapters.rtsp_reader._LEAST_ALIVE_S", 0.05)
    camera = Scripted(public="OPTIONS, GET_PARAMETER")
    camera.refusal["GET_PARAMETER"] = '401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", nonce="newer"'
    with serving(camera) as url, RtspReader(url, 5) as reader:

        def heard() -> bool:
            reader.read(0.05)
            asked = [h for m, _, h in camera.asked if m == "GET_PARAMETER"]
            return len(asked) > 2 and 'nonce="newer"' in asked[-1].get("authorization", "")

        wait_for(heard)
        assert all(h["session"] == "77" for m, _, h in camera.asked if m == "GET_PARAMETER")
    assert not camera.reports, "some cameras know no reports in this connection"


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("DESCRIBE", '401 Unauthorized\r\nWWW-Authenticate: Basic realm="a"', "auth"),
        ("OPTIONS", "403 Forbidden", "auth"),
        ("DESCRIBE", "404 Not Found", "not_found"),
        ("SETUP", "401 Unauthorized", ""),
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
    assert video_track(sdp(fmtp="sprop-parameter-sets=Z3Nwcw,")).extradata == b"\0\0\0\1gsps"
    assert video_track(sdp()).extradata is None
    for other in (
        sdp("MP4V-ES"),
        sdp().replace("video 0 RTP/AVP", "video 0 RTP/SAVP"),
        sdp(fmtp="packetization-mode=2"),
        sdp(fmtp="sprop-parameter-sets=%%%"),
        sdp(fmtp="sprop-parameter-sets=ä"),
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


@pytest.mark.parametrize(
    ("offered", "scheme"),
    [
        (['Digest realm="a, b", nonce="n", qop="auth-int,auth"', 'Basic realm="a"'], "MD5"),
        (['Basic realm="a"', 'Digest realm="a, b", nonce="n"'], "MD5"),
        (['Digest realm="a, b", nonce="n", algorithm=SHA-256, qop="auth"', 'Digest realm="a, b", nonce="n"'], "SHA-256"),
        (['Digest realm="a, b", nonce="n", algorithm=SHA-512', 'Digest realm="a, b", nonce="n", algorithm=MD5'], "MD5"),
        (['Digest realm="a, b", nonce="n", algorithm=MD5-sess, qop="auth", opaque="o"'], "MD5-sess"),
        (['Basic realm="a"'], "Basic"),
        (["Negotiate"], ""),
    ],
)  # fmt: skip
def test_the_login_that_a_camera_offers(offered: list[str], scheme: str) -> None:
    camera = Scripted()
    camera.refusal["DESCRIBE"] = "401 Unauthorized\r\n" + "\r\n".join(
        f"WWW-Authenticate: {o}" for o in offered
    )
    with serving(camera) as url, pytest.raises((StreamFaultError, UnreadableError)) as refused:
        RtspReader(url, 5)
    asked = [headers.get("authorization", "") for method, _, headers in camera.asked if method == "DESCRIBE"]
    if not scheme:
        assert isinstance(refused.value, UnreadableError)
        assert asked == [""], "no login is tried in vain"
        return
    assert asked[0] == ""
    if scheme == "Basic":
        assert asked[1] == "Basic " + base64.b64encode(b"viewer:s3cret-word").decode()
        return
    given = digest_fields(asked[1].removeprefix("Digest "))
    hashed = {"SHA-256": hashlib.sha256}.get(scheme, hashlib.md5)

    def h(*parts: str) -> str:
        return hashed(":".join(parts).encode()).hexdigest()

    secret = h("viewer", "a, b", "s3cret-word")
    secret = h(secret, "n", given["cnonce"]) if scheme.endswith("sess") else secret
    middle = ("n", given["nc"], given["cnonce"], "auth") if "qop" in given else ("n",)
    assert given["response"] == h(secret, *middle, h("DESCRIBE", given["uri"]))
    assert given.get("algorithm", "MD5") == scheme
    assert ("opaque" in given) is ("opaque" in offered[0])
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\r\n", b""),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n", b""),
        (b"RTSP/1.0 200 OK\r\nCSeq: 0\r\n\r\n", b"CSeq: 009\r\n"),
        (b"$\0\0\3abc", b"CSeq: x\r\n"),
    ],
)
def test_answers_of_cameras_that_are_not_strict(before: bytes, after: bytes) -> None:
    camera = Scripted()
    camera.play = lambda to: to.sendall(camera.packet())

    def answer(to: socket.socket, method: str, url: str, headers: dict[str, str]) -> None:
        body = sdp().encode() if method == "DESCRIBE" else b""
        head = b"rtsp/1.0  200\nTransport: x;interleaved=2-3\nContent-Length: %d\n%s\n" % (
            len(body),
            after.replace(b"\r", b""),
        )
        to.sendall(before + head + body)
        if method == "PLAY":
            camera.play(to)

    camera.answer = answer  # type: ignore[method-assign]
    with serving(camera) as url, RtspReader(url, 5) as reader:
        assert pictures(reader, 1)[0].key


def test_a_camera_that_never_answers_is_not_waited_for_though_it_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = Scripted()

    def forever(to: socket.socket, *_: object) -> None:
        with suppress(OSError):
            while True:
                to.sendall(camera.packet())
                time.sleep(0.02)

    camera.answer = forever  # type: ignore[method-assign, assignment]
    with serving(camera) as url, pytest.raises(StreamFaultError) as fault:
        RtspReader(url, 0.3)
    assert fault.value.code == "timeout"


@pytest.mark.parametrize(
    "url", ["rtsp://viewer:s3#cret-word@127.0.0.1/x", "rtsp://[::1/x", "rtsp:///x", "rtsp://h:99999/x"]
)
def test_an_address_that_cannot_be_taken_apart_is_not_repeated(url: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        RtspReader(url, 1)
    assert "cret" not in str(refused.value)


def test_a_long_answer_is_short_in_the_log() -> None:
    camera = Scripted()
    camera.refusal["OPTIONS"] = "400 " + "\x1b[31m" + "a" * 60_000
    with serving(camera) as url, pytest.raises(UnreadableError) as refused:
        RtspReader(url, 5)
    assert len(str(refused.value)) < 160
    assert "\x1b" not in str(refused.value)


def test_a_track_whose_address_is_refused_is_asked_for_by_ffmpeg() -> None:
    camera = Scripted(sdp(session="a=control:rtsp://camera/whole/\r\n"))
    camera.base = "/relative/"
    camera.refusal["SETUP"] = "404 Not Found"
    with serving(camera) as url, pytest.raises(UnreadableError):
        RtspReader(url, 5)
    assert camera.asked[-1][1] == "rtsp://camera/whole/trackID=1"


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
        assert "packs in a rare way" in stream.health().reason
        stream.close(8)
    assert len(asked) == 1
    assert "s3cret" not in memory.reasons()


def test_a_camera_that_refreshes_in_stripes_is_read(tmp_path: Path) -> None:
    """After the first picture it sends no IDR; its recovery points are where decoding can begin."""
    path = make_clip(tmp_path / "stripes.mp4", seconds=30, more={"x264-params": "intra-refresh=1:keyint=10"})
    clip, memory = RtpClip(path), Memory()
    with ServedLoopCam({"gate": Camera(clip)}) as served:
        stream = RtspStream("gate", served.url("gate"), memory, QUICK, SystemClock(), gate=HostGate())
        stream.demand = Demand("all")
        stream.start()
        wait_for(lambda: len(memory.frames) > 60)
        assert stream.health().connects == 1
        assert "FFmpeg" not in memory.reasons()
        assert stream.ring is not None
        flagged = [p.key for p in stream.ring.held()]
        stream.close(8)
    assert flagged[:50] == [unit.key for unit in clip.units][:50]
    assert sum(flagged[:50]) > 3


@pytest.mark.parametrize(("code", "again"), [("timeout", 1), ("not_found", 1), ("eof", 2), ("server", 2)])
def test_where_the_reader_has_never_read_a_camera_ffmpeg_has_the_next_turn(
    rtp: RtpClip, monkeypatch: pytest.MonkeyPatch, code: str, again: int
) -> None:
    made, asked = RtspReader.__init__, list[int]()

    def fails_once(self: RtspReader, url: str, timeout_s: float) -> None:
        asked.append(1)
        if len(asked) == 1:
            raise StreamFaultError(code, "not today")
        made(self, url, timeout_s)

    monkeypatch.setattr(RtspReader, "__init__", fails_once)
    memory = Memory()
    with ServedLoopCam({"gate": Camera(rtp)}) as served:
        stream = RtspStream("gate", served.url("gate"), memory, QUICK, SystemClock(), gate=HostGate())
        stream.demand = Demand("all")
        stream.start()
        wait_for(lambda: len(memory.frames) > 35)
        assert ("read by FFmpeg: not today" in stream.health().reason) is (again == 1)
        served.stop()
        served.restart()
        wait_for(lambda: memory.states().count(StreamState.LIVE) == 2)
        stream.close(8)
    assert len(asked) == (1 if again == 1 else 3)
